# SPDX-License-Identifier: Apache-2.0
"""Up to where each file is acknowledged: the book in memory, and how it reaches the disk within a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from logagent.backoff import Backoff
from logagent.errors import StateError
from logagent.ops.events import Events
from logagent.spawn import in_thread

SAVE_EVERY_S = 0.5
"""So that with the time of writing a position is on disk within a second."""

AGAIN = Backoff(first_s=1.0, limit_s=10.0)


@dataclass(frozen=True, slots=True)
class Position:
    """Everything of a file before `offset` is acknowledged.

    `identity` is opaque text with a kind in front; `path` the label of the file (bytes as on disk); `log_path` the
    entry through which it was found; `head_bytes` and `head_digest` describe how the file begins.
    """

    service: str
    identity: str
    log_path: str
    path: bytes
    offset: int
    head_bytes: int
    head_digest: bytes

    @property
    def id(self) -> tuple[str, str]:
        """What there is one position of."""
        return self.service, self.identity


class Positioned(Protocol):
    """What has a position that moves."""

    service: str
    log_path: str

    def position(self) -> Position:
        """Where it is now."""


class PositionBook:
    """All positions; changes are written in one transaction, in a thread, at most every half second."""

    def __init__(
        self, positions: list[Position], write: Callable[[list[Position]], None], events: Events
    ) -> None:
        self._positions = {position.id: position for position in positions}
        self._entries = {(position.service, position.log_path) for position in positions}
        self._write = write
        self._events = events
        self._changed: dict[tuple[str, str], Position] = {}
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
        self._changed[position.id] = position
        self._wake.set()

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
        changed, self._changed = self._changed, {}
        self._wake.clear()
        if not changed:
            return True
        begun_s = time.monotonic()
        try:
            in_thread(self._write, list(changed.values()))
        except StateError as error:
            self._changed = changed | self._changed
            self._wake.set()
            self.failure = str(error)
            self._events.positions_failed(error=self.failure)
            return False
        if self.failure:
            self.failure = ""
            self._events.positions_back()
        self._events.positions_saved(rows=len(changed), seconds=time.monotonic() - begun_s)
        return True
