# SPDX-License-Identifier: Apache-2.0
"""What real brokers make of our batches, requests and connections."""

import random
import time

import pytest

from logagent.errors import BrokerUnavailable
from logagent.kafka.connections import Cluster, Connection
from logagent.kafka.metadata import NO_LEADER, BrokerAddress
from logagent.kafka.record_batch import Records, encode, encode_header_block
from logagent.kafka.requests import parse_describe_producers, parse_produce
from logagent.spawn import Spawner
from tests.support.consumer import read_messages
from tests.support.waiting import wait_until

TIMEOUT_S = 5.0
NOT_LEADER = 6


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


def cluster_of(*seeds):
    return Cluster(seeds, "kafka-room", TIMEOUT_S, Spawner(fail))


def now_ms():
    return int(time.time() * 1000)


def new_producer_id(cluster):
    """A fresh broker says COORDINATOR_LOAD_IN_PROGRESS for a moment."""
    found = []

    def ask():
        try:
            found.append(cluster.init_producer_id())
        except BrokerUnavailable:
            return False
        return True

    wait_until(ask, 20, "the broker gives out producer ids")
    return found[0]


class Producer:
    """Sends batches to the partitions of one topic that the broker made on request."""

    def __init__(self, cluster, topic):
        self.cluster = cluster
        self.topic = topic
        self.codes = []
        wait_until(self._has_leaders, 20, f"topic {topic} has leaders")
        (leader,) = set(cluster.metadata.topics[topic].leaders.values())
        self.connection = cluster.connect(leader)

    def _has_leaders(self):
        info = self.cluster.refresh([self.topic]).topics[self.topic]
        self.codes.append(info.code)
        return info.code == 0 and info.leaders and NO_LEADER not in info.leaders.values()

    def send(self, *batches, topic=None):
        """The answers to (partition, batch)... by partition; a leader that is not ready is asked again."""
        settled = {}
        wait_until(
            lambda: self._send(batches, topic or self.topic, settled), 20, "the leader takes up its office"
        )
        return settled

    def _send(self, batches, topic, settled):
        batches = [one for one in batches if one[0] not in settled]
        frame = self.cluster.writer.produce({topic: batches}, timeout_ms=5000)
        answers = parse_produce(self.connection.call(frame, 10.0), str(self.connection.address))
        assert {answer.topic for answer in answers} == {topic}
        settled |= {answer.partition: answer for answer in answers if answer.code != NOT_LEADER}
        return all(answer.code != NOT_LEADER for answer in answers)

    def remembered(self, producer_id, partition=0, topic=None):
        """What the leader says about a producer id: (epoch, last sequence), None, or an error code."""
        found = []
        wait_until(
            lambda: self._ask(topic or self.topic, partition, found), 20, "the leader takes up its office"
        )
        known = found[-1].producers.get(producer_id)
        return found[-1].code or (known and (known.epoch, known.last_sequence))

    def _ask(self, topic, partition, found):
        frame = self.cluster.writer.describe_producers({topic: [partition]})
        answer = self.connection.call(frame, 10.0)
        (one,) = parse_describe_producers(answer, str(self.connection.address))
        assert (one.topic, one.partition) == (topic, partition)
        found.append(one)
        return one.code != NOT_LEADER

    def code(self, batch):
        return self.send((0, batch))[0].code


@pytest.fixture
def cluster(kafka):
    return cluster_of(("127.0.0.1", kafka.port))


@pytest.fixture
def producer(cluster, topic):
    one = Producer(cluster, topic)
    yield one
    one.connection.close()


@pytest.fixture
def idempotent(cluster):
    """Builds batches of ten lines under a producer id of their own."""
    return batches_of(new_producer_id(cluster))


def batches_of(identity):
    def make(sequence, count=10, *, epoch=0, age_ms=0):
        lines = [b"%d" % number for number in range(sequence, sequence + count)]
        return encode(
            [Records(lines)],
            timestamp_ms=now_ms() - age_ms,
            producer_id=identity.id,
            producer_epoch=identity.epoch + epoch,
            base_sequence=sequence,
        )

    make.id = identity.id
    return make


