# SPDX-License-Identifier: Apache-2.0
"""Builds RecordBatch v2 (Kafka's log format, "magic 2") from lines. Pure.

One record: varint(size of the rest), attributes, varint(time stamp delta), varint(offset delta), key, value,
headers. See https://kafka.apache.org/documentation/#recordbatch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, groupby, repeat
from operator import add, itemgetter
from struct import Struct
from typing import NamedTuple

from crc32c import crc32c

HEADER_BYTES = 61
"""Size of the batch header in front of the records."""

SEQUENCE_MASK = 0x7FFFFFFF

# Lines shorter than this get their length fields from tables; longer ones are few per batch.
_TABLE_SIZE = 4096
_NO_HEADERS = b"\0"
_NULL_KEY = b"\1"
_UNTIMED = b"\0\0"  # attributes, and a time stamp delta of zero: every record has the time of its batch

# Base offset, size of the rest, leader epoch, magic, CRC-32C of everything after it.
_FRONT = Struct(">qiibI")
# Attributes, last offset delta, first and last time stamp, producer id, producer epoch, base sequence, count.
_BACK = Struct(">hiqqqhii")
_AFTER_SIZE_BYTES = HEADER_BYTES - 12


class Records(NamedTuple):
    """Consecutive records that share a key."""

    values: Sequence[bytes]
    key: bytes | None = None
    headers: Sequence[bytes] | None = None
    """One block from `encode_header_block` per record, or None when no record has headers."""


def next_sequence(sequence: int, records: int) -> int:
    """The base sequence of the batch after one of `records` records; wraps as the broker expects."""
    return (sequence + records) & SEQUENCE_MASK


def varint(number: int) -> bytes:
    """Zigzag varint of a number in 0 .. 2**62."""
    zigzag = number << 1
    encoded = bytearray()
    while zigzag > 0x7F:
        encoded.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


def varint_width(number: int) -> int:
    """Bytes that `varint(number)` takes; `number` is not negative."""
    return max(1, ((number << 1).bit_length() + 6) // 7)


def encode_header_block(pairs: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """The header part of one record: a count, then names (UTF-8) and values (None is null)."""
    pieces = [varint(len(pairs))]
    for name, value in pairs:
        pieces += (varint(len(name)), name, _nullable(value))
    return b"".join(pieces)


def max_encoded_bytes(records: int, value_bytes: int, extra_bytes: int = 0) -> int:
    """Upper bound of `len(encode(...))`, a few bytes per record above the truth.

    `value_bytes` is the sum of the values, `extra_bytes` of the keys (once per record) and header blocks.
    """
    key_width = varint_width(extra_bytes)
    fixed = len(_UNTIMED) + varint_width(records) + key_width + varint_width(value_bytes) + len(_NO_HEADERS)
    payload = value_bytes + extra_bytes
    return HEADER_BYTES + records * (fixed + varint_width(payload + fixed)) + payload


def encode(
    groups: Sequence[Records],
    *,
    timestamp_ms: int,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> bytes:
    """One uncompressed batch with the records of all groups in order, stamped `timestamp_ms` (since 1970).

    A producer id of -1 means "not idempotent". ValueError without a record: brokers refuse empty batches.
    """
    count = 0
    pieces: list[bytes] = []
    for group in _merged(groups):
        encode_group = _plain if _is_plain(group) else _with_key_and_headers
        pieces += encode_group(group, count)
        count += len(group.values)
    if not count:
        raise ValueError("a batch needs at least one record")
    producer = (producer_id, producer_epoch, base_sequence)
    back = _BACK.pack(0, count - 1, timestamp_ms, timestamp_ms, *producer, count)
    records = b"".join(pieces)
    crc = crc32c(records, crc32c(back))
    return b"".join((_FRONT.pack(0, _AFTER_SIZE_BYTES + len(records), -1, 2, crc), back, records))


def _is_plain(group: Records) -> bool:
    return group.key is None and group.headers is None


def _merged(groups: Sequence[Records]) -> Iterator[Records]:
    """The same records in fewer groups: plain neighbours become one, empty groups vanish."""
    for plain, run in groupby(filter(itemgetter(0), groups), _is_plain):
        neighbours = list(run)
        if plain and len(neighbours) > 1:
            yield Records(list(chain.from_iterable(map(itemgetter(0), neighbours))))
        else:
            yield from neighbours


def _plain(group: Records, first_delta: int) -> list[bytes]:
    """Records without key and headers, four pieces each. What is done per line is done inside builtins.

    The header count that ends a record is glued to the front of the next one, which saves a fifth piece.
    """
    values = group.values
    count = len(values)
    lengths = list(map(len, values))
    end = 4 * count
    pieces = [b""] * (end + 1)
    pieces[1:end:4] = _keyless_deltas(first_delta, first_delta + count)
    pieces[2:end:4] = _pick(_length_table(), lengths, varint)
    pieces[3:end:4] = values
    for start, stop, width in _equal_width_runs(first_delta, count):
        fronts = _pick(_front_table(width), lengths[start:stop], _front_maker(width))
        pieces[4 * start : 4 * stop : 4] = fronts
    pieces[0] = pieces[0][len(_NO_HEADERS) :]
    pieces[end] = _NO_HEADERS
    return pieces


def _with_key_and_headers(group: Records, first_delta: int) -> list[bytes]:
    """Any records, five pieces each."""
    values = group.values
    count = len(values)
    key = _nullable(group.key)
    blocks = group.headers if group.headers is not None else [_NO_HEADERS] * count
    if len(blocks) != count:
        raise ValueError(f"{count} records but {len(blocks)} header blocks")
    middles = list(map(add, _deltas(first_delta, first_delta + count), repeat(key)))
    lengths = list(map(len, values))
    length_fields = _pick(_length_table(), lengths, varint)
    sizes = [
        len(middle) + len(length_field) + length + len(block)
        for middle, length_field, length, block in zip(middles, length_fields, lengths, blocks, strict=True)
    ]
    pieces = [b""] * (5 * count)
    pieces[0::5] = _pick(_length_table(), sizes, varint)
    pieces[1::5] = middles
    pieces[2::5] = length_fields
    pieces[3::5] = values
    pieces[4::5] = blocks
    return pieces


def _nullable(field: bytes | None) -> bytes:
    return _NULL_KEY if field is None else varint(len(field)) + field


def _pick(table: list[bytes], numbers: list[int], compute: Callable[[int], bytes]) -> Sequence[bytes]:
    """`table[n]` for each number; those past the table are computed."""
    if len(numbers) > 1:  # itemgetter of one key would return a bare item
        with suppress(IndexError):  # cheaper than to look for the greatest number first
            picked: tuple[bytes, ...] = itemgetter(*numbers)(table)
            return picked
    return [table[number] if number < _TABLE_SIZE else compute(number) for number in numbers]


def _front_maker(delta_width: int) -> Callable[[int], bytes]:
    """Value length -> what stands before `_delta`: the end of the previous record, the size of this one."""

    def front(length: int) -> bytes:
        size = len(_UNTIMED) + delta_width + len(_NULL_KEY) + varint_width(length) + length + len(_NO_HEADERS)
        return _NO_HEADERS + varint(size)

    return front


@cache
def _front_table(delta_width: int) -> list[bytes]:
    return list(map(_front_maker(delta_width), range(_TABLE_SIZE)))


@cache
def _length_table() -> list[bytes]:
    return list(map(varint, range(_TABLE_SIZE)))


@cache
def _delta_table() -> list[bytes]:
    return list(map(_delta, range(4 * _TABLE_SIZE)))


@cache
def _keyless_delta_table() -> list[bytes]:
    return list(map(add, _delta_table(), repeat(_NULL_KEY)))


def _delta(offset_delta: int) -> bytes:
    return _UNTIMED + varint(offset_delta)


def _deltas(start: int, stop: int) -> list[bytes]:
    """`_delta` of start .. stop - 1. Past the table come batches of very short lines only."""
    table = _delta_table()
    known = table[start:stop]
    return known if stop <= len(table) else known + list(map(_delta, range(max(start, len(table)), stop)))


def _keyless_deltas(start: int, stop: int) -> list[bytes]:
    table = _keyless_delta_table()
    if stop <= len(table):
        return table[start:stop]
    return list(map(add, _deltas(start, stop), repeat(_NULL_KEY)))


def _equal_width_runs(first_delta: int, count: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, width): the offset deltas of the group's records start .. stop - 1 are `width` bytes."""
    start = 0
    while start < count:
        width = varint_width(first_delta + start)
        stop = min(count, (1 << (7 * width - 1)) - first_delta)
        yield start, stop, width
        start = stop
