# SPDX-License-Identifier: Apache-2.0
"""Segments and batches: what one Kafka record batch will hold, and whose bytes these are. Pure."""

from collections.abc import Sequence
from typing import Protocol

from crc32c import crc32c

from logagent.pipeline.acks import AckTracker
from logagent.pipeline.render_row import RenderRow

RECORD_OVERHEAD_BYTES = 14
"""Upper bound of what a record adds to its value: lengths, flags, time and offset delta, null key, no headers."""

BATCH_OVERHEAD_BYTES = 61

OBJECT_OVERHEAD_BYTES = 64
"""What CPython adds to a line held in memory: the bytes object's head and its place in a list."""

SEGMENT_OVERHEAD_BYTES = 512
"""And to a segment: itself, its lists, and its places in tracker, accumulator and batch."""


NOT_HASHED = -1
"""Nobody has hashed the source of a segment yet."""


class Rendering(Protocol):
    """The settings by which values were made (`pipeline.render.Render`)."""

    @property
    def row(self) -> RenderRow:
        """All that shapes number or bytes of records."""

    @property
    def id(self) -> bytes:
        """The id of `row`."""


class Source(Protocol):
    """The file that a segment came from, as far as the way to Kafka needs to know it.

    `identity` is under what it is stored, `log_path` the entry that found it.
    """

    service: str
    label: bytes
    identity: str
    log_path: str
    acks: AckTracker

    @property
    def readable_again(self) -> bool:
        """Whether what was read could be read once more; if not, it must not be dropped unsent."""

    def acked(self, lines: int) -> None:
        """Segments with so many lines were acknowledged and `acks` has been moved."""

    def rewind(self, offset: int) -> None:
        """What was read from `offset` on has been dropped unsent: read it again when there is room."""

    def source_bytes(self, start_offset: int, end_offset: int) -> bytes | None:
        """Bytes that were handed on before; None when they are not there any more."""


class Segment:
    """The part of a chunk that lies in one batch; rendered values, ready for the encoder.

    `source_crc` is the CRC-32C of the first `hashed_bytes` bytes from `start_offset` on: all of them, unless they end
    in the rest of a line that was cut, or in a hole, which no value depends on. 0 bytes: nothing is proved.
    """

    __slots__ = (
        "done",
        "end_offset",
        "hashed_bytes",
        "headers",
        "key",
        "memory_bytes",
        "render",
        "size_bytes",
        "source",
        "source_crc",
        "start_offset",
        "starts",
        "values",
    )

    def __init__(
        self,
        source: Source,
        start_offset: int,
        end_offset: int,
        values: Sequence[bytes],
        *,
        starts: Sequence[int] | None = None,
        key: bytes | None = None,
        headers: Sequence[bytes] | None = None,
        render: Rendering | None = None,
        source_crc: int = 0,
        hashed_bytes: int = 0,
    ) -> None:
        self.source = source
        self.start_offset = start_offset
        self.end_offset = end_offset
        self.values = values
        self.starts = starts
        self.key = key
        self.headers = headers
        self.render = render
        self.source_crc = source_crc
        self.hashed_bytes = hashed_bytes
        self.done = not values
        self.size_bytes = size_bytes = _encoded_bytes(values, key, headers)
        self.memory_bytes = size_bytes + OBJECT_OVERHEAD_BYTES * len(values) + SEGMENT_OVERHEAD_BYTES
        """About what the segment holds in memory; parts of a split one add up to it."""

    def line_start(self, index: int) -> int:
        """Where line `index` begins in the file."""
        if self.starts is not None:
            return self.starts[index]
        return self.start_offset + sum(map(len, self.values[:index])) + index

    def split(self, lines: int) -> tuple["Segment", "Segment"]:
        """Cut before line `lines` (0 < lines < number of lines); tells the source's tracker."""
        middle = self.line_start(lines)
        parts = (
            self._part(self.start_offset, middle, slice(None, lines)),
            self._part(middle, self.end_offset, slice(lines, None)),
        )
        parts[1].memory_bytes = self.memory_bytes - parts[0].memory_bytes
        self.source.acks.replace(self, parts)
        return parts

    def _part(self, start_offset: int, end_offset: int, lines: slice) -> "Segment":
        values, starts, headers = self.values[lines], self.starts, self.headers
        part = Segment(
            self.source,
            start_offset,
            end_offset,
            values,
            starts=None if starts is None else starts[lines],
            key=self.key,
            headers=None if headers is None else headers[lines],
            render=self.render,
            hashed_bytes=NOT_HASHED,
        )
        if starts is None:
            part.source_crc = crc32c(b"\n".join([*values, b""]))
            part.hashed_bytes = end_offset - start_offset
        return part

    def hash_source(self) -> None:
        """Read the file again for the hash of what it holds, if that is not known yet."""
        if self.hashed_bytes != NOT_HASHED:
            return
        self.hashed_bytes = 0
        if self.render is None:
            return
        end_offset = min(self.end_offset, self.start_offset + self.render.row.most_hashed_bytes)
        data = self.source.source_bytes(self.start_offset, end_offset)
        if data is not None:
            self.source_crc, self.hashed_bytes = crc32c(data), len(data)

    def lines_within(self, limit_bytes: int) -> int:
        """How many lines from the front fit into `limit_bytes` on the wire."""
        size_bytes = 0
        extra = RECORD_OVERHEAD_BYTES + (len(self.key) + 5 if self.key is not None else 0)
        for index, value in enumerate(self.values):
            size_bytes += len(value) + extra + (len(self.headers[index]) if self.headers is not None else 0)
            if size_bytes > limit_bytes:
                return index
        return len(self.values)


def _encoded_bytes(values: Sequence[bytes], key: bytes | None, headers: Sequence[bytes] | None) -> int:
    size_bytes = sum(map(len, values)) + RECORD_OVERHEAD_BYTES * len(values)
    if key is not None:
        size_bytes += (len(key) + 5) * len(values)
    if headers is not None:
        size_bytes += sum(map(len, headers))
    return size_bytes


class Batch:
    """The segments of one record batch for one topic-partition, in order. `timestamp_ms` is the time of reading."""

    __slots__ = ("records", "segments", "timestamp_ms")

    def __init__(self, segments: Sequence[Segment], timestamp_ms: int) -> None:
        self.segments = segments
        self.timestamp_ms = timestamp_ms
        self.records = sum(len(segment.values) for segment in segments)

    @property
    def size_bytes(self) -> int:
        """Upper bound of the encoded size."""
        return BATCH_OVERHEAD_BYTES + sum(segment.size_bytes for segment in self.segments)

    @property
    def memory_bytes(self) -> int:
        """About what its lines hold in memory."""
        return sum(segment.memory_bytes for segment in self.segments)

    def cut(self, records: int) -> tuple["Batch", "Batch"]:
        """The first `records` records and the rest (0 < records < the number of records)."""
        left: list[Segment] = []
        right: list[Segment] = []
        room = records
        for segment in self.segments:
            if room >= len(segment.values):
                left.append(segment)
                room -= len(segment.values)
            elif room > 0:
                head, tail = segment.split(room)
                left.append(head)
                right.append(tail)
                room = 0
            else:
                right.append(segment)
        return Batch(left, self.timestamp_ms), Batch(right, self.timestamp_ms)
