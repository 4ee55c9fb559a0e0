# SPDX-License-Identifier: Apache-2.0
"""Lines become events: a line that looks like the first one of an event, and those after it that do not. Pure."""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from logagent.pipeline.chunk import Chunk

SEARCHED_BYTES = 4096
"""Only so much of a line is compared with `multiline_start`, which bounds what an unlucky pattern can cost."""


class Line(NamedTuple):
    """A line, or an event, in `[start, end)` of the file, line end included; `value` is UTF-8.

    `alone`: it belongs to no event of others. `ends_event`: nothing is added behind it. `open`: its end is not known.
    """

    start: int
    end: int
    value: bytes
    cut_bytes: int = 0
    hole_bytes: int = 0
    dead_bytes: int = 0
    alone: bool = False
    ends_event: bool = False
    open: bool = False


class Events:
    """Puts lines together. An event that would become too long ends before the line that does not fit."""

    def __init__(self, start: re.Pattern[bytes], limit_bytes: int) -> None:
        self._match = start.match
        self._limit_bytes = limit_bytes

    def of(self, lines: Iterable[Line], *, flush: bool) -> Iterator[Line]:
        """The events; the last one is `open` unless `flush` says that nothing more belongs to it."""
        held: list[Line] = []
        size_bytes = 0
        for line in lines:
            begins = line.alone or self._match(line.value, 0, SEARCHED_BYTES) is not None
            if held and (begins or size_bytes + 1 + len(line.value) > self._limit_bytes):
                yield _event(held)
                held = []
            if line.alone:
                yield line
                continue
            if not line.value or line.value.isspace():
                if not held:
                    yield line  # blank lines before an event belong to none
                    continue
                if line.ends_event:
                    yield _event(held)._replace(end=line.end, hole_bytes=line.hole_bytes)
                    held = []
                    continue
            size_bytes = len(line.value) if not held else size_bytes + 1 + len(line.value)
            held.append(line)
            if line.ends_event:
                yield _event(held)
                held = []
        if held:
            yield _event(held)._replace(open=not flush)


def quick_events(
    data: bytes, start_offset: int, start: re.Pattern[bytes], limit_bytes: int, *, flush: bool
) -> Chunk | None:
    """The events of lines of UTF-8 with nothing odd among them: little is done per line; None when there is."""
    lines = data.split(b"\n")
    rest = lines.pop()
    if b"\r" in data or len(rest) > limit_bytes or not lines:
        return None
    match = start.match
    begins = [number for number, line in enumerate(lines) if match(line, 0, SEARCHED_BYTES)]
    if not begins or begins[0]:
        begins.insert(0, 0)
    offsets = list(accumulate(map(len, lines), lambda offset, length: offset + length + 1, initial=0))
    ends = [offsets[number] for number in begins[1:]]
    if flush:
        ends.append(offsets[-1])
    elif offsets[-1] - offsets[begins[-1]] > limit_bytes:
        return None
    starts = [offsets[number] for number in begins]
    values = [data[begin : end - 1] for begin, end in zip(starts, ends, strict=False)]
    odd = any(not lines[number] or lines[number].isspace() for number in begins)
    if odd or max(map(len, values), default=0) > limit_bytes:
        return None
    end = ends[-1] if ends else 0
    return Chunk(
        start_offset, start_offset + end, values, [start_offset + begin for begin in starts[: len(values)]]
    )


def _event(lines: list[Line]) -> Line:
    first, last = lines[0], lines[-1]
    value = first.value if len(lines) == 1 else b"\n".join([line.value for line in lines])
    return Line(first.start, last.end, value, hole_bytes=last.hole_bytes)
