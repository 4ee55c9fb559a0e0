# SPDX-License-Identifier: Apache-2.0
"""Up to where each file is acknowledged: the book in memory, and how it reaches the disk within a second."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from logagent import clock
from logagent.backoff import Backoff
from logagent.clock import WallClock
from logagent.errors import StateAnew, StateError
from logagent.ops.events import Events
from logagent.spawn import in_thread
from logagent.state.changes import Changes, FileId, Mark, Position, mark_due

__all__ = ["Mark", "Position", "PositionBook", "Positioned"]

SAVE_EVERY_S = 0.5
"""So that with the time of writing a position is on disk within a second."""

SAVED_WITHIN_S = 0.9
BRIEF_S = 0.005
"""A save of so many rows that it takes longer is made less often, as far as the second leaves room for it."""

AGAIN = Backoff(first_s=1.0, limit_s=10.0)


def pause_s(took_s: float) -> float:
    """How long to wait for more before the next save, when the last one took so long."""
    return SAVE_EVERY_S if took_s < BRIEF_S else max(SAVE_EVERY_S, SAVED_WITHIN_S - 2 * took_s)


class Positioned(Protocol):
    """What has a position that moves."""

    service: str
    log_path: str

    def position(self) -> Position:
        """Where it is now."""


class SaveMarks(Protocol):
    """Who wants to know what is on disk (`state.journal.Journal`)."""

    @property
    def sequence(self) -> int:
        """Of the newest record."""

    def mark(self) -> int:
        """Up to where positions have moved now."""

    def saved(self, mark: int) -> None:
        """What had moved when the mark was taken is on disk."""


class _NoMarks:
    """Nobody wants to know."""

    sequence = 0

    def mark(self) -> int:
        return 0

    def saved(self, mark: int) -> None:
        pass


def _no_renders() -> dict[bytes, bytes]:
    return {}


def _no_marks(_service: str, _identity: str) -> list[Mark]:
    return []


class PositionBook:
    """All positions; changes are written in one transaction, in a thread, at most every half second.

    `incomplete` says that positions were lost: then no entry is one that nobody knew before. `failure` is why they
    cannot be written, empty while they can. `journal` is told what is on disk.
    """

    def __init__(
        self,
        positions: list[Position],
        write: Callable[[Changes], None],
        events: Events,
        *,
        load_marks: Callable[[str, str], list[Mark]] = _no_marks,
        load_renders: Callable[[], dict[bytes, bytes]] = _no_renders,
        journal: SaveMarks | None = None,
        journal_sequence: int = 0,
        incomplete: bool = False,
        failure: str = "",
        wall: WallClock = clock.wall,
    ) -> None:
        self._positions = {position.id: position for position in positions}
        self._entries = {(position.service, position.log_path) for position in positions}
        self._write = write
        self._events = events
        self._load_marks = load_marks
        self._load_renders = load_renders
        self._journal: SaveMarks = journal or _NoMarks()
        self.journal_sequence = journal_sequence
        """What the journal's was when these positions were saved by an earlier process."""

        self._renders: dict[bytes, bytes] = {}
        """Those that were loaded or noted."""

        self._wall = wall
        self._changes = Changes()
        self._moved: dict[Positioned, None] = {}
        self._marked: dict[FileId, tuple[int, float]] = {}
        """Where and when a file got its last mark; those that moved since the start."""

        self._wake = Event()
        self._took_s = 0.0
        self.saving = BoundedSemaphore(1)
        self._incomplete = incomplete
        self.failure = failure
        if failure:
            self._wake.set()

    def find(self, service: str, identity: str) -> Position | None:
        """The position of a file that was seen before."""
        self._settle()
        return self._positions.get((service, identity))

    def knows_entry(self, service: str, log_path: str) -> bool:
        """Whether any file was, or may have been, found through this entry at some time."""
        return self._incomplete or (service, log_path) in self._entries

    def of_entry(self, service: str, log_path: str) -> list[Position]:
        """The positions of all files ever found through an entry."""
        self._settle()
        return [p for p in self._positions.values() if p.service == service and p.log_path == log_path]

    def all(self) -> list[Position]:
        """Every position."""
        self._settle()
        return list(self._positions.values())

    def touch(self, positioned: Positioned) -> None:
        """Its position moved, or it was first seen. It is asked for it when it is saved, not at every move."""
        self._entries.add((positioned.service, positioned.log_path))
        self._moved[positioned] = None
        self._wake.set()

    def note(self, position: Position) -> None:
        """A position as it is now."""
        self._positions[position.id] = position
        self._entries.add((position.service, position.log_path))
        self._changes.note(position)
        self._wake.set()

    def forget(self, service: str, identity: str) -> None:
        """The file is known no more: neither position nor marks stay."""
        self._settle()
        self._positions.pop((service, identity), None)
        self._marked.pop((service, identity), None)
        self._changes.forget((service, identity))
        self._wake.set()

    def move(self, old: FileId, new: FileId) -> None:
        """The same file has another identity now: its position and its marks go on under it."""
        self._settle()
        position = self._positions.pop(old, None)
        marked = self._marked.pop(old, None)
        if marked is not None:
            self._marked[new] = marked
        self._changes.move(old, new)
        if position is not None:
            self.note(replace(position, identity=new[1]))
        self._wake.set()

    def mark(self, mark: Mark) -> None:
        """Keep a mark; it is written together with the next positions."""
        self._changes.mark(mark)
        self._wake.set()

    def forget_marks(self, service: str, identity: str) -> None:
        """The file was truncated: its marks are void."""
        self._marked.pop((service, identity), None)
        self._changes.unmark((service, identity))
        self._wake.set()

    def marks_of(self, service: str, identity: str) -> list[Mark]:
        """The marks of a file by offset, those not written yet too. Looks into the database, in a thread."""
        file_id = (service, identity)
        sources = [file_id, *(old for old, new in self._changes.moved.items() if new == file_id)]
        written = [mark for source in sources for mark in in_thread(self._load_marks, *source)]
        void = self._changes.unmarked | self._changes.forgotten
        kept = [replace(mark, identity=identity) for mark in written if mark.id not in void]
        marks = {mark.offset: mark for mark in [*kept, *self._changes.marks.get(file_id, [])]}
        return [marks[offset] for offset in sorted(marks)]

    def renders(self) -> dict[bytes, bytes]:
        """Documents of all renders that are kept, by their ids. Looks into the database, in a thread."""
        self._renders = in_thread(self._load_renders) | self._renders
        return dict(self._renders)

    def render(self, row_id: bytes, document: bytes) -> None:
        """Keep a render; it is written together with the next positions."""
        if row_id not in self._renders:
            self._renders[row_id] = self._changes.renders[row_id] = document
            self._wake.set()

    def forget_renders(self, row_ids: Iterable[bytes]) -> None:
        """Nobody needs these any more."""
        for row_id in row_ids:
            self._renders.pop(row_id, None)
            self._changes.renders.pop(row_id, None)
            self._changes.renders_forgotten.add(row_id)
        self._wake.set()

    def run(self) -> None:
        """The greenlet that saves."""
        failures = 0
        while True:
            self._wake.wait()
            gevent.sleep(pause_s(self._took_s) if not failures else AGAIN.delay_s(failures - 1))
            failures = 0 if self.save() else failures + 1

    def save(self) -> bool:
        """Write what changed; False when that failed (it is kept and tried again)."""
        with self.saving:
            return self._save()

    def _settle(self) -> None:
        moved, self._moved = self._moved, {}
        for positioned in moved:
            position = positioned.position()
            self._mark(position)
            self.note(position)

    def _mark(self, position: Position) -> None:
        """Prove, now and then, what stands in a file: here, because nothing is done per chunk."""
        file_id = position.id
        before = self._positions.get(file_id)
        if not position.marker_digest or (before is not None and before.offset == position.offset):
            return
        now_s = self._wall()
        last = self._marked.get(file_id)
        begins = last is None and not (before and before.offset)
        if begins and not mark_due(position.offset, 0):
            return  # of the many files with a few bytes nothing is kept
        offset, time_s = (0 if before is None else before.offset, now_s) if last is None else last
        if offset > position.offset:
            offset = 0  # it was emptied since
        if mark_due(position.offset - offset, now_s - time_s):
            self._changes.mark(
                Mark(position.service, position.identity, position.offset, int(now_s), position.marker_digest)
            )
            offset, time_s = position.offset, now_s
        self._marked[file_id] = offset, time_s

    def _save(self) -> bool:
        mark, sequence = self._journal.mark(), self._journal.sequence
        self._settle()
        changes, self._changes = self._changes, Changes()
        changes.journal_sequence = sequence
        self._wake.clear()
        if not changes and not self.failure:
            self._journal.saved(mark)
            return True
        begun_s = time.monotonic()
        try:
            self._write_all_of(changes)
        except StateError as error:
            changes.follow(self._changes)
            self._changes = changes
            self._wake.set()
            self.failure = str(error)
            self._events.positions_failed(error=self.failure)
            return False
        self._journal.saved(mark)
        if self.failure:
            self.failure = ""
            self._events.positions_back()
        self._took_s = time.monotonic() - begun_s
        self._events.positions_saved(rows=len(changes.positions), seconds=self._took_s)
        return True

    def _write_all_of(self, changes: Changes) -> None:
        try:
            in_thread(self._write, changes)
        except StateAnew as anew:
            if anew.kept_as:
                self._events.state_recovered(error=anew.error, kept_as=anew.kept_as, source=anew.source)
            for position in self._positions.values():
                changes.note(position)
            changes.renders |= self._renders
            in_thread(self._write, changes)