def test_records_arrive_exactly_as_they_were_given(kafka, producer, topic):
    lines = [random.Random(i).randbytes(i % 100) for i in range(9000)] + [b"", b"\xff\x00\r", b"L" * 990_000]
    pairs = [(b"host", b"h\xc3\xa9"), (b"none", None), (b"empty", b"")]
    special = [Records([b"a", b"b"], b"key"), Records([b"c"], b"", [encode_header_block(pairs)])]
    stamp = now_ms() - 1234
    first = encode([Records(lines[:4000]), Records(lines[4000:9002])], timestamp_ms=stamp)
    answers = producer.send((0, first), (1, encode([Records(lines[9002:])], timestamp_ms=stamp)))
    assert [(answers[p].code, answers[p].base_offset) for p in (0, 1)] == [(0, 0), (0, 0)]
    assert producer.send((2, encode(special, timestamp_ms=stamp)))[2].code == 0

    got = {partition: [] for partition in (0, 1, 2)}
    for message in read_messages(kafka.address, topic, expect=len(lines) + 3):
        assert message.offset() == len(got[message.partition()])
        assert message.timestamp()[1] == stamp
        got[message.partition()].append((message.key(), message.value(), message.headers()))
    assert got[0] == [(None, line, None) for line in lines[:9002]]
    assert got[1] == [(None, line, None) for line in lines[9002:]]
    named = [("host", b"h\xc3\xa9"), ("none", None), ("empty", b"")]
    assert got[2] == [(b"key", b"a", None), (b"key", b"b", None), (b"", b"c", named)]


def test_a_resent_batch_is_recognised_and_not_appended(kafka, producer, idempotent, topic):
    batches = [idempotent(0), idempotent(10)]
    assert [producer.send((0, batch))[0].base_offset for batch in batches] == [0, 10]
    again = producer.send((0, batches[1]))[0]
    assert (again.code, again.base_offset) == (0, 10)
    assert again.log_append_time_ms > 0
    values = [message.value() for message in read_messages(kafka.address, topic, expect=20)]
    assert values == [b"%d" % number for number in range(20)]


def test_a_gap_in_the_sequence_is_refused_with_45(producer, idempotent):
    assert [producer.code(batch) for batch in (idempotent(0), idempotent(20), idempotent(10))] == [0, 45, 0]


def test_sequences_wrap_as_next_sequence_says(producer, idempotent):
    assert [producer.code(batch) for batch in (idempotent(2_147_483_640), idempotent(2))] == [0, 0]


def test_a_batch_over_the_limit_is_refused_with_10_and_its_halves_are_not(producer):
    lines = [b"x" * 200] * 6000
    assert producer.code(encode([Records(lines)], timestamp_ms=now_ms())) == 10
    assert producer.code(encode([Records(lines[:3000])], timestamp_ms=now_ms())) == 0


def test_a_damaged_batch_is_refused_with_2(producer):
    batch = bytearray(encode([Records([b"line"])], timestamp_ms=now_ms()))
    batch[-2] ^= 1
    assert producer.code(bytes(batch)) == 2


def test_the_leader_tells_the_last_sequence_of_a_producer_id(cluster, producer, idempotent):
    told = [producer.remembered(idempotent.id)]
    for batch in (idempotent(0), idempotent(10, 7), idempotent(10, 7)):
        assert producer.code(batch) == 0
        told.append(producer.remembered(idempotent.id))
    assert told == [None, (0, 9), (0, 16), (0, 16)]
    assert producer.remembered(idempotent.id, partition=1) is None
    assert producer.remembered(new_producer_id(cluster).id) is None
    assert cluster.api_versions(producer.connection).describes_producers


