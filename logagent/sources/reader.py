# SPDX-License-Identifier: Apache-2.0
"""Bytes of a file become lines. Pure: no file is touched here."""

from itertools import accumulate

from logagent.pipeline.chunk import Chunk

READ_BYTES = 256 * 1024
"""One read. Larger ones fall out of the processor's caches."""

_UTF8_CONTINUATION = 0x80
_UTF8_LEAD_MASK = 0xC0
_UTF8_LONGEST = 4


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


def parse_closed(data: bytes, start_offset: int, max_line_bytes: int) -> Chunk:
    """Like `parse` for a file to which nothing will be added: what follows the last newline is a line too."""
    if not data or data.endswith(b"\n"):
        return parse(data, start_offset, max_line_bytes)
    whole = parse(data + b"\n", start_offset, max_line_bytes)
    # Explicit starts, because the last line has no newline and nothing may be derived from its length.
    return Chunk(
        start_offset,
        start_offset + len(data),
        whole.values,
        whole.line_starts(),
        whole.cuts,
    )


def oversize(head: bytes, start_offset: int, end_offset: int, max_line_bytes: int) -> Chunk:
    """The chunk of one line of `[start_offset, end_offset)`, newline included, of which only the beginning was kept."""
    value = cut(head, max_line_bytes)
    cut_bytes = end_offset - start_offset - 1 - len(value)
    return Chunk(start_offset, end_offset, [value], [start_offset], ((0, cut_bytes),))


def cut(line: bytes, max_line_bytes: int) -> bytes:
    """The first `max_line_bytes`, or up to three fewer so that no UTF-8 character is cut in two."""
    if len(line) <= max_line_bytes:
        return line
    for shorter in range(min(_UTF8_LONGEST, max_line_bytes)):
        if line[max_line_bytes - shorter] & _UTF8_LEAD_MASK != _UTF8_CONTINUATION:
            return line[: max_line_bytes - shorter]
    return line[:max_line_bytes]


def _tidy(values: list[bytes], start_offset: int, end_offset: int, max_line_bytes: int) -> Chunk:
    """The slow way, for chunks with carriage returns, blank lines or long lines."""
    kept: list[bytes] = []
    starts: list[int] = []
    cuts: list[tuple[int, int]] = []
    for value, start in zip(
        values, accumulate((len(v) + 1 for v in values), initial=start_offset), strict=False
    ):
        line = value.removesuffix(b"\r")
        if not line or line.isspace():
            continue
        if len(line) > max_line_bytes:
            short = cut(line, max_line_bytes)
            cuts.append((len(kept), len(line) - len(short)))
            line = short
        kept.append(line)
        starts.append(start)
    return Chunk(start_offset, end_offset, kept, starts, tuple(cuts))
