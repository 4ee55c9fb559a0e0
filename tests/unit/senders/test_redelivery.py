# SPDX-License-Identifier: Apache-2.0
"""Dead letters that are sent once more: in order, once, and what is refused again stays."""

from dataclasses import replace
from typing import Any

import pytest

from logagent.errors import BrokerUnavailable
from logagent.kafka.metadata import Described, TopicInfo
from logagent.senders.dead_letter import DeadRecord
from logagent.senders.redelivery import BATCH_BYTES, Posted, Redelivery
from tests.unit.senders.test_dead_letter import RECORD
from tests.unit.senders.twins import FakeCluster, Sent


class Post:
    def __init__(self, **topics: dict[int, int]) -> None:
        self.cluster = FakeCluster(topics or {"logs": {0: 1}}, brokers=(1, 2))
        self.now_s = 0.0
        self.redelivery = Redelivery(
            self.cluster,  # type: ignore[arg-type]
            wall=lambda: 1.7e9,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def send(self, *values: bytes, **changes: Any) -> list[Posted]:
        return list(self.redelivery.send(letters(*values, **changes)))

    def arrived(self, topic: str = "logs", partition: int = 0) -> list[bytes]:
        return list(self.cluster.log(topic, partition).values)


def letters(*values: bytes, **changes: Any) -> list[tuple[str, DeadRecord]]:
    return [(f"id-{number}", replace(RECORD, value=value, **changes)) for number, value in enumerate(values)]


@pytest.fixture
def post() -> Post:
    return Post()


def test_records_arrive_in_their_order_in_one_batch(post: Post) -> None:
    assert post.send(b"a", b"b", b"c") == [Posted(f"id-{number}", "") for number in range(3)]
    assert post.arrived() == [b"a", b"b", b"c"]
    assert len(post.cluster.sent) == 1


def test_many_bytes_go_in_several_batches_and_sequences_go_on(post: Post) -> None:
    values = [bytes([number]) * (BATCH_BYTES // 2) for number in range(5)]
    assert [one.refusal for one in post.send(*values)] == [""] * 5
    assert post.arrived() == values
    assert [one.batch.base_sequence for one in post.cluster.sent] == list(range(5))


def test_key_and_headers_arrive(post: Post) -> None:
    block = b"\x02\x02a\x02b"
    post.send(b"v", key=b"k", header_block=block)
    (record,) = post.cluster.sent[0].batch.records
    assert (record.key, record.value, list(record.headers)) == (b"k", b"v", [(b"a", b"b")])


def test_the_records_of_a_file_stay_in_one_partition() -> None:
    post = Post(logs={0: 1, 1: 2, 2: 1, 3: 2})
    for number in range(20):
        post.send(b"x", b"y", path=b"/log/%d" % number)
    used = {sent.partition for sent in post.cluster.sent}
    assert len(used) > 1
    assert all(sent.values == [b"x", b"y"] for sent in post.cluster.sent)


def test_what_is_refused_again_is_told_and_the_others_arrive(post: Post) -> None:
    post.cluster.judge = lambda sent: 10 if b"bad" in sent.values else None
    posted = post.send(b"a", b"b", b"bad", b"c", b"d")
    assert [one.refusal for one in posted] == [
        "",
        "",
        "the batch is larger than the topic's max.message.bytes",
        "",
        "",
    ]
    assert post.arrived() == [b"a", b"b", b"c", b"d"]


def test_a_topic_that_is_not_there_is_told(post: Post) -> None:
    post.cluster.topics["gone"] = replace(post.cluster.topics["logs"], code=3, leaders={})
    posted = post.send(b"a", topic="gone")
    assert [one.refusal for one in posted] == [
        "the topic or partition does not exist, or not yet on this broker"
    ]
    assert post.cluster.sent == []


def test_a_lost_answer_does_not_double_a_record(post: Post) -> None:
    post.cluster.forget_answer = True
    assert [one.refusal for one in post.send(b"a", b"b")] == ["", ""]
    assert post.arrived() == [b"a", b"b"]
    assert len(post.cluster.sent) == 2
    assert len({(one.batch.producer_id, one.batch.base_sequence) for one in post.cluster.sent}) == 1


def test_a_passing_trouble_is_waited_out(post: Post) -> None:
    codes = iter([6, 7, 5])
    post.cluster.judge = lambda _sent: next(codes, None)
    assert [one.refusal for one in post.send(b"a")] == [""]
    assert post.arrived() == [b"a"]
    assert post.now_s > 0


def test_a_kafka_that_stays_away_ends_it_after_a_minute_and_what_arrived_is_told(post: Post) -> None:
    def judge(sent: Sent) -> BrokerUnavailable | None:
        return BrokerUnavailable("b", "timed out") if sent.topic == "later" else None

    post.cluster.judge = judge
    post.cluster.topics["later"] = post.cluster.topics["logs"]
    told: list[Posted] = []
    with pytest.raises(BrokerUnavailable, match="timed out"):
        told.extend(post.redelivery.send([*letters(b"a"), *letters(b"b", topic="later")]))
    assert told == [Posted("id-0", "")]
    assert 60 <= post.now_s < 61


def test_connections_are_closed(post: Post) -> None:
    post.send(b"a")
    assert post.cluster.open_connections == 1
    post.redelivery.close()
    assert post.cluster.open_connections == 0


def test_partitions_that_are_added_meanwhile_do_not_double_a_record(post: Post) -> None:
    post.cluster.forget_answer = True
    describe = post.cluster.describe

    def grow(topics: list[str]) -> Described:
        found = describe(topics)
        post.cluster.topics["logs"] = TopicInfo(0, dict.fromkeys(range(7), 1))
        return found

    post.cluster.describe = grow  # type: ignore[method-assign,assignment]
    assert [one.refusal for one in post.send(b"a", path=b"/log/5")] == [""]
    assert [sent.partition for sent in post.cluster.sent] == [0, 0]
    assert post.arrived() == [b"a"]
