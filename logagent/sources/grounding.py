# SPDX-License-Identifier: Apache-2.0
"""What the journal of intents knows better than the database: up to where files were delivered when the agent ended."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import gevent

from logagent.pipeline.render_row import RenderRow
from logagent.sources import resume
from logagent.sources.handles import BOOT_ID
from logagent.sources.identity import HANDLE_KIND, HEAD_BYTES, Head, digest
from logagent.sources.opening import Opened
from logagent.sources.rebuilding import source_of
from logagent.sources.rotation import Known
from logagent.state.changes import STARTED_OVER, FileId
from logagent.state.intents import SegmentNote
from logagent.state.positions import Position, PositionBook

REST_BYTES = 4 * 1024 * 1024
"""After so many bytes that were looked at, everybody else has a turn."""


class Grounding:
    """Writes positions; `open_` opens a path, None if it cannot be."""

    def __init__(self, book: PositionBook, open_: Callable[[bytes], Opened | None]) -> None:
        self._book = book
        self._open = open_
        self._looked_bytes = 0

    def reached(self, note: SegmentNote) -> bool:
        """Whether the stored position is behind a note."""
        position = self._book.find(note.service, note.identity)
        return position is not None and note.end_offset <= _reach(position)

    def settle(
        self, file_id: FileId, notes: Iterable[SegmentNote], rows: Mapping[bytes, RenderRow]
    ) -> list[SegmentNote]:
        """Move the position of a file behind notes of what was delivered. What it cannot be moved behind, because
        something before it may not have been, is returned.
        """
        position = self._book.find(*file_id)
        begin = 0 if position is None else _reach(position)
        ahead = sorted((one for one in notes if one.end_offset > begin), key=lambda one: one.start_offset)
        if not ahead or (position is not None and position.delivered_offset == STARTED_OVER):
            return []
        row = rows.get(ahead[0].render_id)
        if position is None:
            begin = ahead[0].start_offset
            if row is None:
                return []  # nothing tells where the file is, nor who reads it
        with self._file_of(file_id, position, row) as opened:
            end, rest = self._follow(ahead, begin, opened)
            if end > begin:
                self._write(file_id, position, row, opened, end)
        return rest

    def begin(self, file_id: FileId, note: SegmentNote, row: RenderRow | None) -> None:
        """See to it that there is a position of a file of which nothing before this note is on its way."""
        if row is None or self._book.find(*file_id) is not None:
            return
        with self._file_of(file_id, None, row) as opened:
            other = opened is not None and not self._stands(note, opened)
            self._write(file_id, None, row, opened, 0 if other else note.start_offset)

    def delivered(self, note: SegmentNote, file_id: FileId) -> None:
        """What a note tells of turned out to be delivered, and its file is not there."""
        position = self._book.find(*file_id)
        if position is not None and note.start_offset <= _reach(position) < note.end_offset:
            self._book.note(replace(position, delivered_offset=note.end_offset))

    def _follow(
        self, notes: list[SegmentNote], begin: int, opened: Opened | None
    ) -> tuple[int, list[SegmentNote]]:
        """How far notes lead from `begin` on without a gap, and those behind the first one."""
        for number, note in enumerate(notes):
            if note.start_offset > begin:
                return begin, notes[number:]
            if opened is not None and not self._stands(note, opened):
                return begin, []
            begin = max(begin, note.end_offset)
        return begin, []

    def _stands(self, note: SegmentNote, opened: Opened) -> bool:
        self._looked_bytes += note.hashed_bytes
        if self._looked_bytes > REST_BYTES:
            self._looked_bytes = 0
            gevent.sleep(1e-6)
        try:
            return source_of(note, opened.descriptor) is not None
        except OSError:
            return False  # it comes again, once it can be read

    @contextmanager
    def _file_of(
        self, file_id: FileId, position: Position | None, row: RenderRow | None
    ) -> Iterator[Opened | None]:
        """The file, if it lies where it was when it was found; it is closed afterwards."""
        path = position.path if position is not None else row.path if row is not None else b""
        opened = self._open(path) if path else None
        try:
            yield opened if opened is not None and _is(file_id, position, opened) else None
        finally:
            if opened is not None:
                os.close(opened.descriptor)

    def _write(
        self,
        file_id: FileId,
        position: Position | None,
        row: RenderRow | None,
        opened: Opened | None,
        offset: int,
    ) -> None:
        if opened is not None:
            self._book.note(_proved(file_id, position, row, opened, offset))
        elif position is not None:
            if offset > _reach(position):
                self._book.note(replace(position, delivered_offset=offset))
        elif row is not None and file_id[1].startswith(HANDLE_KIND):
            # By an inode, of which nothing is proved, another file would be taken for it.
            nothing = Head.of(b"")
            self._book.note(
                Position(
                    *file_id, row.log_path, row.path, 0, nothing.size_bytes, nothing.digest,
                    boot_id=BOOT_ID, delivered_offset=offset,
                )
            )  # fmt: skip


def _is(file_id: FileId, position: Position | None, opened: Opened) -> bool:
    if opened.identity != file_id[1]:
        return False
    try:
        return position is None or resume.examine(position, opened) is Known.SAME
    except OSError:
        return False  # it cannot be read now, which is as if it were not there


def _reach(position: Position) -> int:
    return max(position.offset, position.delivered_offset)


def _proved(
    file_id: FileId, position: Position | None, row: RenderRow | None, opened: Opened, offset: int
) -> Position:
    head = Head.of(os.pread(opened.descriptor, HEAD_BYTES, 0).rstrip(b"\0"))
    tail = resume.tail_at(opened.descriptor, offset)
    log_path = position.log_path if position is not None else row.log_path if row is not None else ""
    path = position.path if position is not None else row.path if row is not None else b""
    return Position(
        *file_id,
        log_path,
        path,
        offset,
        head.size_bytes,
        head.digest,
        marker_digest=digest(tail) if tail else b"",
        size_bytes=opened.size_bytes,
        boot_id=BOOT_ID,
    )