def test_another_cut_in_a_place_that_is_taken_is_refused_and_its_sequence_tells_which_came_in(
    producer, idempotent
):
    assert [producer.code(batch) for batch in (idempotent(0), idempotent(10, 7), idempotent(10, 6))] == [
        0,
        0,
        45,
    ]
    assert producer.remembered(idempotent.id) == (0, 16)


def test_the_next_epoch_shuts_out_late_requests(producer, idempotent):
    assert [producer.code(batch) for batch in (idempotent(0), idempotent(0, 3, epoch=1))] == [0, 0]
    assert producer.remembered(idempotent.id) == (1, 2)
    assert [producer.code(batch) for batch in (idempotent(10), idempotent(10, epoch=2))] == [47, 45]


def test_an_id_of_old_batches_is_forgotten_and_its_last_batch_appended_again(
    kafka_node, kafka_version, topic
):
    node = kafka_node(
        kafka_version,
        properties={"producer.id.expiration.ms": 60_000, "producer.id.expiration.check.interval.ms": 200},
    )
    cluster = cluster_of(("127.0.0.1", node.port))
    producer, make = Producer(cluster, topic), batches_of(new_producer_id(cluster))
    old, fresh = make(0, age_ms=86_400_000), batches_of(new_producer_id(cluster))
    assert producer.code(fresh(0)) == 0
    assert producer.send((0, old))[0].base_offset == 10
    wait_until(lambda: producer.remembered(make.id) is None, 20, "the old batch's id is forgotten")
    again = producer.send((0, old))[0]
    assert (again.code, again.base_offset, again.log_append_time_ms) == (0, 20, -1)
    assert producer.remembered(fresh.id) == (0, 9)
    assert cluster.producer_expiration_ms() == 60_000
    producer.connection.close()


def test_who_may_write_but_not_read_may_not_ask(kafka_node, kafka_version, topic):
    node = kafka_node(
        kafka_version,
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        },
    )
    cluster = cluster_of(("127.0.0.1", node.port))
    producer, make = Producer(cluster, topic), batches_of(new_producer_id(cluster))
    assert producer.code(make(0)) == 0
    assert producer.remembered(make.id) == (0, 9)
    assert cluster.least_in_sync(topic) == 1
    node.allow_only(topic, "WRITE")
    wait_until(lambda: producer.remembered(make.id) == 29, 20, "asking is denied")
    assert producer.code(make(10)) == 0
    assert cluster.describe_producers(producer.connection, topic, 0).code == 29
    assert cluster.least_in_sync(topic) is None
    assert cluster.describe([topic]).topics[topic].code == 0
    producer.connection.close()


def test_asking_about_an_unknown_topic_or_partition_is_answered_with_3(producer, topic):
    assert producer.remembered(1, topic=f"{topic}-other") == 3
    assert producer.remembered(1, partition=99) == 3


def test_an_unknown_topic_and_an_unknown_partition_are_refused_with_3(producer, topic):
    batch = encode([Records([b"line"])], timestamp_ms=now_ms())
    assert producer.send((0, batch), topic=f"{topic}-other")[0].code == 3
    assert producer.send((99, batch))[99].code == 3


def test_only_kafka_4_refuses_the_future(kafka, producer):
    code = producer.code(encode([Records([b"line"])], timestamp_ms=now_ms() + 2 * 86_400_000))
    assert code == (32 if kafka.version.startswith("4.") else 0)


def test_asking_for_a_topic_creates_it(producer):
    assert producer.codes[0] in (3, 5)
    assert producer.codes[-1] == 0


def test_describing_a_topic_creates_it_only_on_request(cluster, topic):
    for _ in range(3):
        found = cluster.describe([topic])
        assert (found.topics[topic].code, found.topics[topic].partitions) == (3, {})
    wait_until(
        lambda: cluster.describe([topic], create=True).topics[topic].code == 0, 20, f"{topic} is there"
    )
    wait_until(lambda: cluster.describe([topic]).topics[topic].leaders == {0: 1, 1: 1, 2: 1}, 20, "it is led")
    one = cluster.describe([topic]).topics[topic].partitions[0]
    assert (one.leader, one.replicas, one.in_sync) == (1, (1,), (1,))
    assert one.leader_epoch >= 0


