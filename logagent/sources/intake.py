# SPDX-License-Identifier: Apache-2.0
"""An opened file becomes one that is read: where reading begins, under which label, with which route and form."""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from logagent.clock import MonotonicClock, wall
from logagent.config.services import Entry
from logagent.ops.events import Events
from logagent.pipeline.outlet import Route
from logagent.pipeline.render import Render
from logagent.pipeline.render_row import RenderRow
from logagent.sources import line_reader, resume
from logagent.sources.framing import Limits
from logagent.sources.ignored import Ignored
from logagent.sources.opening import Opened
from logagent.sources.recall import Recall
from logagent.sources.rotation import Known
from logagent.sources.tailed_file import ServiceCounts, TailedFile
from logagent.sources.watches import EntryFiles
from logagent.state.positions import Position, PositionBook


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where reading begins, what stands before that, and under which label. `old`: what was read under the identity
    before and is in the file no more.
    """

    offset: int
    tail: bytes
    label: bytes
    old: Position | None = None


class Intake:
    """Everything that a new `TailedFile` needs."""

    def __init__(
        self,
        host_id: str,
        book: PositionBook,
        *,
        start_at: Callable[[], str],
        limits: Callable[[], Limits],
        counts_of: Callable[[str], ServiceCounts],
        recall: Recall,
        on_acked: Callable[[TailedFile], None],
        on_rewind: Callable[[TailedFile], None],
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._host_id = host_id
        self._book = book
        self._stored = resume.Stored(book)
        self._start_at = start_at
        self._limits = limits
        self._counts_of = counts_of
        self._recall = recall
        self._on_acked = on_acked
        self._on_rewind = on_rewind
        self._on_lost = self._lost  # one for all files
        self._events = events
        self._clock = clock

    def begin(self, state: EntryFiles, path: bytes, opened: Opened) -> Beginning:
        """Where to begin in a file that an entry names. Raises OSError."""
        service = state.entry.service
        position = self._stored.find(service, opened)
        if position is None:
            ignored = state.ignored.pop(path, None)
            if ignored is not None and ignored.is_start_of(opened):
                end = resume.last_line_end(opened, state.entry.encoding, ignored.size_bytes)
                return self._at(end, opened, path)
            start_at = state.entry.start_at or self._start_at()
            if start_at == "end" and not state.scanned and not state.known_before:
                end = resume.last_line_end(opened, state.entry.encoding, opened.size_bytes)
                return self._at(end, opened, path)
            return Beginning(0, b"", path)
        known = resume.examine(position, opened)
        if known is Known.SAME:
            return self.go_on(position, opened)
        if known is Known.SHRUNK:
            beginning = self.after_crash(state.entry, position, opened)
            if beginning.offset:
                return beginning
        self._book.forget_marks(service, position.identity)
        if known is Known.REPLACED:
            self._events.file_replaced(service=service, path=path)
            return Beginning(0, b"", path, position)
        self._events.file_truncated(
            service=service, path=path, position=position.offset, size=opened.size_bytes
        )
        return Beginning(0, b"", position.path, position)

    def after_crash(self, entry: Entry, position: Position, opened: Opened) -> Beginning:
        """The machine went down and the file lost what had been written last. Lets other greenlets run."""
        marks = self._book.marks_of(position.service, position.identity)
        offset = resume.after_crash(position, opened, marks, entry.encoding)
        self._book.forget_marks(position.service, position.identity)
        for mark in marks:
            if mark.offset <= offset:
                self._book.mark(mark)
        if offset:
            self._events.file_shrunk(
                service=position.service,
                path=position.path,
                position=position.offset,
                size=opened.size_bytes,
                offset=offset,
            )
        return self._at(offset, opened, position.path)

    def ignores(self, state: EntryFiles, path: bytes, opened: Opened) -> bool:
        """Whether the file is too old to be read, and was never read; it is remembered. Raises OSError."""
        older_s = state.entry.ignore_older_s
        if older_s is None or path in state.ignored:
            return False
        status = os.fstat(opened.descriptor)
        if wall() - status.st_mtime < older_s or self._stored.find(state.entry.service, opened) is not None:
            return False
        state.ignored[path] = Ignored.of(status)
        return True

    def go_on(self, position: Position, opened: Opened) -> Beginning:
        """The file is the one of the position, perhaps under another identity. Raises OSError."""
        if position.identity != opened.identity:
            self._book.move(position.id, (position.service, opened.identity))
            self._recall.moved(position.id, (position.service, opened.identity))
        return self._at(position.offset_in(opened.size_bytes), opened, position.path)

    def is_position_of(self, position: Position, opened: Opened) -> bool:
        """Whether a position stored under another identity is that of the file."""
        return self._stored.find(position.service, opened) == position

    def make(self, entry: Entry, path: bytes, opened: Opened, beginning: Beginning) -> TailedFile:
        """The file as it will be read. Raises OSError."""
        label = beginning.label
        file = TailedFile(
            service=entry.service,
            log_path=entry.log_path,
            label=label,
            path=path,
            real_path=opened.real_path,
            key=opened.key,
            identity=opened.identity,
            descriptor=opened.descriptor,
            read_offset=beginning.offset,
            route=self.route(entry, label),
            render=self.render(entry, label),
            lines=line_reader.of(entry),
            counts=self._counts_of(entry.service),
            on_acked=self._on_acked,
            on_rewind=self._on_rewind,
            on_lost=self._on_lost,
            last_growth_s=self._clock(),
            tail=beginning.tail,
            seen_bytes=opened.size_bytes,
        )
        file.grow_head()
        self._recall.opened(file)
        return file

    def route(self, entry: Entry, label: bytes) -> Route:
        """Where the lines of a file go."""
        key = zlib.crc32(os.fsencode(self._host_id) + b"\0" + label)
        return Route(entry.topic, key, service=entry.service)

    def render(self, entry: Entry, label: bytes) -> Render:
        """The form that the lines of a file get."""
        limits = self._limits()
        row = RenderRow(
            host=self._host_id,
            service=entry.service,
            path=label,
            log_path=entry.log_path,
            format=entry.format,
            headers=entry.headers,
            key=entry.key,
            max_line_bytes=limits.max_line_bytes,
            oversize=limits.oversize,
            encoding=entry.encoding,
            multiline_start=entry.multiline_start,
        )
        return Render(row, self._recall.encode_headers)

    @staticmethod
    def _at(offset: int, opened: Opened, label: bytes) -> Beginning:
        return Beginning(offset, resume.tail_at(opened.descriptor, offset), label)

    def _lost(self, file: TailedFile, lost_bytes: int) -> None:
        reason = "deleted before it was sent" if file.closed else "truncated before it was sent"
        self._events.bytes_lost(service=file.service, path=file.label, lost_bytes=lost_bytes, reason=reason)
