# SPDX-License-Identifier: Apache-2.0
"""The whole sender in front of a cluster in memory."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from logagent.errors import BrokerUnavailable
from logagent.kafka.requests import ActiveProducer, PartitionProducers
from logagent.pipeline.batch import OBJECT_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, Segment
from logagent.pipeline.outlet import Route
from logagent.senders import delivery
from logagent.senders.partition import Partition
from tests.unit.pipeline.sources import Source
from tests.unit.senders import twins
from tests.unit.senders.conftest import Rig
from tests.unit.senders.twins import FakeCluster, Sent
from tests.unit.sources.twins import settle, until

MakeRig = Callable[..., Rig]
AWAY = BrokerUnavailable("kafka_addr", "no broker answers")


# -- the usual way ------------------------------------------------------------------------------------------------


def test_lines_arrive_in_order_and_are_acknowledged(rig: Rig) -> None:
    source = Source()
    for number in range(50):
        rig.put(source, b"%d" % number)

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"%d" % number for number in range(50)]
    assert sum(source.acknowledged) == 50
    until(lambda: rig.sender.empty)
    assert rig.sender.memory_bytes == 0


def test_a_batch_names_the_first_topic_partition_of_its_file(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1, 2: 1}}))
    source, route = Source(), Route("logs", 7)

    rig.put(source, b"a", route=route)
    rig.until_acked(source)

    assert route.partition == 1
    assert rig.cluster.log("logs", 1).values == [b"a"]


def test_a_file_keeps_its_partition_when_the_topic_grows(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1, 2: 1}}))
    source, route = Source(), Route("logs", 5)
    rig.put(source, b"a", route=route)
    rig.cluster.topics |= FakeCluster({"logs": dict.fromkeys(range(4), 1)}).topics
    rig.sender.directory.refresh_soon()
    until(lambda: len(rig.sender.directory.topics["logs"].leaders) == 4)

    rig.put(source, b"b", route=route)
    rig.until_acked(source)

    assert rig.cluster.log("logs", 2).values == [b"a", b"b"]


def test_round_robin_goes_to_the_next_partition_after_each_batch(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1, 2: 1}}), partitioner="round_robin")
    source = Source()
    for number in range(6):
        rig.put(source, b"%d" % number)
        rig.until_acked(source)
        settle(2)

    assert [one.partition for one in rig.cluster.sent] == [0, 1, 2, 0, 1, 2]


def test_random_reaches_every_partition(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1, 2: 1}}), partitioner="random")
    source = Source()
    for number in range(60):
        rig.put(source, b"%d" % number)
        rig.until_acked(source)
        settle(1)

    assert {one.partition for one in rig.cluster.sent} == {0, 1, 2}


def test_partitions_of_one_leader_share_a_request_and_leaders_do_not(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1, 2: 2}}, brokers=(1, 2)), linger_s=0.01)
    sources = [Source() for _ in range(3)]
    for number, source in enumerate(sources):
        rig.put(source, b"x", route=Route("logs", number))

    rig.until_acked(*sources)

    assert sorted(
        sorted((one.node_id, one.partition) for one in request) for request in rig.cluster.requests
    ) == [
        [(1, 0), (1, 1)],
        [(2, 2)],
    ]


def test_blank_lines_move_the_position_without_a_request(rig: Rig) -> None:
    source = Source()
    assert rig.sender.wait_room(Route("logs", 0), 3.0) == ""

    rig.sender.put(Route("logs", 0), Segment(source, 0, 4, []))

    assert source.acks.acked_offset == 4
    assert source.acknowledged == [0]
    assert rig.cluster.sent == []


def test_a_batch_never_exceeds_its_limit(make_rig: MakeRig) -> None:
    rig = make_rig(batch_bytes=5000)
    source = Source()
    rig.put(source, *[b"x" * 90] * 500)

    rig.until_acked(source)

    assert max(len(one.encoded) for one in rig.cluster.sent) <= 5000
    assert len(rig.cluster.log("logs", 0).values) == 500


def test_at_stop_everything_open_is_sent_at_once(make_rig: MakeRig) -> None:
    rig = make_rig(linger_s=60.0)
    source = Source()
    rig.put(source, b"first")
    rig.until_acked(source)  # quiet: 5 ms
    rig.put(source, b"second")
    settle()
    assert source.acks.pending

    rig.sender.flush()

    rig.until_acked(source)
    until(lambda: rig.sender.empty)


def test_stopping_closes_every_connection(rig: Rig) -> None:
    source = Source()
    rig.put(source, b"x")
    rig.until_acked(source)
    assert rig.cluster.open_connections == 1

    rig.sender.stop()

    assert rig.cluster.open_connections == 0


def test_a_connection_that_was_idle_for_a_minute_is_replaced(make_rig: MakeRig) -> None:
    rig = make_rig(thread_num=1)
    source = Source()
    connections = []
    for pause_s in (0, 59, 61):
        rig.skip(pause_s)
        rig.put(source, b"x")
        rig.until_acked(source)
        connections += [connection for connection, _ in rig.sender._links._connections.values()]

    first, second, third = connections
    assert first is second
    assert third is not second
    assert rig.cluster.open_connections == 1


# -- errors of batches --------------------------------------------------------------------------------------------


class Script:
    """Answers these codes first, one per batch, then none."""

    def __init__(self, *codes: int | BaseException | None) -> None:
        self.codes = list(codes)

    def __call__(self, _sent: Sent) -> int | BaseException | None:
        return self.codes.pop(0) if self.codes else None


@pytest.mark.parametrize("code", [6, 7, 19, 20, -1, 999])
def test_what_can_be_retried_is_sent_again_byte_for_byte(rig: Rig, code: int) -> None:
    rig.cluster.judge = Script(code, code)
    source = Source()
    rig.put(source, b"a", b"b")

    rig.until_acked(source)

    assert len(rig.cluster.sent) == 3
    assert len({one.encoded for one in rig.cluster.sent}) == 1
    assert [fact["code"] for fact in rig.told.of("batch_retried")] == [code, code]
    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]


def test_a_retry_asks_for_fresh_metadata(rig: Rig) -> None:
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    settle(3)
    asked = len(rig.cluster.asked)
    rig.cluster.judge = Script(6)

    rig.put(source, b"b")

    rig.until_acked(source)
    until(lambda: len(rig.cluster.asked) > asked)


def test_a_batch_that_was_appended_without_an_answer_is_not_doubled(rig: Rig) -> None:
    rig.cluster.forget_answer = True
    source = Source()
    rig.put(source, b"a", b"b")

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]
    assert len({one.encoded for one in rig.cluster.sent}) == 1
    assert len(rig.cluster.sent) == 2


def test_a_partition_that_the_answer_leaves_out_is_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = delivery.requests.parse_produce, [()]
    monkeypatch.setattr(
        delivery.requests, "parse_produce", lambda *args: answers.pop() if answers else real(*args)
    )
    source = Source()
    rig.put(source, b"a")

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a"]


def test_an_answer_that_is_not_kafka_takes_the_broker_out_and_the_lines_arrive(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, once = twins.produce_answer, [b"garbage"]
    monkeypatch.setattr(twins, "produce_answer", lambda answers: once.pop() if once else good(answers))
    source = Source()
    rig.put(source, b"a")

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a"]
    assert len(rig.told.of("broker_failed")) == 1


def test_a_batch_that_is_too_large_is_split_until_it_fits(rig: Rig) -> None:
    rig.cluster.judge = lambda sent: 10 if len(sent.values) > 3 else None
    source = Source()
    rig.put(source, *[b"%d" % number for number in range(20)])

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"%d" % number for number in range(20)]
    assert rig.sender.memory_bytes == 0


def test_a_time_stamp_that_is_refused_is_made_anew(rig: Rig) -> None:
    rig.cluster.judge = lambda sent: 32 if sent.batch.first_timestamp_ms == 1_700_000_000_000 else None
    source = Source()
    rig.put(source, b"a")
    rig.skip(1.0)

    rig.until_acked(source)

    assert rig.cluster.sent[-1].batch.first_timestamp_ms == 1_700_000_001_000
    assert rig.told.of("batch_restamped")


@pytest.mark.parametrize("code", [45, 46, 47, 90])
def test_a_refused_sequence_that_the_leader_waits_for_is_sent_again(rig: Rig, code: int) -> None:
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    rig.cluster.judge = Script(code)
    rig.put(source, b"b")
    rig.until_acked(source)

    _first, refused, again = rig.cluster.sent
    assert rig.cluster.questions == [(1, "logs", 0)]
    assert again.encoded == refused.encoded
    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]


def test_a_sequence_that_is_refused_again_and_again_is_left_for_the_next_epoch(rig: Rig) -> None:
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    rig.cluster.judge = lambda sent: 45 if sent.batch.producer_epoch == 0 else None
    rig.put(source, b"b")
    rig.until_acked(source)

    assert rig.cluster.sent[-1].batch.producer_epoch == 1
    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]


def test_partitions_whose_producer_is_forgotten_begin_another_epoch(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1, 2: 1}}), linger_s=0.01)
    sources = [Source() for _ in range(3)]
    for number, source in enumerate(sources):
        rig.put(source, b"a", route=Route("logs", number))
    rig.until_acked(*sources)
    rig.cluster.judge = lambda sent: 59 if sent.batch.producer_epoch == 0 else None
    for number, source in enumerate(sources):
        rig.put(source, b"b", route=Route("logs", number))

    rig.until_acked(*sources)

    assert rig.cluster.producers_given == 1
    assert all(rig.cluster.log("logs", number).values == [b"a", b"b"] for number in range(3))


def test_one_new_producer_serves_all_partitions_in_which_somebody_took_over_the_id(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 2}}, brokers=(1, 2)))
    sources = [Source(), Source()]
    for number, source in enumerate(sources):
        rig.put(source, b"a", route=Route("logs", number))
    rig.until_acked(*sources)
    old = rig.cluster.sent[0].batch.producer_id
    taken_over = {old: ActiveProducer(7, 100, 0)}
    monkeypatch.setattr(
        rig.cluster,
        "describe_producers",
        lambda _connection, topic, partition: PartitionProducers(topic, partition, 0, taken_over),
    )
    late = Event()

    def judge(sent: Sent) -> int | None:
        if sent.batch.producer_id != old:
            return None
        if sent.partition == 1:
            late.wait()
        return 47

    rig.cluster.judge = judge
    for number, source in enumerate(sources):
        rig.put(source, b"b", route=Route("logs", number))
    rig.until_acked(sources[0])
    late.set()
    rig.until_acked(*sources)

    assert rig.cluster.producers_given == 2


def test_nothing_is_sent_without_a_producer_id(rig: Rig) -> None:
    rig.cluster.producer_error = AWAY
    source = Source()
    rig.put(source, b"a")
    settle()
    assert rig.cluster.sent == []

    rig.cluster.producer_error = None

    rig.until_acked(source)
    assert rig.cluster.sent[0].batch.producer_id > 0


def test_a_topic_that_may_not_be_written_is_parked_and_comes_back(rig: Rig) -> None:
    refusing = [True]
    rig.cluster.judge = lambda _sent: 29 if refusing[0] else None
    source = Source()
    rig.put(source, b"a")
    until(lambda: rig.told.of("topic_parked"))
    assert "does not allow the agent to write" in rig.sender.reasons.topics()[0]
    assert source.acks.pending

    refusing[0] = False

    rig.until_acked(source)
    until(lambda: not rig.sender.reasons.topics())
    assert rig.told.of("topic_back") == [{"topic": "logs"}]


def test_an_unknown_topic_is_parked_only_after_some_patience(rig: Rig) -> None:
    rig.cluster.judge = Script(*[3] * 12)
    source = Source()
    rig.put(source, b"a")

    rig.until_acked(source)

    assert len(rig.told.of("batch_retried")) == 8
    assert len(rig.told.of("topic_parked")) == 4
    assert len(rig.told.of("topic_back")) == 1


# -- dead letters -------------------------------------------------------------------------------------------------


def test_one_refused_record_goes_to_the_dead_letter_file_and_the_others_to_kafka(rig: Rig) -> None:
    rig.cluster.judge = lambda sent: 87 if b"bad" in sent.values else None
    source = Source(label=b"/l\xff.log")
    rig.put(source, b"a", b"b", b"bad", b"c", b"d")

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a", b"b", b"c", b"d"]
    (line,) = rig.dead_letter.read_bytes().splitlines()
    document = json.loads(line)
    assert base64.b64decode(document["bytes_b64"]) == b"bad"
    assert (document["path"], document["offset"], document["code"]) == ("/l\\xff.log", 4, 87)
    assert (document["service"], document["topic"]) == ("web", "logs")
    assert len(rig.told.of("record_dead_lettered")) == 1
    assert rig.sender.memory_bytes == 0


def test_a_line_that_is_too_long_goes_to_the_dead_letter_file_in_its_place(rig: Rig) -> None:
    source, route = Source(), Route("logs", 0)
    rig.put(source, b"one", route=route)
    begin = source.acks.end_offset

    rig.sender.bury(
        route, Segment(source, begin, begin + 1001, [b"x" * 10], starts=[begin]), "too long", 1000
    )

    rig.until_acked(source)
    (line,) = rig.dead_letter.read_bytes().splitlines()
    record = json.loads(line)
    assert (record["offset"], record["line_bytes"], record["code"]) == (begin, 1000, -1)
    assert base64.b64decode(record["bytes_b64"]) == b"x" * 10
    assert rig.cluster.log("logs", 0).values == [b"one"]
    assert (source.acks.acked_offset, rig.sender.memory_bytes) == (begin + 1001, 0)


def test_the_position_waits_until_the_dead_letter_is_on_disk(make_rig: MakeRig, tmp_path: Path) -> None:
    place = tmp_path / "not there yet"
    rig = make_rig(dead_letter=place / "dead-letter.jsonl")
    rig.cluster.judge = lambda sent: 87 if b"bad" in sent.values else None
    source = Source()
    rig.put(source, b"bad")
    rig.put(source, b"good")

    until(lambda: len(rig.told.of("dead_letter_failed")) >= 2)
    until(lambda: rig.cluster.log("logs", 0).values == [b"good"])
    assert source.acks.acked_offset == 0
    place.mkdir()

    rig.until_acked(source)
    assert len((place / "dead-letter.jsonl").read_bytes().splitlines()) == 1


# -- metadata and leaders -----------------------------------------------------------------------------------------


def test_lines_wait_while_no_broker_gives_metadata_and_go_when_one_does(make_rig: MakeRig) -> None:
    cluster = FakeCluster()
    cluster.metadata_error = AWAY
    rig = make_rig(cluster)

    assert "Kafka does not answer: kafka_addr: no broker answers" in rig.sender.wait_room(
        Route("logs", 0), 0.05
    )
    assert not rig.sender.has_room(Route("logs", 0))
    cluster.metadata_error = None

    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    assert len(rig.told.of("metadata_back")) == 1
    assert rig.sender.directory.failure == ""


def test_a_topic_that_does_not_exist_yet_is_asked_for_until_it_does(rig: Rig) -> None:
    reason = rig.sender.wait_room(Route("later", 0), 0.05)
    assert reason.startswith("topic later: ")
    assert rig.sender.reasons.topics()

    rig.cluster.topics |= FakeCluster({"later": {0: 1}}).topics

    source = Source()
    rig.put(source, b"a", route=Route("later", 0))
    rig.until_acked(source)
    assert rig.sender.reasons.topics() == []


def test_one_missing_topic_does_not_slow_another(rig: Rig) -> None:
    rig.sender.has_room(Route("missing", 0))
    source = Source()

    rig.put(source, b"a")

    rig.until_acked(source)


def test_a_leader_that_fails_is_probed_and_gets_its_lines_when_it_answers(rig: Rig) -> None:
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    rig.cluster.down.add(1)
    rig.put(source, b"b")
    until(lambda: rig.told.of("broker_failed"))
    assert not rig.sender.has_room(Route("logs", 0))
    assert "broker broker:9001" in rig.sender.wait_room(Route("logs", 0), 0.01)
    settle()

    rig.cluster.down.clear()

    rig.until_acked(source)
    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]
    assert rig.cluster.probes
    assert len(rig.told.of("broker_failed")) == len(rig.told.of("broker_back")) == 1
    assert rig.sender.leaders.troubles() == []


def test_a_dead_leader_does_not_slow_the_others(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 2}}, brokers=(1, 2)), thread_num=1)
    rig.cluster.down.add(1)
    dead, well = Source(), Source()
    rig.put(dead, b"x", route=Route("logs", 0))
    for number in range(20):
        rig.put(well, b"%d" % number, route=Route("logs", 1))

    rig.until_acked(well)
    assert dead.acks.pending
    rig.cluster.down.clear()
    rig.until_acked(dead)


def test_lines_follow_a_partition_to_its_new_leader(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1}}, brokers=(1, 2)))
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    rig.cluster.topics |= FakeCluster({"logs": {0: 2}}).topics
    rig.cluster.down.add(1)

    rig.put(source, b"b")

    rig.until_acked(source)
    assert [one.node_id for one in rig.cluster.sent] == [1, 2]


def test_a_broker_that_left_the_cluster_is_not_probed_for_ever(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1}}, brokers=(1, 2)))
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    rig.cluster.down.add(1)
    rig.put(source, b"b")
    until(lambda: rig.sender.leaders.troubles())
    rig.cluster.topics |= FakeCluster({"logs": {0: 2}}).topics
    del rig.cluster.brokers[1]

    rig.until_acked(source)
    until(lambda: not rig.sender.leaders.troubles())


def test_a_partition_without_a_leader_waits_for_one(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: -1}}))
    assert rig.sender.wait_room(Route("logs", 0), 0.05) == "logs-0: the partition has no leader"

    rig.cluster.topics |= FakeCluster({"logs": {0: 1}}).topics

    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)


def test_a_broker_that_hangs_up_on_requests_but_answers_probes_is_not_asked_without_a_pause(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig()
    rig.cluster.judge = lambda _sent: BrokerUnavailable("broker:9001", "the broker closed the connection")
    source = Source()
    rig.put(source, b"a")
    until(lambda: rig.partition().batch is not None and rig.partition().attempts >= 1)

    settle(100)

    assert len(rig.cluster.sent) < 60
    rig.cluster.judge = lambda _sent: None
    rig.until_acked(source)


# -- memory and room ----------------------------------------------------------------------------------------------

LINES = [b"x" * 100] * 100
CHUNK_BYTES = 100 * (100 + RECORD_OVERHEAD_BYTES + OBJECT_OVERHEAD_BYTES)


def test_memory_stays_within_the_budget_but_for_one_chunk_per_idle_partition(make_rig: MakeRig) -> None:
    budget = 10 * CHUNK_BYTES
    rig = make_rig(FakeCluster({"logs": dict.fromkeys(range(4), 1)}), budget_bytes=budget)
    rig.cluster.held = Event()
    sources = {number: Source() for number in range(4)}
    route = {number: Route("logs", number) for number in range(4)}
    assert rig.sender.wait_room(route[0], 1.0) == ""
    chance = random.Random(7)
    largest = 0
    for _ in range(300):
        number = chance.randrange(4)
        rig.offer(sources[number], *LINES, route=route[number])
        largest = max(largest, rig.sender.memory_bytes)
        if chance.random() < 0.1:
            rig.cluster.held.set()
            settle(2)
            rig.cluster.held.clear()
        elif chance.random() < 0.3:
            gevent.sleep(1e-6)

    assert budget <= largest <= budget + 4 * CHUNK_BYTES
    rig.cluster.held.set()
    rig.until_acked(*sources.values())
    until(lambda: rig.sender.memory_bytes == 0)


def test_a_partition_that_holds_nothing_may_take_a_chunk_whatever_others_hold(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1}}), budget_bytes=CHUNK_BYTES)
    rig.cluster.held = Event()
    busy, idle = Source(), Source()
    rig.put(busy, *LINES, route=Route("logs", 0))

    assert not rig.sender.has_room(Route("logs", 0))
    assert rig.sender.has_room(Route("logs", 1))
    rig.put(idle, b"x", route=Route("logs", 1))
    rig.cluster.held.set()
    rig.until_acked(busy, idle)


def test_a_partition_takes_no_more_than_one_batch_beside_the_one_on_its_way(make_rig: MakeRig) -> None:
    rig = make_rig(batch_bytes=70_000)
    rig.cluster.held = Event()
    source = Source()
    rig.put(source, *LINES)
    until(lambda: rig.partition().batch is not None)
    chunks = 0
    while rig.offer(source, *LINES):
        chunks += 1

    assert chunks == -(-70_000 // (100 * (100 + RECORD_OVERHEAD_BYTES)))
    assert rig.sender.wait_room(Route("logs", 0), 0.01) == "logs-0 is busy"
    rig.cluster.held.set()
    rig.until_acked(source)


def test_who_waits_for_room_is_woken_when_there_is_some(make_rig: MakeRig) -> None:
    rig = make_rig(batch_bytes=70_000)
    rig.cluster.held = Event()
    source = Source()
    while True:
        if rig.sender.wait_room(Route("logs", 0), 0.02):
            break
        rig.offer(source, *LINES)
    waiter = gevent.spawn(rig.sender.wait_room, Route("logs", 0), 60.0)
    settle(3)
    assert not waiter.ready()

    rig.cluster.held.set()

    until(waiter.ready)
    assert waiter.value == ""


def test_a_failing_partition_gives_its_open_lines_back_and_its_files_read_them_again(rig: Rig) -> None:
    one, two = Source(), Source()
    rig.put(one, b"a")
    rig.until_acked(one)
    rig.cluster.judge = lambda _sent: 6
    rig.put(one, b"b")
    until(lambda: rig.partition().batch is not None)
    rig.put(one, b"c")
    rig.put(two, b"d")
    rig.put(one, b"e")

    rig.skip(6.0)

    until(lambda: rig.partition().open.empty)
    assert (one.rewound, two.rewound) == ([6, 4], [0])
    assert (one.acks.end_offset, two.acks.end_offset) == (4, 0)
    assert not rig.sender.has_room(Route("logs", 0))
    assert "has not acknowledged for 6 s" in rig.sender.wait_room(Route("logs", 0), 0.01)
    rig.cluster.judge = lambda _sent: None
    rig.until_acked(one)
    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]
    until(lambda: rig.sender.memory_bytes == 0)
    rig.put(one, b"c", b"e")
    rig.until_acked(one)


def open_lines(partition: Partition) -> list[bytes]:
    return [line for one in partition.open._segments for line in one.values]


def test_lines_that_cannot_be_given_back_stay_in_their_order(make_rig: MakeRig) -> None:
    """The file went on in another topic: what lies in the old one is not the newest of the file."""
    rig = make_rig(FakeCluster({"old": {0: 1}, "new": {0: 1}}))
    rig.cluster.judge = lambda sent: 6 if sent.topic == "old" else None
    source = Source()
    old, new = Route("old", 0), Route("new", 0)
    rig.put(source, b"1", route=old)
    until(lambda: rig.partition(topic="old").batch is not None)
    for line in (b"2", b"3", b"4"):
        rig.put(source, line, route=old)
    rig.put(source, b"5", route=new)

    rig.skip(6.0)
    rig.sender._retreat._drop_stalled(rig.clock())
    assert source.rewound == []
    assert open_lines(rig.partition(topic="old")) == [b"2", b"3", b"4"]
    rig.cluster.judge = lambda _sent: None

    rig.until_acked(source)
    assert rig.cluster.log("old", 0).values == [b"1", b"2", b"3", b"4"]
    assert rig.cluster.log("new", 0).values == [b"5"]


def test_lines_that_are_gone_from_the_disk_are_kept_in_their_order(rig: Rig) -> None:
    gone, there = Source(), Source()
    gone.readable_again = False
    rig.cluster.judge = lambda _sent: 6
    rig.put(gone, b"1")
    until(lambda: rig.partition().batch is not None)
    for line in (b"2", b"3", b"4"):
        rig.put(gone, line)
    rig.put(there, b"x")

    rig.skip(6.0)
    rig.sender._retreat._drop_stalled(rig.clock())
    assert there.rewound == [0]
    assert open_lines(rig.partition()) == [b"2", b"3", b"4"]
    rig.cluster.judge = lambda _sent: None

    rig.until_acked(gone)
    assert rig.cluster.log("logs", 0).values == [b"1", b"2", b"3", b"4"]
    until(lambda: rig.sender.memory_bytes == 0)


def test_round_robin_goes_round_partitions_without_a_leader(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: -1, 2: 1}}), partitioner="round_robin")
    source = Source()
    for number in range(6):
        rig.put(source, b"%d" % number)
        rig.until_acked(source)

    assert sorted(rig.cluster.log("logs", 0).values + rig.cluster.log("logs", 2).values) == [
        b"%d" % n for n in range(6)
    ]


def test_while_a_refused_record_cannot_be_put_aside_nothing_more_is_taken(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    rig = make_rig(dead_letter=tmp_path)
    rig.cluster.judge = lambda sent: 10 if sent.values == [b"bad"] else None
    source = Source()
    rig.put(source, b"bad")

    until(lambda: rig.sender.reasons.all())
    assert "cannot be written" in rig.sender.reasons.all()[0]
    assert "cannot be written" in rig.sender.wait_room(Route("logs", 0), 0.01)
    assert rig.offer(source, b"good") is None


def test_a_partition_that_gets_no_acknowledgements_is_a_reason(rig: Rig) -> None:
    rig.cluster.judge = lambda _sent: 19
    rig.put(Source(), b"line")
    until(lambda: rig.cluster.sent)
    assert rig.sender.reasons.partitions() == []

    rig.skip(6)

    assert "logs-0 has not acknowledged for" in rig.sender.reasons.partitions()[0]


def test_a_partition_is_in_one_request_at_a_time(make_rig: MakeRig) -> None:
    """Others run while a request is put together: what is in hand there must not be chosen for a second one."""

    @contextmanager
    def slow_turn() -> Iterator[None]:
        gevent.sleep(0.002)
        yield

    leaders = dict.fromkeys(range(4), 1)
    rig = make_rig(FakeCluster({"logs": leaders}), thread_num=4, linger_s=0.002, work_turn=slow_turn)
    sources = [Source(b"/%d.log" % number) for number in range(4)]
    for number in range(40):
        for at, source in enumerate(sources[: 1 + number % 4]):
            rig.put(source, b"%d" % number, route=Route("logs", at))
        gevent.sleep(0.001)
    rig.until_acked(*sources)

    assert rig.cluster.log("logs", 0).values == [b"%d" % number for number in range(40)]


def test_a_file_that_fails_in_its_acknowledgement_does_not_hold_other_partitions(make_rig: MakeRig) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1, 1: 1}}), linger_s=0.01)
    bad, good = Source(), Source()
    failures = [OSError(5, "Input/output error")]

    def fail(_lines: int, _bytes: int) -> None:
        if failures:
            raise failures.pop()

    bad.acked = fail  # type: ignore[method-assign]
    rig.put(bad, b"x", route=Route("logs", 0))
    rig.put(good, b"y", route=Route("logs", 1))
    until(lambda: rig.cluster.sent)

    rig.until_acked(good)
    rig.put(good, b"z", route=Route("logs", 1))
    rig.until_acked(good)
    rig.failures.clear()


# -- everything together ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_under_random_answers_every_line_arrives_once_and_in_order(make_rig: MakeRig, seed: int) -> None:
    chance = random.Random(seed)
    partitions = 4
    rig = make_rig(
        FakeCluster({"logs": {number: 1 + number % 2 for number in range(partitions)}}, brokers=(1, 2)),
        batch_bytes=2000,
        thread_num=3,
    )
    trouble = [True]

    def judge(sent: Sent) -> int | BaseException | None:
        if not trouble[0] or chance.random() < 0.5:
            return None
        log = rig.cluster.log(sent.topic, sent.partition)
        if log.values[-len(sent.values) :] == sent.values:
            return None  # it is there already, its answer was lost: a broker knows that
        kind = chance.choice([6, 7, 19, 20, 29, 32, 10, 59, "lost request", "lost answer"])
        if kind == "lost request":
            return BrokerUnavailable("broker", "timed out")
        if kind == "lost answer":
            rig.cluster.forget_answer = True
            return None
        return None if kind == 10 and len(sent.values) == 1 else int(kind)

    rig.cluster.judge = judge
    sources = [Source(label=b"/%d.log" % number) for number in range(8)]
    expected: list[list[bytes]] = [[] for _ in sources]
    for number in range(400):
        index = chance.randrange(len(sources))
        lines = [b"%d:%d:%d" % (index, number, part) for part in range(chance.randint(1, 9))]
        rig.put(sources[index], *lines, route=Route("logs", index))
        expected[index] += lines
    trouble[0] = False

    rig.until_acked(*sources)

    for index, lines in enumerate(expected):
        prefix = b"%d:" % index
        arrived = rig.cluster.log("logs", index % partitions).values
        assert [value for value in arrived if value.startswith(prefix)] == lines
    assert rig.sender.memory_bytes == 0
    until(lambda: rig.sender.empty)
