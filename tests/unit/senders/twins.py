# SPDX-License-Identifier: Apache-2.0
"""A cluster in memory that answers the frames that the sender really builds, as real brokers do or as a script says."""

import struct
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import gevent

from logagent.errors import BrokerUnavailable
from logagent.kafka.metadata import BrokerAddress, Described, Metadata, PartitionView, TopicInfo, TopicView
from logagent.kafka.requests import ActiveProducer, PartitionProducers, ProducerId, RequestWriter
from tests.unit.kafka import decoder

OUT_OF_ORDER = 45
OLD_EPOCH = 47
REMEMBERED = 5


@dataclass
class ModelLog:
    """One partition on its leader: what was appended, and what is remembered of producers."""

    values: list[bytes] = field(default_factory=list)
    remembered: dict[tuple[int, int], deque[tuple[int, int]]] = field(default_factory=dict)

    def append(self, producer: tuple[int, int], base_sequence: int, values: list[bytes]) -> int:
        """The error code of a broker that is well."""
        last = (base_sequence + len(values) - 1) & 0x7FFFFFFF
        known = self.remembered.get(producer)
        epochs = [epoch for pid, epoch in self.remembered if pid == producer[0]]
        if epochs and producer[1] < max(epochs):
            return OLD_EPOCH
        if known is None:
            if base_sequence and epochs:
                return OUT_OF_ORDER
            known = self.remembered[producer] = deque(maxlen=REMEMBERED)
        elif (base_sequence, last) in known:
            return 0
        elif base_sequence != (known[-1][1] + 1) & 0x7FFFFFFF:
            return OUT_OF_ORDER
        known.append((base_sequence, last))
        self.values += values
        return 0


@dataclass
class Sent:
    """One batch as it came over the wire."""

    node_id: int
    topic: str
    partition: int
    batch: decoder.Batch
    encoded: bytes

    @property
    def values(self) -> list[bytes]:
        return [record.value or b"" for record in self.batch.records]


Judge = Callable[[Sent], int | BaseException | None]
"""None: the broker is well. A code: refused with it. An exception: no answer, nothing appended."""


class FakeCluster:
    """Stands for `kafka.connections.Cluster`."""

    def __init__(
        self, topics: dict[str, dict[int, int]] | None = None, brokers: Collection[int] = (1,)
    ) -> None:
        self.writer = RequestWriter("test")
        self.brokers = {node: BrokerAddress("broker", 9000 + node) for node in brokers}
        self.topics = {name: TopicInfo(0, leaders) for name, leaders in (topics or {"logs": {0: 1}}).items()}
        self.asked: list[list[str]] = []
        self.down: set[int] = set()
        self.metadata_error: BrokerUnavailable | None = None
        self.producer_error: BrokerUnavailable | None = None
        self.producers_given = 0
        self.probes: list[int] = []
        self.judge: Judge = lambda _sent: None
        self.forget_answer = False
        """Append, and then hang up instead of answering (once)."""
        self.logs: dict[tuple[str, int], ModelLog] = {}
        self.sent: list[Sent] = []
        self.requests: list[list[Sent]] = []
        self.held: gevent.event.Event | None = None
        self.open_connections = 0
        self.cluster_id = "c1"
        self.askable = True
        self.questions: list[tuple[int, str, int]] = []
        self.question_codes: deque[int] = deque()

    def log(self, topic: str, partition: int) -> ModelLog:
        return self.logs.setdefault((topic, partition), ModelLog())

    # -- Cluster ------------------------------------------------------------------------------------------------------

    def refresh(self, topics: Collection[str]) -> Metadata:
        self.asked.append(list(topics))
        if self.metadata_error is not None:
            raise self.metadata_error
        return Metadata(self.brokers, {name: self.topics.get(name, TopicInfo(3, {})) for name in topics})

    def init_producer_id(self) -> ProducerId:
        if self.producer_error is not None:
            raise self.producer_error
        self.producers_given += 1
        return ProducerId(1000 + self.producers_given, 0)

    def connect(self, node_id: int) -> "FakeConnection":
        if node_id in self.down or node_id not in self.brokers:
            raise BrokerUnavailable(f"broker:{9000 + node_id}", "connection refused")
        self.open_connections += 1
        return FakeConnection(self, node_id)

    def describe(self, topics: Collection[str]) -> Described:
        found = {}
        for name in topics:
            views = {
                number: PartitionView(leader, 5, tuple(self.brokers), tuple(self.brokers))
                for number, leader in self.topics[name].leaders.items()
            }
            found[name] = TopicView(self.topics[name].code, views)
        return Described(self.cluster_id, self.brokers, found)

    def producer_expiration_ms(self) -> int | None:
        return None

    def least_in_sync(self, _topic: str) -> int | None:
        return 1

    def knows_describe_producers(self, _connection: "FakeConnection") -> bool:
        return self.askable

    def describe_producers(
        self, connection: "FakeConnection", topic: str, partition: int
    ) -> PartitionProducers:
        gevent.sleep(1e-6)
        if connection.node_id in self.down:
            raise BrokerUnavailable(str(connection.address), "the broker closed the connection")
        self.questions.append((connection.node_id, topic, partition))
        code = self.question_codes.popleft() if self.question_codes else 0
        known = self.log(topic, partition).remembered
        producers = {
            pid: ActiveProducer(epoch, last[-1][1], 0) for (pid, epoch), last in sorted(known.items())
        }
        return PartitionProducers(topic, partition, code, {} if code else producers)

    def api_versions(self, connection: "FakeConnection") -> None:
        self.probes.append(connection.node_id)


