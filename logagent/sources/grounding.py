# SPDX-License-Identifier: Apache-2.0
"""What the journal of intents knows better than the database: up to where files were delivered when the agent ended."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter

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

EMPTIED = "emptied:"
"""Before the identity of a file that holds other bytes by now, in that of those which it held."""

REST_BYTES = 4 * 1024 * 1024
"""After so many bytes that were looked at, everybody else has a turn."""


class Grounding:
    """Writes positions; `open_` opens a path, None if it cannot be."""

    def __init__(self, book: PositionBook, open_: Callable[[bytes], Opened | None]) -> None:
        self._book = book
        self._open = open_
        self._looked_bytes = 0

    def reached(self, note: SegmentNote) -> bool:
        """Whether the stored position is behind a note, and of the bytes that the note is of."""
        file_id = note.service, note.identity
        position = self._book.find(*file_id)
        if position is None or note.end_offset > _reach(position):
            return False
        with self._file_of(file_id, position.path, position) as (opened, same):
            return opened is None or same

    def settle(
        self, file_id: FileId, notes: list[SegmentNote], rows: Mapping[bytes, RenderRow]
    ) -> list[SegmentNote]:
        """Move the position of a file behind notes of what was delivered, oldest first. What it cannot be moved behind,
        because something before it may not have been, is returned.
        """
        position = self._book.find(*file_id)
        newest = _newest_generation(notes)
        row = rows.get(newest[0].render_id)
        path = position.path if position is not None else row.path if row is not None else b""
        if not path or (position is not None and position.delivered_offset == STARTED_OVER):
            return []
        with self._file_of(file_id, path, position) as (opened, same):
            if position is None or (opened is not None and not same):
                # What is stored, if anything, is of bytes that are not in the file any more.
                begin = newest[0].start_offset
                proved = opened is None or all(note.hashed_bytes for note in newest)
                end, rest = self._follow(newest, begin, opened) if proved else (begin, [])
                if end > begin:
                    if position is not None:
                        self._displace(position, notes[: -len(newest)])
                    self._write(file_id, position, row, opened, end)
                    return rest
            if position is None:
                return []
            begin, here = _reach(position), opened if same else None
            end, rest = self._follow(notes, begin, here)
            if end > begin:
                self._write(file_id, position, row, here, end)
            return rest

    def begin(self, file_id: FileId, note: SegmentNote, row: RenderRow | None) -> None:
        """See to it that there is a position of a file of which nothing before this note is on its way."""
        position = self._book.find(*file_id)
        path = position.path if position is not None else row.path if row is not None else b""
        if not path:
            return
        with self._file_of(file_id, path, position) as (opened, same):
            stands = opened is not None and self._stands(note, opened)
            if position is None:
                self._write(file_id, None, row, opened, note.start_offset if stands or opened is None else 0)
            elif opened is not None and not same and stands and note.hashed_bytes:
                self._displace(position, [])
                self._write(file_id, position, row, opened, note.start_offset)

    def _displace(self, position: Position, notes: list[SegmentNote]) -> None:
        """The file was emptied and written anew: what is stored of it, and `notes`, are of bytes in a copy, perhaps."""
        end, _ = self._follow(notes, _reach(position), None)
        emptied = position.service, EMPTIED + position.identity
        self._book.move(position.id, emptied)
        if end > _reach(position):
            self._book.note(replace(position, identity=emptied[1], delivered_offset=end))

    def delivered(self, note: SegmentNote, file_id: FileId) -> None:
        """What a note tells of turned out to be delivered, and its file is not there."""
        position = self._book.find(*file_id)
        if position is not None and note.start_offset <= _reach(position) < note.end_offset:
            self._book.note(replace(position, delivered_offset=note.end_offset))

    def _follow(
        self, notes: list[SegmentNote], begin: int, opened: Opened | None
    ) -> tuple[int, list[SegmentNote]]:
        """How far notes lead from `begin` on without a gap, and those behind the first one."""
        ahead = sorted((one for one in notes if one.end_offset > begin), key=attrgetter("start_offset"))
        for number, note in enumerate(ahead):
            if note.start_offset > begin:
                return begin, ahead[number:]
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
        self, file_id: FileId, path: bytes, position: Position | None
    ) -> Iterator[tuple[Opened | None, bool]]:
        """The file, if it lies where it was when it was found, and whether it has the bytes that were read of it."""
        opened = self._open(path)
        try:
            mine = opened if opened is not None and opened.identity == file_id[1] else None
            yield mine, mine is not None and (position is None or _has_bytes(position, mine))
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


def _has_bytes(position: Position, opened: Opened) -> bool:
    try:
        return resume.examine(position, opened) is Known.SAME
    except OSError:
        return False  # it cannot be read now


def _newest_generation(notes: list[SegmentNote]) -> list[SegmentNote]:
    """Those behind the last place where offsets begin anew: there the file had been emptied."""
    first = 0
    for number in range(1, len(notes)):
        if notes[number].start_offset < notes[number - 1].end_offset:
            first = number
    return notes[first:]


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
