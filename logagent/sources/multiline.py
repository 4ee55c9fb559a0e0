# SPDX-License-Identifier: Apache-2.0
"""Lines become events: a line that looks like the first one of an event, and those after it that do not. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

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


def _event(lines: list[Line]) -> Line:
    first, last = lines[0], lines[-1]
    value = first.value if len(lines) == 1 else b"\n".join([line.value for line in lines])
    return Line(first.start, last.end, value, hole_bytes=last.hole_bytes)
