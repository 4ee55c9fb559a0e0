# SPDX-License-Identifier: Apache-2.0
"""Frames of the requests that we write ourselves, and parsers of their answers. Pure.

Layouts: https://kafka.apache.org/protocol. Parsers get an answer without its size and correlation id, and
raise ProtocolViolation whatever is wrong with it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from logagent.errors import ProtocolViolation
from logagent.kafka.metadata import BrokerAddress, Described, PartitionView, TopicView
from logagent.kafka.wire import INT8, INT16, INT32, NO_TAGS, Reader, compact, string

PRODUCE: Final = 0
FETCH: Final = 1
METADATA: Final = 3
API_VERSIONS: Final = 18
INIT_PRODUCER_ID: Final = 22
DESCRIBE_CONFIGS: Final = 32
DESCRIBE_PRODUCERS: Final = 61
"""Brokers before 2.8 do not know it, and hang up on whoever asks: look into their ApiVersions first."""

METADATA_VERSIONS: Final = (4, 7)
"""From the first that can ask without creating topics, to the one that tells the epochs of leaders (Kafka 2.1)."""

TOPIC, BROKER = 2, 4
"""What DescribeConfigs can be asked about."""

_ACKS_ALL: Final = -1
# InitProducerId asks for it; it means nothing outside of transactions.
_TRANSACTION_TIMEOUT_MS: Final = 60_000

_REQUEST_HEADER = Struct(">ihhih")
_PRODUCE_HEAD = Struct(">hhii")
_INIT_PRODUCER_ID_BODY = Struct(">hi")
_TWOINT32 = Struct(">ii")
_PARTITION_ANSWER = Struct(">ihqq")
_INIT_PRODUCER_ID_ANSWER = Struct(">ihqh")
_API_VERSION = Struct(">hhh")
_PARTITION_CODE = Struct(">ih")
_PARTITION_HEAD = Struct(">hii")
_CONFIG_FLAGS = Struct(">bbb")  # read only, where it comes from, sensitive
_BROKER_LEAST_BYTES: Final = 12
_TOPIC_LEAST_BYTES: Final = 9
_WITH_OFFLINE_REPLICAS: Final = 5
_WITH_LEADER_EPOCHS: Final = 7
# Id, epoch, last sequence, last time stamp, coordinator epoch, start of the open transaction.
_PRODUCER = Struct(">qiiqiq")


@dataclass(frozen=True, slots=True)
class ProduceAnswer:
    """What the leader says about one batch. `base_offset` is -1 on errors.

    On topics with CreateTime `log_append_time_ms` is -1 for a fresh append; a time stamp there means that the
    broker had this batch already.
    """

    topic: str
    partition: int
    code: int
    base_offset: int
    log_append_time_ms: int


@dataclass(frozen=True, slots=True)
class ProducerId:
    """The identity under which the broker recognises resent batches."""

    id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ActiveProducer:
    """What a replica remembers of a producer id in one partition."""

    epoch: int
    last_sequence: int
    last_timestamp_ms: int


@dataclass(frozen=True, slots=True)
class PartitionProducers:
    """The producer ids that a replica remembers; none with an error code.

    A follower answers from its own log, too. An id that is not there never wrote, or has expired.
    """

    topic: str
    partition: int
    code: int
    producers: Mapping[int, ActiveProducer]


@dataclass(frozen=True, slots=True)
class ConfigValues:
    """Settings of a topic or broker; with an error code, or where the broker does not know them, none."""

    code: int
    values: Mapping[str, str | None]

    def number(self, name: str) -> int | None:
        """A setting that is a whole number; None if it is not told."""
        text = self.values.get(name) or ""
        return int(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True, slots=True)
class ApiVersions:
    """Per API key the least and greatest version that a broker takes."""

    code: int
    ranges: Mapping[int, tuple[int, int]]

    @property
    def kafka_line(self) -> str:
        """Which Kafka this is. Kafka 4 lists old Produce versions that it refuses; Fetch tells the truth."""
        return "4.x" if self.ranges.get(FETCH, (0, 0))[0] >= 4 else "3.x or older"

    @property
    def metadata_version(self) -> int | None:
        """The version of Metadata to ask for; None with Kafka older than 0.11."""
        least, greatest = self.ranges.get(METADATA, (0, 0))
        version = min(greatest, METADATA_VERSIONS[1])
        return version if version >= max(least, METADATA_VERSIONS[0]) else None

    @property
    def describes_producers(self) -> bool:
        """Whether the broker answers DescribeProducers."""
        return self.ranges.get(DESCRIBE_PRODUCERS, (1, 1))[0] == 0


class RequestWriter:
    """Writes request frames for one client; numbers them so that an answer can be told from a stray one."""

    def __init__(self, client_id: str) -> None:
        self._client_id = string(client_id)[INT16.size :]
        self._correlation_id = 0

    def next_correlation_id(self) -> int:
        """1 .. 2**31 - 1, around and around."""
        self._correlation_id = self._correlation_id % 0x7FFFFFFF + 1
        return self._correlation_id

    def produce(self, topics: Mapping[str, Sequence[tuple[int, bytes]]], *, timeout_ms: int) -> bytes:
        """Produce v3, acks = all: (partition, batch) per topic. It waits `timeout_ms` for the replicas."""
        pieces = [_PRODUCE_HEAD.pack(-1, _ACKS_ALL, timeout_ms, len(topics))]
        for topic, batches in topics.items():
            pieces += (string(topic), INT32.pack(len(batches)))
            for partition, batch in batches:
                pieces += (_TWOINT32.pack(partition, len(batch)), batch)
        return self._frame(PRODUCE, 3, pieces)

    def init_producer_id(self) -> bytes:
        """InitProducerId v0 without a transactional id."""
        return self._frame(INIT_PRODUCER_ID, 0, [_INIT_PRODUCER_ID_BODY.pack(-1, _TRANSACTION_TIMEOUT_MS)])

    def api_versions(self) -> bytes:
        """ApiVersions v0."""
        return self._frame(API_VERSIONS, 0, [])

    def describe_producers(self, topics: Mapping[str, Sequence[int]]) -> bytes:
        """DescribeProducers v0: which producer ids the broker remembers in these partitions of each topic."""
        pieces = [NO_TAGS, compact(len(topics))]
        for topic, partitions in topics.items():
            encoded = topic.encode()
            pieces += (compact(len(encoded)), encoded, compact(len(partitions)))
            pieces += (INT32.pack(partition) for partition in partitions)
            pieces.append(NO_TAGS)
        pieces.append(NO_TAGS)
        return self._frame(DESCRIBE_PRODUCERS, 0, pieces)

    def describe_topics(self, topics: Collection[str], *, create: bool, version: int) -> bytes:
        """Metadata of these topics; missing ones are created if that is wanted and the cluster allows it."""
        pieces = [INT32.pack(len(topics)), *map(string, topics), INT8.pack(create)]
        return self._frame(METADATA, version, pieces)

    def describe_configs(self, kind: int, name: str, settings: Sequence[str]) -> bytes:
        """DescribeConfigs v1 of a topic, or of the broker that is asked, by its node id as text."""
        pieces = [INT32.pack(1), INT8.pack(kind), string(name), INT32.pack(len(settings))]
        return self._frame(DESCRIBE_CONFIGS, 1, [*pieces, *map(string, settings), INT8.pack(0)])

    def _frame(self, api_key: int, version: int, body: list[bytes]) -> bytes:
        size = _REQUEST_HEADER.size - INT32.size + len(self._client_id) + sum(map(len, body))
        correlation_id = self.next_correlation_id()
        header = _REQUEST_HEADER.pack(size, api_key, version, correlation_id, len(self._client_id))
        return b"".join((header, self._client_id, *body))


def parse_produce(answer: bytes, address: str) -> tuple[ProduceAnswer, ...]:
    """Produce v3. `address` names the broker in the error."""
    reader = Reader(answer, address)
    answers: list[ProduceAnswer] = []
    for _ in range(reader.count(INT16.size + INT32.size)):
        topic = reader.string()
        count = reader.count(_PARTITION_ANSWER.size)
        answers += [ProduceAnswer(topic, *reader.take(_PARTITION_ANSWER)) for _ in range(count)]
    reader.take(INT32)  # throttle time
    reader.end()
    return tuple(answers)


def parse_init_producer_id(answer: bytes, address: str) -> tuple[int, ProducerId]:
    """InitProducerId v0: error code and identity; with code 0 the identity is a real one."""
    reader = Reader(answer, address)
    _throttle_ms, code, producer_id, epoch = reader.take(_INIT_PRODUCER_ID_ANSWER)
    reader.end()
    if code == 0 and (producer_id < 0 or epoch < 0):
        raise ProtocolViolation(address, f"gave out the impossible producer id {producer_id}, epoch {epoch}")
    return code, ProducerId(producer_id, epoch)


def parse_api_versions(answer: bytes, address: str) -> ApiVersions:
    """ApiVersions v0."""
    reader = Reader(answer, address)
    (code,) = reader.take(INT16)
    ranges = {}
    for _ in range(reader.count(_API_VERSION.size)):
        api_key, least, greatest = reader.take(_API_VERSION)
        ranges[api_key] = (least, greatest)
    reader.end()
    return ApiVersions(code, ranges)


def parse_describe_topics(answer: bytes, address: str, version: int) -> Described:
    """Metadata of one of `METADATA_VERSIONS`."""
    reader = Reader(answer, address)
    reader.take(INT32)  # throttle time
    brokers = {}
    for _ in range(reader.count(_BROKER_LEAST_BYTES)):
        (node,) = reader.take(INT32)
        brokers[node] = BrokerAddress(reader.string(), reader.take(INT32)[0])
        reader.nullable_string()  # rack
    cluster_id = reader.nullable_string() or ""
    reader.take(INT32)  # controller
    topics = {}
    for _ in range(reader.count(_TOPIC_LEAST_BYTES)):
        (code,) = reader.take(INT16)
        name = reader.string()
        reader.take(INT8)  # whether it is internal
        count = reader.count(_PARTITION_HEAD.size)
        topics[name] = TopicView(code, dict(_partition_view(reader, version) for _ in range(count)))
    reader.end()
    return Described(cluster_id, brokers, topics)


def _partition_view(reader: Reader, version: int) -> tuple[int, PartitionView]:
    _code, number, leader = reader.take(_PARTITION_HEAD)
    epoch = reader.take(INT32)[0] if version >= _WITH_LEADER_EPOCHS else -1
    replicas, in_sync = reader.numbers(), reader.numbers()
    if version >= _WITH_OFFLINE_REPLICAS:
        reader.numbers()
    return number, PartitionView(leader, epoch, replicas, in_sync)


def parse_describe_configs(answer: bytes, address: str) -> ConfigValues:
    """DescribeConfigs v1 of one topic or broker."""
    reader = Reader(answer, address)
    reader.take(INT32)  # throttle time
    if reader.count(INT16.size) != 1:
        raise ProtocolViolation(address, "describes other settings than those asked for")
    (code,) = reader.take(INT16)
    reader.nullable_string()  # what the code says already
    reader.take(INT8)
    reader.string()
    values = {}
    for _ in range(reader.count(_CONFIG_FLAGS.size)):
        name = reader.string()
        values[name] = reader.nullable_string()
        reader.take(_CONFIG_FLAGS)
        for _ in range(reader.count(INT8.size)):
            reader.string(), reader.nullable_string(), reader.take(INT8)
    reader.end()
    return ConfigValues(code, values)


def parse_describe_producers(answer: bytes, address: str) -> tuple[PartitionProducers, ...]:
    """DescribeProducers v0."""
    reader = Reader(answer, address)
    reader.tags()
    reader.take(INT32)  # throttle time
    found: list[PartitionProducers] = []
    for _ in range(reader.compact_count(1)):
        topic = reader.compact_string()
        for _ in range(reader.compact_count(_PARTITION_CODE.size)):
            partition, code = reader.take(_PARTITION_CODE)
            reader.compact_string()  # what the code says already, or null
            producers = {}
            for _ in range(reader.compact_count(_PRODUCER.size)):
                producer_id, epoch, last_sequence, last_ms, _coordinator, _start = reader.take(_PRODUCER)
                producers[producer_id] = ActiveProducer(epoch, last_sequence, last_ms)
                reader.tags()
            reader.tags()
            found.append(PartitionProducers(topic, partition, code, producers))
        reader.tags()
    reader.tags()
    reader.end()
    return tuple(found)
