# SPDX-License-Identifier: Apache-2.0
"""How far the lines of one file were looked at: long ones, open events, zeros that are a hole or yet unwritten."""

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from logagent.config.services import Entry
from logagent.pipeline.chunk import Chunk
from logagent.sources import encodings, reader
from logagent.sources.encodings import HOLE_BYTES
from logagent.sources.framing import Finish, Form, Limits, form_of, frame

Read = Callable[[int, int], bytes]
"""(count, offset) to bytes; raises when the file is not the one that was read so far."""

ZERO_BLOCKS = 16
"""Blocks of zeros that are skipped in one turn."""

ODD_PART = 8
"""Of a read, for lines that are not just split."""

LONGEST_MARK_BYTES = 4
"""A byte order mark is looked at as a whole. One read (`reader.READ_BYTES`) must bring more than this."""

_ZEROS = bytes(reader.READ_BYTES)
_SLACK_BYTES = 4
"""A carriage return and a newline, which do not count, in two bytes each."""


@dataclass(slots=True)
class LineReader:
    """One per file, its progress included. `start` None: every line is a record of its own."""

    encoding: str = "utf-8"
    start: re.Pattern[bytes] | None = None
    timeout_s: float = 5.0
    scanned_offset: int = 0
    zeros_offset: int | None = None
    """Where the zeros begin with which the bytes end that were looked at: the writer may fill them yet."""

    open_since_s: float | None = None
    """Since when the event that was begun has not grown; None when there is none, or nothing but half a line."""

    _zeros_end: int = 0
    _woken: bool = False
    _long: bool = False
    _form: Form | None = None

    def look_offset(self, read_offset: int, scanned_offset: int) -> int:
        """Where to read next: behind a long line without end only what is new, otherwise all of it again."""
        if not self._long or scanned_offset - read_offset <= max(LONGEST_MARK_BYTES, reader.READ_BYTES // 16):
            return read_offset
        offset = scanned_offset if self.zeros_offset is None else self.zeros_offset
        return offset - offset % (1 if self._form is None else self._form.encoding.unit_bytes)

    def most_bytes(self, scanned_bytes: int) -> int:
        """How much to read at once where so much of it was looked at already, in vain.

        Where more is done per line than to split them, it is less: a read of short lines would hold up everybody. An
        open event may be longer than one read; twice as much each time, so that it is not looked at too often.
        """
        if self.start is None and self.encoding == "utf-8":
            return reader.READ_BYTES
        return scanned_bytes + min(reader.READ_BYTES, max(reader.READ_BYTES // ODD_PART, scanned_bytes))

    def look_again(self, scanned_offset: int) -> int:
        """The file was written to: zeros at its end are looked at again. Returns up to where it is looked at still."""
        self._woken = True
        return scanned_offset if self.zeros_offset is None else self.zeros_offset

    def advanced(self) -> None:
        """A chunk was handed on, or will be read again."""
        self.zeros_offset = self.open_since_s = None
        self._long = False

    def due(self, now_s: float) -> bool:
        """Whether the open event has waited long enough for more lines."""
        return self.open_since_s is not None and now_s - self.open_since_s >= self.timeout_s

    def take(
        self,
        data: bytes,
        offset: int,
        read_offset: int,
        limits: Limits,
        *,
        finish: Finish,
        at_end: bool,
        descriptor: int,
        read: Read,
    ) -> Chunk | None:
        """The records in `data`, read at `offset`; None when none is complete, and then `scanned_offset` says how far.

        `at_end`: nothing stood behind `data`.
        """
        form = self.form(data, offset, read)
        if offset > read_offset:
            chunk = self._go_on(form, data, offset, read_offset, limits, read)
        else:
            chunk = frame(data, offset, form, limits, finish)
            self._long = form.start is None or form.encoding.find_newline(data, offset) < 0
        if chunk is not None and chunk.end_offset > read_offset:
            return chunk
        if chunk is None or offset == read_offset:
            return self._look_at_end(form, data, offset, read_offset, limits, at_end, descriptor, read)
        return None  # `_go_on` found the first line of an event, and how far to look from its beginning

    def last(self, read_offset: int, size_bytes: int, limits: Limits, read: Read) -> Chunk:
        """Nothing will be added: what is left is a record, too. Zeros at the end are not."""
        end = size_bytes
        if self.zeros_offset is not None and size_bytes - self.zeros_offset >= HOLE_BYTES:
            end = self.zeros_offset
        form = self.form(b"", 1, read)
        return self._closed(form, read_offset, end, size_bytes, limits, read)

    def form(self, data: bytes, offset: int, read: Read) -> Form:
        """How the file is written; a byte order mark is looked at wherever reading begins."""
        if self._form is None:
            first = b""
            if self.encoding == encodings.BY_MARK:
                first = read(encodings.MARK_BYTES, 0) if offset else data[: encodings.MARK_BYTES]
                if len(first) < encodings.MARK_BYTES:
                    return form_of(encodings.of(self.encoding), self.start)
            self._form = form_of(encodings.of(self.encoding, first), self.start)
        return self._form

    # -- a line of which only the new bytes are looked at -------------------------------------------------------------

    def _go_on(
        self, form: Form, data: bytes, offset: int, begin: int, limits: Limits, read: Read
    ) -> Chunk | None:
        encoding = form.encoding
        newline = encoding.find_newline(data, offset)
        hole = next(((at, end) for at, end, last in encoding.holes(data, offset) if not last), None)
        if hole is not None and (newline < 0 or hole[0] < newline):
            return self._before_hole(form, begin, offset + hole[0], offset + hole[1], limits, read)
        fits_bytes = limits.max_line_bytes + 2 * encoding.unit_bytes
        seen = encoding.zeros_at_end(data, offset) if newline < 0 else newline + encoding.unit_bytes
        end = offset + seen
        if limits.oversize == "split" and end - begin > fits_bytes:
            # So much more that zeros at the end of what fits are not taken for what may be filled yet.
            return frame(read(min(end - begin, fits_bytes + HOLE_BYTES), begin), begin, form, limits)
        if newline < 0:
            return None
        if end - begin > fits_bytes:
            return self._oversize(form, begin, offset + newline, end, limits, read)
        self._long, self.zeros_offset = False, None
        self.scanned_offset = end  # if it begins an event, that is looked at from its beginning from now on
        return frame(read(end - begin, begin), begin, form, limits)

    def _oversize(self, form: Form, begin: int, end: int, next_: int, limits: Limits, read: Read) -> Chunk:
        """The one line `[begin, end)`, of which only the beginning is kept."""
        encoding, limit = form.encoding, limits.max_line_bytes
        line_bytes = end - begin
        if read(encoding.unit_bytes, end - encoding.unit_bytes) == encoding.carriage_return:
            line_bytes -= encoding.unit_bytes
        head = read(min(line_bytes, limit + _SLACK_BYTES), begin)
        if limits.oversize == "dead_letter":
            return Chunk(begin, next_, [head[:limit]], [begin], dead_bytes=line_bytes)
        value, taken_bytes = encoding.piece(head, limit)
        if value.isspace():
            return Chunk(begin, next_, [])
        return Chunk(begin, next_, [value], [begin], ((0, line_bytes - taken_bytes),))

    def _closed(self, form: Form, begin: int, end: int, next_: int, limits: Limits, read: Read) -> Chunk:
        """What is left before `end`, where something other than a newline ends it; `next_` is behind that."""
        # More than an open event, and the beginning of a line behind it, can have in any encoding.
        bound_bytes = 5 * limits.max_line_bytes + 2 * HOLE_BYTES
        if end - begin > bound_bytes:
            if limits.oversize != "split":
                return self._oversize(form, begin, end, next_, limits, read)
            end = next_ = begin + bound_bytes
            return frame(read(bound_bytes, begin), begin, form, limits)
        data = read(end - begin, begin) if end > begin else b""
        chunk = frame(data, begin, form, limits, Finish.FILE)
        return replace(chunk, end_offset=next_) if chunk.end_offset >= end else chunk

    # -- zeros --------------------------------------------------------------------------------------------------------

    def _look_at_end(
        self,
        form: Form,
        data: bytes,
        offset: int,
        read_offset: int,
        limits: Limits,
        at_end: bool,
        descriptor: int,
        read: Read,
    ) -> Chunk | None:
        """No record is complete: note how far was looked, and see what zeros at the end are."""
        end = offset + len(data)
        zeros = form.encoding.zeros_at_end(data, offset) if data.endswith(b"\0") else len(data)
        if zeros == len(data):
            self.zeros_offset, self.scanned_offset = None, end
            return None
        begin = offset + zeros
        if self._woken and begin == self.zeros_offset:
            self._zeros_end = 0  # something was written, and not where the zeros begin: look at all of them
        self._woken = False
        self.zeros_offset, self.scanned_offset = begin, end
        if at_end or len(data) - zeros < HOLE_BYTES:
            return None
        at, found = end_of_zeros(descriptor, max(end, self._zeros_end))
        self._zeros_end = self.scanned_offset = at
        if not found:
            return None
        hole_end = at - at % form.encoding.unit_bytes
        self.zeros_offset = None
        return self._before_hole(form, read_offset, begin, hole_end, limits, read)

    def _before_hole(self, form: Form, begin: int, end: int, next_: int, limits: Limits, read: Read) -> Chunk:
        """What stands before the hole `[end, next_)`; nothing is glued together over it."""
        chunk = self._closed(form, begin, end, next_, limits, read)
        if chunk.end_offset < next_:
            return chunk
        return replace(chunk, holes=(*chunk.holes, (len(chunk.values), next_ - end)))


def of(entry: Entry) -> LineReader:
    """A reader as the entry wants it, which has seen nothing yet."""
    start = None if entry.multiline_start is None else re.compile(entry.multiline_start.encode())
    return LineReader(entry.encoding, start, entry.multiline_timeout_s)


def end_of_zeros(descriptor: int, offset: int) -> tuple[int, bool]:
    """Where the zeros end that stand at `offset`, and whether something else does there.

    If not, they go on to the end of the file, or so far that this turn has done enough. What the file system knows to
    be empty is not read.
    """
    for _ in range(ZERO_BLOCKS):
        offset = _next_data(descriptor, offset)
        block = os.pread(descriptor, len(_ZEROS), offset)
        if block != _ZEROS:
            rest = block.lstrip(b"\0")
            return offset + len(block) - len(rest), bool(rest)
        offset += len(block)
    return offset, False


def _next_data(descriptor: int, offset: int) -> int:
    try:
        return max(offset, os.lseek(descriptor, offset, os.SEEK_DATA))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return max(offset, os.fstat(descriptor).st_size)
        return offset  # a file system that does not know
