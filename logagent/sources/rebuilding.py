# SPDX-License-Identifier: Apache-2.0
"""Records that were sent are made once more: of the same bytes, by the settings that were stored with them. Pure."""

import re
from typing import cast

from crc32c import crc32c

from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render_row import RenderRow
from logagent.sources import encodings
from logagent.sources.framing import Finish, Form, Limits, Oversize, frame
from logagent.sources.line_reader import Read


def hash_of(chunk: Chunk, data: bytes, offset: int, row: RenderRow, read: Read) -> tuple[int, int]:
    """The CRC-32C of the chunk's first bytes, and of how many. `data`, read at `offset`, mostly holds them all."""
    begin, end = chunk.start_offset - offset, chunk.end_offset - offset
    if begin >= 0 and end <= len(data):
        return crc32c(memoryview(data)[begin:end]), end - begin
    if not chunk.values:
        return 0, 0
    data = read(min(end - begin, row.most_hashed_bytes), chunk.start_offset)
    return crc32c(data), len(data)


def rebuild(
    data: bytes, start_offset: int, end_offset: int, row: RenderRow, mark: bytes, behind: bytes
) -> Chunk:
    """The records of `[start_offset, end_offset)`, of which `data` are the first bytes: all that values depend on.

    `mark` is what the file begins with, `behind` what follows `end_offset`; two bytes of each are looked at. Whatever
    ended the last record once (time, a rotation, the first line of the next event) ends it here.
    """
    start = None if row.multiline_start is None else re.compile(row.multiline_start.encode())
    form = Form(encodings.of(row.encoding, mark), start)
    limits = Limits(row.max_line_bytes, cast(Oversize, row.oversize))
    if row.oversize != "split" or not data.endswith(form.encoding.carriage_return):
        return frame(data, start_offset, form, limits, Finish.FILE)
    # A piece of a long line that happens to end like that: more of the line shows that it does not end there.
    chunk = frame(data + behind[: form.encoding.unit_bytes], start_offset, form, limits, Finish.FILE)
    lines = sum(1 for start_ in chunk.line_starts() if start_ < end_offset)
    return Chunk(start_offset, end_offset, chunk.values[:lines], chunk.line_starts()[:lines])
