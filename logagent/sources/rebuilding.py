# SPDX-License-Identifier: Apache-2.0
"""Records that were sent are made once more: of the same bytes, by the settings that were stored with them."""

import os
import re
from typing import cast

from crc32c import crc32c

from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render_row import RenderRow
from logagent.sources import encodings
from logagent.sources.framing import Finish, Form, Limits, Oversize, frame
from logagent.sources.line_reader import Read
from logagent.state.intents import SegmentNote

MORE_BYTES = 16
"""With so many more than a whole line has, a line is long for certain."""


def hash_of(chunk: Chunk, data: bytes, offset: int, row: RenderRow, read: Read) -> tuple[int, int]:
    """The CRC-32C of the chunk's first bytes, and of how many. `data`, read at `offset`, mostly holds them all."""
    begin, end = chunk.start_offset - offset, chunk.end_offset - offset
    if begin >= 0 and end <= len(data):
        return crc32c(memoryview(data)[begin:end]), end - begin
    if not chunk.values:
        return 0, 0
    data = read(min(end - begin, row.most_hashed_bytes), chunk.start_offset)
    return crc32c(data), len(data)


def source_of(note: SegmentNote, descriptor: int) -> bytes | None:
    """The bytes that the note's hash is of, read from a file; None if other ones stand there. Raises OSError."""
    data = os.pread(descriptor, note.hashed_bytes, note.start_offset)
    same = len(data) == note.hashed_bytes and crc32c(data) == note.source_crc
    return data if same and note.end_offset <= os.fstat(descriptor).st_size else None


def records_of(note: SegmentNote, data: bytes, row: RenderRow, descriptor: int) -> Chunk | None:
    """The records of a note, of which `data` is the source; None if this release makes other ones. Raises OSError.

    Whatever ended the last one once (time, a rotation, the first line of the next event) ends it here.
    """
    if not row.repeatable:
        return None
    start = None if row.multiline_start is None else re.compile(row.multiline_start.encode())
    form = Form(encodings.of(row.encoding, os.pread(descriptor, encodings.MARK_BYTES, 0)), start)
    limits = Limits(row.max_line_bytes, cast(Oversize, row.oversize))
    chunk = frame(data, note.start_offset, form, limits, Finish.FILE)
    lines, carriage_return = len(chunk.values), form.encoding.carriage_return
    if limits.oversize == "split" and (lines != note.records or data.endswith(carriage_return)):
        behind = os.pread(descriptor, limits.max_line_bytes + MORE_BYTES, note.end_offset)
        chunk = _pieces(note, data, behind, form, limits) or chunk
    chunk = clipped(chunk, note.start_offset, note.end_offset)
    return chunk if len(chunk.values) == note.records and not chunk.dead_bytes else None


def _pieces(note: SegmentNote, data: bytes, behind: bytes, form: Form, limits: Limits) -> Chunk | None:
    """The records, if they end in the middle of a long line: only with more of it one sees where its pieces end."""
    chunk = frame(data + behind, note.start_offset, form, limits, Finish.FILE)
    chunk = clipped(chunk, note.start_offset, note.end_offset)
    if not chunk.values:
        return None
    last = data[chunk.line_starts()[-1] - note.start_offset :]
    return chunk if chunk.values[-1] == form.encoding.utf8(last) else None


def clipped(chunk: Chunk, start_offset: int, end_offset: int) -> Chunk:
    """The records of a chunk that begin in `[start_offset, end_offset)`."""
    starts = chunk.line_starts()
    first = sum(1 for start in starts if start < start_offset)
    last = sum(1 for start in starts if start < end_offset)
    return Chunk(
        start_offset,
        end_offset,
        chunk.values[first:last],
        starts[first:last],
        dead_bytes=chunk.dead_bytes,
    )
