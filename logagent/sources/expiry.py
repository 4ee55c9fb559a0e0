# SPDX-License-Identifier: Apache-2.0
"""Forgets the positions of files that have been gone for days, so that the state does not grow for ever.

Gone is only what was looked for and is not there. What cannot be looked for (no permission, a disk that fails or is not
mounted) stays known, and so does what comes back before the time is up.
"""

import enum
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

import gevent

from logagent.clock import WallClock
from logagent.ops.events import Events
from logagent.sources.handles import BOOT_ID, Handle, handle_of, open_handle
from logagent.sources.identity import handle_identity, handle_parts, inode_identity, without_place
from logagent.spawn import in_thread
from logagent.state.changes import FileId, Position
from logagent.state.positions import PositionBook

FIRST_LOOK_S = 60.0
"""After the start: by then what is there has been found and is open."""

LOOK_EVERY_S = 3600.0
DAY_S = 86_400
AT_ONCE = 200
"""Positions looked at, and noted, before others get their turn."""

REST_S = 0.001


class Sight(enum.Enum):
    """What looking for a file came to."""

    HERE = "it is there"
    GONE = "it is not there any more"
    UNKNOWN = "it cannot be seen whether it is there"


class Expiry:
    """`open_ids()`: the files that are being read, so not gone. `days()`: how long the gone are remembered."""

    def __init__(
        self,
        book: PositionBook,
        *,
        open_ids: Callable[[], set[FileId]],
        days: Callable[[], float],
        events: Events,
        wall: WallClock,
        look: Callable[[Position], Sight] | None = None,
    ) -> None:
        self._book = book
        self._open_ids = open_ids
        self._days = days
        self._events = events
        self._wall = wall
        self._look = look

    def run(self) -> None:
        """The greenlet."""
        gevent.sleep(FIRST_LOOK_S)
        while True:
            self.go_through()
            gevent.sleep(LOOK_EVERY_S)

    def go_through(self) -> int:
        """Look for every file that is not open; returns how many positions were forgotten."""
        days, forgotten = self._days(), 0
        look = self._look or Looker().look
        open_ids = self._open_ids()
        idle = iter([position for position in self._book.all() if position.id not in open_ids])
        while batch := list(islice(idle, AT_ONCE)):
            sights = in_thread(_looked, look, batch)
            open_ids = self._open_ids()
            for position, sight in zip(batch, sights, strict=True):
                if position.id not in open_ids and self._book.find(*position.id) == position:
                    forgotten += self._judge(position, sight, days)  # it did not come back meanwhile
            gevent.sleep(REST_S)
        if forgotten:
            self._events.positions_expired(files=forgotten, days=days)
        return forgotten

    def _judge(self, position: Position, sight: Sight, days: float) -> bool:
        gone_since_s = gone_since(position, sight, int(self._wall()))
        if sight is Sight.GONE and self._wall() - gone_since_s >= days * DAY_S and position.gone_since_s:
            self._book.forget(*position.id)
            return True
        if gone_since_s != position.gone_since_s:
            self._book.note(replace(position, gone_since_s=gone_since_s))
        return False


def gone_since(position: Position, sight: Sight, now_s: int) -> int:
    """When the file was first found missing, 0 if it is not; a clock that was set back counts from now on."""
    if sight is Sight.HERE:
        return 0
    if sight is Sight.UNKNOWN:
        return position.gone_since_s
    return min(position.gone_since_s or now_s, now_s)


class Looker:
    """Looks for files by their stored identities; what it learns of a directory it remembers, so make one per pass."""

    def __init__(self) -> None:
        self._here: dict[bytes, set[str]] = {}
        self._by_handle: dict[bytes, bool] = {}

    def look(self, position: Position) -> Sight:
        """Whether the file of the position is still there, wherever it can be found. Blocks; raises nothing."""
        directories = {os.path.dirname(position.path), os.path.dirname(os.path.realpath(position.path))}
        sights = {self._in_directory(position, directory) for directory in directories}
        for sight in (Sight.HERE, Sight.UNKNOWN):
            if sight in sights:
                return sight
        return Sight.GONE

    def _in_directory(self, position: Position, directory: bytes) -> Sight:
        try:
            status = os.stat(directory)
            handle, file_system = handle_parts(position.identity), os.statvfs(directory).f_fsid
            if handle is None:
                mounted = position.identity.startswith(inode_identity(status.st_dev, 0)[:-1])
            else:
                mounted = handle[0] == file_system
            if not mounted and position.boot_id == BOOT_ID:
                return Sight.UNKNOWN  # numbers do not change while the machine runs: it is not mounted
            if handle is not None and self._opens_handles(directory):
                return _by_handle(directory, Handle(*handle))
            here = self._identities(directory)
        except (FileNotFoundError, NotADirectoryError):
            return Sight.GONE
        except OSError:
            return Sight.UNKNOWN
        return Sight.HERE if without_place(position.identity) in here else Sight.GONE

    def _opens_handles(self, directory: bytes) -> bool:
        """Whether this process may open files by handle there."""
        if directory not in self._by_handle:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                own = handle_of(descriptor)
                found = None if own is None else open_handle(directory, own)
            finally:
                os.close(descriptor)
            if found is not None:
                os.close(found)
            self._by_handle[directory] = found is not None
        return self._by_handle[directory]

    def _identities(self, directory: bytes) -> set[str]:
        """What the files in a directory may be stored under, without its place. Raises OSError."""
        if directory not in self._here:
            self._here[directory] = set(_identities(directory))
        return self._here[directory]


def _by_handle(directory: bytes, handle: Handle) -> Sight:
    descriptor = open_handle(directory, handle)
    if descriptor is None:
        return Sight.GONE
    try:
        # What has no name any more lives only as long as somebody has it open.
        return Sight.HERE if os.fstat(descriptor).st_nlink else Sight.GONE
    finally:
        os.close(descriptor)


def _identities(directory: bytes) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            try:
                descriptor = os.open(entry.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                yield without_place(inode_identity(0, entry.inode()))
                handle = handle_of(descriptor)
                if handle is not None:
                    yield without_place(handle_identity(0, handle.kind, handle.data))
            finally:
                os.close(descriptor)


def _looked(look: Callable[[Position], Sight], positions: Iterable[Position]) -> list[Sight]:
    return [look(position) for position in positions]