class FakeConnection:
    """Stands for `kafka.connections.Connection`."""

    def __init__(self, cluster: FakeCluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.address = cluster.brokers[node_id]
        self.connected = True

    def close(self) -> None:
        if self.connected:
            self.cluster.open_connections -= 1
        self.connected = False

    def call(self, frame: bytes, _timeout_s: float) -> bytes:
        cluster = self.cluster
        gevent.sleep(1e-6)
        if cluster.held is not None:
            cluster.held.wait()
        if self.node_id in cluster.down:
            raise BrokerUnavailable(str(self.address), "the broker closed the connection")
        sent = [
            Sent(self.node_id, topic, partition, decoder.decode(encoded, check_crc=False), encoded)
            for topic, partition, encoded in parse_produce_request(frame)
        ]
        cluster.requests.append(sent)
        answers: dict[str, list[tuple[int, int]]] = {}
        for one in sent:
            cluster.sent.append(one)
            code = cluster.judge(one)
            if isinstance(code, BaseException):
                raise code
            if code is None:
                batch = one.batch
                log = cluster.log(one.topic, one.partition)
                code = log.append((batch.producer_id, batch.producer_epoch), batch.base_sequence, one.values)
            answers.setdefault(one.topic, []).append((one.partition, code))
        if cluster.forget_answer:
            cluster.forget_answer = False
            raise BrokerUnavailable(str(self.address), "timed out after 8 s")
        return produce_answer(answers)


def parse_produce_request(frame: bytes) -> list[tuple[str, int, bytes]]:
    """(topic, partition, batch) of a Produce v3 frame, by the book."""
    size, api_key, version, _correlation, client_size = struct.unpack_from(">ihhih", frame)
    assert (size, api_key, version) == (len(frame) - 4, 0, 3)
    at = 14 + client_size
    transactional, acks, _timeout_ms, topics = struct.unpack_from(">hhii", frame, at)
    assert (transactional, acks) == (-1, -1)
    at += 12
    found = []
    for _ in range(topics):
        (name_size,) = struct.unpack_from(">h", frame, at)
        name = frame[at + 2 : at + 2 + name_size].decode()
        at += 2 + name_size
        (partitions,) = struct.unpack_from(">i", frame, at)
        at += 4
        for _ in range(partitions):
            partition, batch_size = struct.unpack_from(">ii", frame, at)
            at += 8
            found.append((name, partition, frame[at : at + batch_size]))
            at += batch_size
    assert at == len(frame)
    return found


def produce_answer(answers: dict[str, list[tuple[int, int]]]) -> bytes:
    """A Produce v3 answer without size and correlation id."""
    pieces = [struct.pack(">i", len(answers))]
    for topic, codes in answers.items():
        pieces.append(struct.pack(">h", len(topic)) + topic.encode() + struct.pack(">i", len(codes)))
        pieces += [struct.pack(">ihqq", partition, code, 0, -1) for partition, code in codes]
    return b"".join([*pieces, struct.pack(">i", 0)])