def test_a_cluster_has_one_name_and_its_brokers_are_described(kafka, cluster, topic):
    found = cluster.describe([])
    assert len(found.cluster_id) == 22
    assert cluster.describe([topic]).cluster_id == found.cluster_id
    assert found.brokers == {1: ("127.0.0.1", kafka.port)}
    assert cluster.metadata.brokers == found.brokers


def test_many_topics_are_described_at_once(cluster, topic):
    names = [f"{topic}-{number}" for number in range(2000)]
    assert set(cluster.describe(names).topics) == set(names)


def test_settings_of_topics_and_brokers_are_told(kafka, cluster, topic):
    kafka.create_topic(topic, config={"min.insync.replicas": "2"})
    wait_until(lambda: cluster.least_in_sync(topic) == 2, 20, "the new topic is described")
    assert cluster.least_in_sync(f"{topic}-none") is None
    cluster.refresh([])
    assert cluster.producer_expiration_ms() == 86_400_000


def test_the_producers_of_a_partition_are_described(cluster, producer, idempotent, topic):
    assert cluster.knows_describe_producers(producer.connection)
    assert producer.code(idempotent(0)) == 0
    found = cluster.describe_producers(producer.connection, topic, 0)
    assert (found.code, found.producers[idempotent.id].last_sequence) == (0, 9)
    assert cluster.describe_producers(producer.connection, topic, 1).producers == {}
    assert cluster.describe_producers(producer.connection, topic, 99).code == 3


def test_a_new_term_of_the_leader_shows_in_its_epoch(kafka_node, kafka_version, topic):
    node = kafka_node(kafka_version)
    cluster = cluster_of(("127.0.0.1", node.port))
    Producer(cluster, topic).connection.close()
    before = cluster.describe([topic]).topics[topic].partitions[0].leader_epoch
    node.restart()

    def moved():
        return cluster.describe([topic]).topics[topic].partitions[0].leader_epoch > before

    wait_until(moved, 20, "the leader begins a new term")


def test_an_illegal_topic_name_is_reported_with_17(cluster):
    assert cluster.refresh(["no/slashes"]).topics["no/slashes"].code == 17


def test_producer_ids_differ(cluster):
    first, second = new_producer_id(cluster), new_producer_id(cluster)
    assert first.id >= 0
    assert first.id != second.id


def test_the_broker_says_which_kafka_it_is(kafka, cluster):
    connection = Connection(BrokerAddress("127.0.0.1", kafka.port), TIMEOUT_S)
    expected = "4.x" if kafka.version.startswith("4.") else "3.x or older"
    assert cluster.api_versions(connection).kafka_line == expected
    connection.close()


def test_a_request_that_the_broker_hangs_up_on_is_unavailable(kafka, cluster):
    connection = Connection(BrokerAddress("127.0.0.1", kafka.port), TIMEOUT_S)
    frame = bytearray(cluster.writer.api_versions())
    frame[4:6] = b"\x7f\x00"  # an API key that nobody has
    with pytest.raises(BrokerUnavailable, match="the broker closed the connection"):
        connection.call(bytes(frame), TIMEOUT_S)


def test_a_frozen_broker_is_overtaken_and_a_stopped_one_named(kafka_node):
    node = kafka_node()
    seed = ("127.0.0.1", node.port)
    one = cluster_of(("127.0.0.1", 1), seed)
    one.refresh([])
    connection = one.connect(1)
    node.freeze()
    with pytest.raises(BrokerUnavailable, match=r"timed out after 0\.5 s"):
        connection.call(one.writer.api_versions(), 0.5)
    node.thaw()
    assert one.refresh([]).brokers == {1: seed}
    node.stop()
    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{node.port}: connection refused"):
        one.refresh([])
    node.start()
    assert one.refresh([]).brokers == {1: seed}
