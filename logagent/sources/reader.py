# SPDX-License-Identifier: Apache-2.0
"""Bytes of a file become lines. Pure: no file is touched here."""

from itertools import accumulate

from logagent.pipeline.chunk import Chunk
from logagent.sources.encodings import cut

READ_BYTES = 256 * 1024
"""One read. Larger ones fall out of the processor's caches."""


def parse(data: bytes, start_offset: int, max_line_bytes: int) -> Chunk:
    """Whole lines of `data`, which begins at `start_offset` of the file; what follows the last newline is left alone.

    Lines end with one newline; one carriage return before it goes too. Lines of only white space are covered but not
    listed. Longer lines than `max_line_bytes` are cut and counted. All other bytes are passed through as they are.
    """
    if not data or data.isspace():
        # A quarter of a megabyte of blank lines would be a quarter of a million objects.
        return Chunk(start_offset, start_offset + data.rfind(b"\n") + 1, [])
    values = data.split(b"\n")
    rest = values.pop()
    end_offset = start_offset + len(data) - len(rest)
    plain = b"\r" not in data and all(values) and not any(map(bytes.isspace, values))
    if plain and (len(data) <= max_line_bytes or max(map(len, values), default=0) <= max_line_bytes):
        return Chunk(start_offset, end_offset, values)
    return _tidy(values, start_offset, end_offset, max_line_bytes)


def whole_lines(data: bytes, begin: int) -> list[bytes] | None:
    """The lines from `begin` on, if they are whole and there is nothing to see to: no blank ones, no carriage returns,
    no zeros. Else None.
    """
    if not data.endswith(b"\n", begin) or b"\r" in data or b"\0" in data:
        return None
    values = data[begin:-1].split(b"\n")
    return values if all(values) and not any(map(bytes.isspace, values)) else None


def _tidy(values: list[bytes], start_offset: int, end_offset: int, max_line_bytes: int) -> Chunk:
    """The slow way, for chunks with carriage returns, blank lines or long lines."""
    kept: list[bytes] = []
    starts: list[int] = []
    cuts: list[tuple[int, int]] = []
    for value, start in zip(
        values, accumulate((len(v) + 1 for v in values), initial=start_offset), strict=False
    ):
        line = value.removesuffix(b"\r")
        short = cut(line, max_line_bytes)
        if not short or short.isspace():
            continue  # of a long line, too, no more than this is looked at
        if len(short) < len(line):
            cuts.append((len(kept), len(line) - len(short)))
        kept.append(short)
        starts.append(start)
    return Chunk(start_offset, end_offset, kept, starts, tuple(cuts))
