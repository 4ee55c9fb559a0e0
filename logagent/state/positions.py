# SPDX-License-Identifier: Apache-2.0
"""Up to where each file is acknowledged: the book in memory, and how it reaches the disk within a second."""

import time
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from logagent.backoff import Backoff
from logagent.errors import StateError
from logagent.ops.events import Events
from logagent.spawn import in_thread
from logagent.state.changes import Changes, Mark, Position

__all__ = ["Mark", "Position", "PositionBook", "Positioned"]

SAVE_EVERY_S = 0.5
"""So that with the time of writing a position is on disk within a second."""

AGAIN = Backoff(first_s=1.0, limit_s=10.0)


class Positioned(Protocol):
    """What has a position that moves."""

    service: str
    log_path: str

    def position(self) -> Position:
        """Where it is now."""


def _no_marks(_service: str, _identity: str) -> list[Mark]:
    return []


class PositionBook:
    """All positions; changes are written in one transaction, in a thread, at most every half second."""

    def __init__(
        self,
        positions: list[Position],
        write: Callable[[Changes], None],
        events: Events,
        *,
        load_marks: Callable[[str, str], list[Mark]] = _no_marks,
    ) -> None:
        self._positions = {position.id: position for position in positions}
        self._entries = {(position.service, position.log_path) for position in positions}
        self._write = write
        self._events = events
        self._load_marks = load_marks
        self._changes = Changes()
        self._moved: dict[Positioned, None] = {}
        self._wake = Event()
        self._saving = BoundedSemaphore(1)
        self.failure = ""

    def find(self, service: str, identity: str) -> Position | None:
        """The position of a file that was seen before."""
        self._settle()
        return self._positions.get((service, identity))

    def knows_entry(self, service: str, log_path: str) -> bool:
        """Whether any file was ever found through this entry."""
        return (service, log_path) in self._entries

    def of_entry(self, service: str, log_path: str) -> list[Position]:
        """The positions of all files ever found through an entry."""
        self._settle()
        return [p for p in self._positions.values() if p.service == service and p.log_path == log_path]

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
        self._changes.forget((service, identity))
        self._wake.set()

    def mark(self, mark: Mark) -> None:
        """Keep a mark; it is written together with the next positions."""
        self._changes.mark(mark)
        self._wake.set()

    def forget_marks(self, service: str, identity: str) -> None:
        """The file was truncated: its marks are void."""
        self._changes.unmark((service, identity))
        self._wake.set()

    def marks_of(self, service: str, identity: str) -> list[Mark]:
        """The marks of a file by offset, those not written yet too. Looks into the database, in a thread."""
        file_id = (service, identity)
        written = in_thread(self._load_marks, service, identity)
        if file_id in self._changes.unmarked | self._changes.forgotten:
            written = []
        marks = {mark.offset: mark for mark in [*written, *self._changes.marks.get(file_id, [])]}
        return [marks[offset] for offset in sorted(marks)]

    def run(self) -> None:
        """The greenlet that saves."""
        failures = 0
        while True:
            self._wake.wait()
            gevent.sleep(SAVE_EVERY_S if not failures else AGAIN.delay_s(failures - 1))
            failures = 0 if self.save() else failures + 1

    def save(self) -> bool:
        """Write what changed; False when that failed (it is kept and tried again)."""
        with self._saving:
            return self._save()

    def _settle(self) -> None:
        moved, self._moved = self._moved, {}
        for positioned in moved:
            self.note(positioned.position())

    def _save(self) -> bool:
        self._settle()
        changes, self._changes = self._changes, Changes()
        self._wake.clear()
        if not changes:
            return True
        begun_s = time.monotonic()
        try:
            in_thread(self._write, changes)
        except StateError as error:
            changes.follow(self._changes)
            self._changes = changes
            self._wake.set()
            self.failure = str(error)
            self._events.positions_failed(error=self.failure)
            return False
        if self.failure:
            self.failure = ""
            self._events.positions_back()
        self._events.positions_saved(rows=len(changes.positions), seconds=time.monotonic() - begun_s)
        return True
