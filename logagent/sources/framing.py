# SPDX-License-Identifier: Apache-2.0
"""Bytes of a file become records: lines or events of many lines, in any encoding, of any length. Pure."""

import enum
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from logagent.pipeline.chunk import Chunk
from logagent.sources import reader
from logagent.sources.encodings import HOLE, UTF8, Encoding
from logagent.sources.multiline import Events, Line, quick_events

Oversize = Literal["cut", "split", "dead_letter"]


class Finish(enum.Enum):
    """What ends where the bytes end."""

    NOTHING = "more may follow"
    EVENT = "the open event has waited long enough: its whole lines are a record"
    FILE = "nothing will be added: the rest is a line, too"


@dataclass(frozen=True, slots=True)
class Form:
    """How the lines of one file are written. `start` matches the first line of an event; None: each line is one."""

    encoding: Encoding = UTF8
    start: re.Pattern[bytes] | None = None

    @property
    def plain(self) -> bool:
        """Whether lines are passed on as they are."""
        return self.encoding is UTF8 and self.start is None


@functools.lru_cache(256)
def form_of(encoding: Encoding, start: re.Pattern[bytes] | None) -> Form:
    """The same object for all files that are written alike."""
    return Form(encoding, start)


@dataclass(frozen=True, slots=True)
class Limits:
    """What happens to lines that are longer than `max_line_bytes` of UTF-8."""

    max_line_bytes: int
    oversize: Oversize = "cut"


DEFAULT_LIMITS = Limits(1_000_000)


class _Span(NamedTuple):
    """A line in the bytes read: `[begin, end)`, and `next` behind its newline, or behind what `ends` an event, too."""

    begin: int
    end: int
    next: int
    hole_bytes: int = 0
    ends: bool = False


def frame(
    data: bytes, start_offset: int, form: Form, limits: Limits, finish: Finish = Finish.NOTHING
) -> Chunk:
    """The records that `data` holds, which stands at `start_offset` of the file, where a record begins.

    Where the reads of a file begin and end makes no difference to its records, nor does beginning again where any chunk
    ended. A hole (see `encodings.HOLE`) ends a line, and an event, as well as a newline does.
    """
    if finish is not Finish.FILE and form.encoding.unit_bytes == 1:
        chunk = _quick(data, start_offset, form, limits, finish)
        if chunk is not None:
            return chunk
    framing = _Framing(data, start_offset, form, limits, finish)
    return framing.chunk()


def _quick(data: bytes, start_offset: int, form: Form, limits: Limits, finish: Finish) -> Chunk | None:
    """With as little as can be per line; None when there is something to see to."""
    encoding = form.encoding
    if HOLE in data or (not start_offset and encoding.mark and data.startswith(encoding.mark)):
        return None
    if form.start is not None:
        if encoding is not UTF8:
            return None
        flush = finish is Finish.EVENT
        return quick_events(data, start_offset, form.start, limits.max_line_bytes, flush=flush)
    chunk = reader.parse(data, start_offset, limits.max_line_bytes)
    if encoding is not UTF8:
        values = [encoding.utf8(value) for value in chunk.values]
        if chunk.cuts or max(map(len, values), default=0) > limits.max_line_bytes:
            return None
        chunk = replace(chunk, values=values, starts=chunk.line_starts())
    if limits.oversize == "cut":
        return chunk
    rest_bytes = start_offset + len(data) - chunk.end_offset
    return None if chunk.cuts or rest_bytes > limits.max_line_bytes + 1 else chunk


