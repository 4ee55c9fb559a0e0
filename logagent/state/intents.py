# SPDX-License-Identifier: Apache-2.0
"""The note of a batch that is about to be sent, and how it is written into a record of the journal. Pure.

The payload of an intent is written from pieces that stay the same for a file, so that noting a hundred small segments
costs little: settled, place, and for each cut its segments, a head and a range each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, error
from typing import Final, NamedTuple

from crc32c import crc32c

SETTLED: Final = Struct(">QQ")
"""How the payload of an intent begins: what it settles."""

_PLACE = Struct(">IIQIIQ")
_RANGE = Struct(">QQQII")

_MAX_NUMBER = 2**63 - 1
_RENDER_ID_BYTES = 16


class IntentRefused(ValueError):
    """A payload that says nothing sensible; the text says why."""


class PartitionKey(NamedTuple):
    """What there is at most one open intent of."""

    cluster_id: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class SegmentNote:
    """The part of a batch that came from one file: `[start_offset, end_offset)` of it, as so many records.

    `source_crc` is the CRC-32C of the `hashed_bytes` from `start_offset` on: of all of them, unless a line was cut and
    its rest never read. `render_id` names the stored settings by which it was rendered.
    """

    service: str
    identity: str
    start_offset: int
    end_offset: int
    records: int
    render_id: bytes
    source_crc: int
    hashed_bytes: int


@dataclass(frozen=True, slots=True)
class EarlierCut:
    """What else was sent to the same place in the sequence, with another number of records."""

    segments: tuple[SegmentNote, ...]

    @property
    def records(self) -> int:
        """By how many records brokers know it."""
        return sum(segment.records for segment in self.segments)


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """Everything that a later process needs to find out about a batch, and to build it again."""

    cluster_id: str
    topic: str
    partition: int
    partitions: int
    producer_id: int
    epoch: int
    base_sequence: int
    max_timestamp_ms: int
    segments: tuple[SegmentNote, ...]
    earlier_cuts: tuple[EarlierCut, ...] = ()

    @property
    def key(self) -> PartitionKey:
        """Whose intent it is."""
        return PartitionKey(self.cluster_id, self.topic, self.partition)

    @property
    def records(self) -> int:
        """How many records the batch has."""
        return sum(segment.records for segment in self.segments)

    def cut(self, records: int) -> tuple[SegmentNote, ...]:
        """The segments of the cut with so many records; none if there is no such cut."""
        if records == self.records:
            return self.segments
        return next((cut.segments for cut in self.earlier_cuts if cut.records == records), ())


class Settled(NamedTuple):
    """Which earlier intent an intent shows to be settled, and by the cut with how many records."""

    sequence: int
    records: int


NOTHING_SETTLED: Final = Settled(0, 0)


def source_crc(data: bytes, before: int = 0) -> int:
    """The hash of source bytes; `before` is that of what stands right before them."""
    return int(crc32c(data, before))


# -- payloads ---------------------------------------------------------------------------------------------------------


def encode_intent(record: IntentRecord, settles: Settled = NOTHING_SETTLED) -> bytes:
    """The payload of an intent. Raises ValueError for what cannot be written."""
    cuts = [record.segments, *(cut.segments for cut in record.earlier_cuts)]
    try:
        place = encode_place(
            record.key,
            record.partitions,
            record.producer_id,
            record.epoch,
            record.base_sequence,
            record.max_timestamp_ms,
        )
        return SETTLED.pack(*settles) + place + encode_cuts([parts_of(segments) for segments in cuts])
    except error as fault:
        raise ValueError(f"it cannot be written: {fault}") from fault


def encode_place(
    key: PartitionKey, partitions: int, producer_id: int, epoch: int, base_sequence: int, timestamp_ms: int
) -> bytes:
    """How it goes on: where the batch goes."""
    out = bytearray(_PLACE.pack(key.partition, partitions, producer_id, epoch, base_sequence, timestamp_ms))
    _put_strings(out, (key.cluster_id, key.topic))
    return bytes(out)


def encode_cuts(cuts: Sequence[Sequence[bytes]]) -> bytes:
    """How it ends: what is sent, and what else was sent to the same place; a head and a range for each segment."""
    out = bytearray()
    _put(out, len(cuts))
    for parts in cuts:
        _put(out, len(parts) // 2)
        out += b"".join(parts)
    return bytes(out)


def encode_head(service: str, identity: str, render_id: bytes) -> bytes:
    """What is the same for all segments of a file."""
    if len(render_id) != _RENDER_ID_BYTES:
        raise ValueError("a render id has 16 bytes")
    out = bytearray(render_id)
    _put_strings(out, (service, identity))
    return bytes(out)


encode_range = _RANGE.pack
"""Start and end offset, hashed bytes, records and source CRC of a segment."""


def parts_of(segments: Sequence[SegmentNote]) -> list[bytes]:
    """Heads and ranges of segments, for `encode_cuts`."""
    parts = []
    for one in segments:
        parts.append(encode_head(one.service, one.identity, one.render_id))
        parts.append(
            encode_range(one.start_offset, one.end_offset, one.hashed_bytes, one.records, one.source_crc)
        )
    return parts


def decode_intent(payload: bytes) -> tuple[IntentRecord, Settled]:
    """The intent and what it settles. Raises IntentRefused."""
    reader = _Reader(payload)
    settles = Settled(*reader.unpack(SETTLED))
    partition, partitions, producer_id, epoch, base, stamp = reader.unpack(_PLACE)
    cluster_id, topic = reader.string(), reader.string()
    cuts = [_segments(reader) for _ in range(reader.number())]
    reader.end()
    if not cuts or not all(cuts):
        raise IntentRefused("it has no records")
    if (
        partition >= partitions
        or epoch > 0x7FFF
        or base > 0x7FFFFFFF
        or max(producer_id, stamp) > _MAX_NUMBER
    ):
        raise IntentRefused("its partition, epoch or sequence is out of range")
    earlier = tuple(EarlierCut(segments) for segments in cuts[1:])
    record = IntentRecord(
        cluster_id, topic, partition, partitions, producer_id, epoch, base, stamp, cuts[0], earlier
    )
    return record, settles


def _segments(reader: "_Reader") -> tuple[SegmentNote, ...]:
    found = []
    for _ in range(reader.number()):
        render_id = reader.take(_RENDER_ID_BYTES)
        service, identity = reader.string(), reader.string()
        start, end, hashed, records, crc = reader.unpack(_RANGE)
        if start > end or hashed > end - start or not records or end > _MAX_NUMBER:
            raise IntentRefused("a segment has impossible numbers")
        found.append(SegmentNote(service, identity, start, end, records, render_id, crc, hashed))
    return tuple(found)


def encode_closed(key: PartitionKey) -> bytes:
    """The payload of a CLOSED frame."""
    out = bytearray()
    _put_strings(out, (key.cluster_id, key.topic))
    _put(out, key.partition)
    return bytes(out)


def decode_closed(payload: bytes) -> PartitionKey:
    """The partition. Raises IntentRefused."""
    reader = _Reader(payload)
    key = PartitionKey(reader.string(), reader.string(), reader.number())
    reader.end()
    return key


def encode_render(render_id: bytes, document: bytes) -> bytes:
    """The payload of a RENDER frame."""
    if len(render_id) != _RENDER_ID_BYTES:
        raise ValueError("a render id has 16 bytes")
    return render_id + document


def decode_render(payload: bytes) -> tuple[bytes, bytes]:
    """The id and its document. Raises IntentRefused."""
    if len(payload) <= _RENDER_ID_BYTES:
        raise IntentRefused("it ends too early")
    return payload[:_RENDER_ID_BYTES], payload[_RENDER_ID_BYTES:]


def _put(out: bytearray, number: int) -> None:
    if not 0 <= number <= _MAX_NUMBER:
        raise ValueError(f"{number} is out of range")
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _put_strings(out: bytearray, strings: Sequence[str]) -> None:
    for string in strings:
        encoded = string.encode("utf-8", "surrogateescape")
        _put(out, len(encoded))
        out += encoded


class _Reader:
    """Never reads past the end, so a list that says to be longer than the rest ends there, too."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << shift
            if number > _MAX_NUMBER:
                raise IntentRefused("it has a number that is too large")
            if byte < 0x80:
                return number
            shift += 7
            if shift > 63:
                raise IntentRefused("it has a number without end")

    def unpack(self, layout: Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def string(self) -> str:
        return self.take(self.number()).decode("utf-8", "surrogateescape")

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise IntentRefused("it ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def end(self) -> None:
        if self._at != len(self._data):
            raise IntentRefused("it has bytes too many")
