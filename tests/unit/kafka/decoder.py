# SPDX-License-Identifier: Apache-2.0
"""Reads RecordBatch v2 by the book and slowly; shares nothing with the code under test."""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    offset_delta: int
    timestamp_delta: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True)
class Batch:
    attributes: int
    last_offset_delta: int
    first_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: tuple[Record, ...]


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class _Cursor:
    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def bytes_(self, size: int) -> bytes:
        assert self.position + size <= len(self.data), "a field goes past the end"
        self.position += size
        return self.data[self.position - size : self.position]

    def varint(self) -> int:
        shift = zigzag = 0
        while True:
            (byte,) = self.bytes_(1)
            zigzag |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return zigzag >> 1 ^ -(zigzag & 1)

    def field(self) -> bytes | None:
        size = self.varint()
        assert size >= -1
        return None if size == -1 else self.bytes_(size)

    def record(self) -> Record:
        size = self.varint()
        end = self.position + size
        assert self.bytes_(1) == b"\0", "record attributes are unused"
        timestamp_delta, offset_delta, key, value = self.varint(), self.varint(), self.field(), self.field()
        headers = tuple((self.field() or b"", self.field()) for _ in range(self.varint()))
        assert self.position == end, "the record's size is not its size"
        return Record(offset_delta, timestamp_delta, key, value, headers)


def decode(batch: bytes, check_crc: bool = True) -> Batch:
    base_offset, size, leader_epoch, magic, crc = struct.unpack_from(">qiibI", batch)
    assert (base_offset, leader_epoch, magic) == (0, -1, 2)
    assert size == len(batch) - 12
    assert not check_crc or crc == crc32c(batch[21:])
    *head, count = struct.unpack_from(">hiqqqhii", batch, 21)
    cursor = _Cursor(batch, 61)
    records = tuple(cursor.record() for _ in range(count))
    assert cursor.position == len(batch), "bytes after the last record"
    return Batch(*head, records)