@dataclass(slots=True)
class _Framing:
    """One call of `frame`, where something has to be seen to."""

    data: bytes
    start_offset: int
    form: Form
    limits: Limits
    finish: Finish
    rest: int = 0
    """Where that begins of which the end has not been read."""

    rest_is_long: bool = False
    _spans: list[_Span] = field(default_factory=list)

    def chunk(self) -> Chunk:
        self._spans = list(self._split())
        lines = list(self._lines())
        if self.form.start is not None:
            flush = self.finish is not Finish.NOTHING or self.rest_is_long
            lines = list(Events(self.form.start, self.limits.max_line_bytes).of(lines, flush=flush))
        return self._build(lines, self.start_offset + self.rest)

    def _split(self) -> Iterator[_Span]:
        data, encoding = self.data, self.form.encoding
        at = self._first()
        for begin, end, last in encoding.holes(data, self.start_offset):
            if last and self.finish is not Finish.FILE:
                break
            yield from self._newlines(at, begin)
            # At the end of a file it is a tail that nobody filled, not a hole between two lines.
            at, hole_bytes = (len(data), 0) if last else (end, end - begin)
            yield _Span(self.rest, begin, at, hole_bytes, ends=True)
            self.rest = at
        yield from self._newlines(at, len(data))
        if self.finish is Finish.FILE and self.rest < len(data):
            yield _Span(self.rest, len(data), len(data), ends=True)
            self.rest = len(data)

    def _first(self) -> int:
        """The first byte that belongs to a line: not in the middle of a character, and behind a byte order mark."""
        encoding = self.form.encoding
        first = min(len(self.data), -self.start_offset % encoding.unit_bytes)
        if not self.start_offset and encoding.mark and self.data.startswith(encoding.mark):
            first = len(encoding.mark)
        return first

    def _newlines(self, begin: int, limit: int) -> Iterator[_Span]:
        encoding = self.form.encoding
        self.rest = begin
        while True:
            at = encoding.find_newline(self.data, self.start_offset, self.rest)
            if at < 0 or at >= limit:
                return
            begin, self.rest = self.rest, at + encoding.unit_bytes
            yield _Span(begin, at, self.rest)

    # -- length ---------------------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[Line]:
        encoding, offset = self.form.encoding, self.start_offset
        for span in self._spans:
            source = self.data[span.begin : span.end].removesuffix(encoding.carriage_return)
            begin = span.begin
            while self.limits.oversize == "split" and self._is_long(source):
                value, taken_bytes = encoding.piece(source, self.limits.max_line_bytes)
                yield Line(offset + begin, offset + begin + taken_bytes, value, alone=True)
                begin, source = begin + taken_bytes, source[taken_bytes:]
            yield self._line(offset + begin, span, source)
        yield from self._pieces_of_rest()

    def _line(self, start: int, span: _Span, source: bytes) -> Line:
        end, encoding = self.start_offset + span.next, self.form.encoding
        if not self._is_long(source):
            value = encoding.utf8(source)
            return Line(start, end, value, hole_bytes=span.hole_bytes, ends_event=span.ends)
        if self.limits.oversize == "dead_letter":
            kept = source[: self.limits.max_line_bytes]
            return Line(start, end, kept, hole_bytes=span.hole_bytes, dead_bytes=len(source), alone=True)
        value, taken_bytes = encoding.piece(source, self.limits.max_line_bytes)
        cut_bytes = len(source) - taken_bytes
        return Line(start, end, value, cut_bytes=cut_bytes, hole_bytes=span.hole_bytes, alone=True)

    def _pieces_of_rest(self) -> Iterator[Line]:
        """Of a line whose end has not been read, but of which it is certain already that it is too long."""
        encoding, limit = self.form.encoding, self.limits.max_line_bytes
        end = encoding.zeros_at_end(self.data, self.start_offset)
        least_bytes = limit + 2 * encoding.unit_bytes  # a carriage return and a newline might end it
        self.rest_is_long = end - self.rest >= least_bytes
        while self.limits.oversize == "split" and end - self.rest >= least_bytes:
            value, taken_bytes = encoding.piece(self.data[self.rest : self.rest + limit + 1], limit)
            begin = self.start_offset + self.rest
            self.rest += taken_bytes
            yield Line(begin, begin + taken_bytes, value, alone=True)

    def _is_long(self, source: bytes) -> bool:
        limit, encoding = self.limits.max_line_bytes, self.form.encoding
        if len(source) > limit:
            return True
        return encoding is not UTF8 and len(source) * 3 > limit and len(encoding.utf8(source)) > limit

    # -- result ---------------------------------------------------------------------------------------------------

    def _build(self, lines: Iterable[Line], end_offset: int) -> Chunk:
        values: list[bytes] = []
        starts: list[int] = []
        cuts: list[tuple[int, int]] = []
        holes: list[tuple[int, int]] = []
        for line in lines:
            if line.open:
                end_offset = line.start
                break
            if line.dead_bytes:
                if values:
                    end_offset = line.start
                    break
                if line.hole_bytes:
                    holes.append((1, line.hole_bytes))
                return Chunk(
                    self.start_offset, line.end, [line.value], [line.start],
                    holes=tuple(holes), dead_bytes=line.dead_bytes,
                )  # fmt: skip
            if line.value and not line.value.isspace():
                if line.cut_bytes:
                    cuts.append((len(values), line.cut_bytes))
                values.append(line.value)
                starts.append(line.start)
            if line.hole_bytes:
                holes.append((len(values), line.hole_bytes))
        return Chunk(self.start_offset, end_offset, values, starts, tuple(cuts), tuple(holes))
