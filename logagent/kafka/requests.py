# SPDX-License-Identifier: Apache-2.0
"""Frames of the requests that we write ourselves, and parsers of their answers. Pure.

Layouts: https://kafka.apache.org/protocol. Parsers get an answer without its size and correlation id, and
raise ProtocolViolation whatever is wrong with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from logagent.errors import ProtocolViolation

PRODUCE: Final = 0
FETCH: Final = 1
API_VERSIONS: Final = 18
INIT_PRODUCER_ID: Final = 22
DESCRIBE_PRODUCERS: Final = 61
"""Brokers before 2.8 do not know it, and hang up on whoever asks: look into their ApiVersions first."""

_ACKS_ALL: Final = -1
# InitProducerId asks for it; it means nothing outside of transactions.
_TRANSACTION_TIMEOUT_MS: Final = 60_000

_REQUEST_HEADER = Struct(">ihhih")
_PRODUCE_HEAD = Struct(">hhii")
_INIT_PRODUCER_ID_BODY = Struct(">hi")
_INT16 = Struct(">h")
_INT32 = Struct(">i")
_TWO_INT32 = Struct(">ii")
_PARTITION_ANSWER = Struct(">ihqq")
_INIT_PRODUCER_ID_ANSWER = Struct(">ihqh")
_API_VERSION = Struct(">hhh")
_PARTITION_CODE = Struct(">ih")
# Id, epoch, last sequence, last time stamp, coordinator epoch, start of the open transaction.
_PRODUCER = Struct(">qiiqiq")
_NO_TAGS: Final = b"\0"


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
class ApiVersions:
    """Per API key the least and greatest version that a broker takes."""

    code: int
    ranges: Mapping[int, tuple[int, int]]

    @property
    def kafka_line(self) -> str:
        """Which Kafka this is. Kafka 4 lists old Produce versions that it refuses; Fetch tells the truth."""
        return "4.x" if self.ranges.get(FETCH, (0, 0))[0] >= 4 else "3.x or older"

    @property
    def describes_producers(self) -> bool:
        """Whether the broker answers DescribeProducers."""
        return self.ranges.get(DESCRIBE_PRODUCERS, (1, 1))[0] == 0


class RequestWriter:
    """Writes request frames for one client; numbers them so that an answer can be told from a stray one."""

    def __init__(self, client_id: str) -> None:
        self._client_id = _string(client_id)[_INT16.size :]
        self._correlation_id = 0

    def next_correlation_id(self) -> int:
        """1 .. 2**31 - 1, around and around."""
        self._correlation_id = self._correlation_id % 0x7FFFFFFF + 1
        return self._correlation_id

    def produce(self, topics: Mapping[str, Sequence[tuple[int, bytes]]], *, timeout_ms: int) -> bytes:
        """Produce v3, acks = all: (partition, batch) per topic. It waits `timeout_ms` for the replicas."""
        pieces = [_PRODUCE_HEAD.pack(-1, _ACKS_ALL, timeout_ms, len(topics))]
        for topic, batches in topics.items():
            pieces += (_string(topic), _INT32.pack(len(batches)))
            for partition, batch in batches:
                pieces += (_TWO_INT32.pack(partition, len(batch)), batch)
        return self._frame(PRODUCE, 3, pieces)

    def init_producer_id(self) -> bytes:
        """InitProducerId v0 without a transactional id."""
        return self._frame(INIT_PRODUCER_ID, 0, [_INIT_PRODUCER_ID_BODY.pack(-1, _TRANSACTION_TIMEOUT_MS)])

    def api_versions(self) -> bytes:
        """ApiVersions v0."""
        return self._frame(API_VERSIONS, 0, [])

    def describe_producers(self, topics: Mapping[str, Sequence[int]]) -> bytes:
        """DescribeProducers v0: which producer ids the broker remembers in these partitions of each topic."""
        pieces = [_NO_TAGS, _compact(len(topics))]
        for topic, partitions in topics.items():
            encoded = topic.encode()
            pieces += (_compact(len(encoded)), encoded, _compact(len(partitions)))
            pieces += (_INT32.pack(partition) for partition in partitions)
            pieces.append(_NO_TAGS)
        pieces.append(_NO_TAGS)
        return self._frame(DESCRIBE_PRODUCERS, 0, pieces)

    def _frame(self, api_key: int, version: int, body: list[bytes]) -> bytes:
        size = _REQUEST_HEADER.size - _INT32.size + len(self._client_id) + sum(map(len, body))
        correlation_id = self.next_correlation_id()
        header = _REQUEST_HEADER.pack(size, api_key, version, correlation_id, len(self._client_id))
        return b"".join((header, self._client_id, *body))


def parse_produce(answer: bytes, address: str) -> tuple[ProduceAnswer, ...]:
    """Produce v3. `address` names the broker in the error."""
    reader = _Reader(answer, address)
    answers: list[ProduceAnswer] = []
    for _ in range(reader.count(_INT16.size + _INT32.size)):
        topic = reader.string()
        count = reader.count(_PARTITION_ANSWER.size)
        answers += [ProduceAnswer(topic, *reader.take(_PARTITION_ANSWER)) for _ in range(count)]
    reader.take(_INT32)  # throttle time
    reader.end()
    return tuple(answers)


def parse_init_producer_id(answer: bytes, address: str) -> tuple[int, ProducerId]:
    """InitProducerId v0: error code and identity; with code 0 the identity is a real one."""
    reader = _Reader(answer, address)
    _throttle_ms, code, producer_id, epoch = reader.take(_INIT_PRODUCER_ID_ANSWER)
    reader.end()
    if code == 0 and (producer_id < 0 or epoch < 0):
        raise ProtocolViolation(address, f"gave out the impossible producer id {producer_id}, epoch {epoch}")
    return code, ProducerId(producer_id, epoch)


def parse_api_versions(answer: bytes, address: str) -> ApiVersions:
    """ApiVersions v0."""
    reader = _Reader(answer, address)
    (code,) = reader.take(_INT16)
    ranges = {}
    for _ in range(reader.count(_API_VERSION.size)):
        api_key, least, greatest = reader.take(_API_VERSION)
        ranges[api_key] = (least, greatest)
    reader.end()
    return ApiVersions(code, ranges)


def parse_describe_producers(answer: bytes, address: str) -> tuple[PartitionProducers, ...]:
    """DescribeProducers v0."""
    reader = _Reader(answer, address)
    reader.tags()
    reader.take(_INT32)  # throttle time
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


def _compact(length: int) -> bytes:
    """A length as newer requests write it: one more, because 0 is null, in LEB128."""
    return _unsigned(length + 1)


def _unsigned(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _INT16.pack(len(encoded)) + encoded


class _Reader:
    """Reads big-endian fields in order and never past the end."""

    def __init__(self, data: bytes, address: str) -> None:
        self._data = data
        self._address = address
        self._position = 0

    def take(self, layout: Struct) -> tuple[Any, ...]:
        start = self._advance(layout.size)
        return layout.unpack_from(self._data, start)

    def string(self) -> str:
        (size,) = self.take(_INT16)
        if size < 0:
            raise self._violation("null where a name belongs")
        return self._text(size)

    def compact_string(self) -> str:
        """Null is as good as empty."""
        return self._text(max(0, self._unsigned() - 1))

    def _text(self, size: int) -> str:
        start = self._advance(size)
        try:
            return self._data[start : start + size].decode()
        except UnicodeDecodeError as error:
            raise self._violation("a name that is not UTF-8") from error

    def tags(self) -> None:
        """Tagged fields, which say nothing to us."""
        for _ in range(self._unsigned()):
            self._unsigned()
            self._advance(self._unsigned())

    def _unsigned(self) -> int:
        number = 0
        for shift in range(0, 35, 7):
            byte = self._data[self._advance(1)]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise self._violation("a number without end")

    def compact_count(self, least_item_bytes: int) -> int:
        """As `count`; null is as good as empty."""
        count = max(0, self._unsigned() - 1)
        if count * least_item_bytes > len(self._data) - self._position:
            raise self._violation(f"an array of {count} items")
        return count

    def count(self, least_item_bytes: int) -> int:
        """An array's length, checked against what is left before anybody loops over it."""
        (count,) = self.take(_INT32)
        if not 0 <= count * least_item_bytes <= len(self._data) - self._position:
            raise self._violation(f"an array of {count} items")
        return int(count)

    def end(self) -> None:
        left = len(self._data) - self._position
        if left:
            raise self._violation(f"{left} bytes too many")

    def _advance(self, size: int) -> int:
        start = self._position
        if start + size > len(self._data):
            raise self._violation("an end where more should follow")
        self._position = start + size
        return start

    def _violation(self, what: str) -> ProtocolViolation:
        size = len(self._data)
        return ProtocolViolation(
            self._address, f"an answer of {size} bytes cannot be understood: it has {what}"
        )
