# SPDX-License-Identifier: Apache-2.0
"""One inotify descriptor for the whole process, watching directories. The only importer of inotify_simple."""

import os
from collections.abc import Callable, Collection
from struct import Struct
from typing import Generic, Protocol, TypeVar

import gevent
from gevent.socket import wait_read
from inotify_simple import INotify, flags

MASK = int(
    flags.MODIFY
    | flags.CREATE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.ATTRIB
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
# Plain numbers: an operation on a flag makes a new one, at the price of all else that is done for an event.
CHANGED = int(flags.MODIFY)
NAMES = int(flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE)
GONE = int(flags.DELETE_SELF | flags.MOVE_SELF | flags.IGNORED | flags.UNMOUNT)
IGNORED = int(flags.IGNORED)
OVERFLOW = int(flags.Q_OVERFLOW)

EVENT_BYTES = 256 * 1024
FLOOD_EVENTS = 32
FLOOD_PAUSE_S = 0.005
KNOWN_EVENTS = 65_536
"""So many kinds of events are remembered with their subjects."""

_EVENT = Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name that follows, padded with NULs."""

_HEAD_BYTES = _EVENT.size
_NAME_BYTES_AT = 3
"""In words of four bytes; events are whole words."""


class Subject(Protocol):
    """Somebody to be told that a file was written. `dirty`: it knows; `tailing`: it wants to know nevertheless."""

    @property
    def dirty(self) -> bool: ...
    @property
    def tailing(self) -> bool: ...


Known = TypeVar("Known", bound=Subject)


class Watcher(Generic[Known]):
    """Says which names in which directories changed.

    `on_modified(directory, name)`: bytes were written. It may give the subjects that are meant, to be told by
    `on_written(subject)` themselves from then on, until `forget_writes`: that is cheaper.
    `on_entry(directory, name, moved)`: a name came or went (`moved`), or changed its mode.
    `on_directory_gone(directory)`: the watch ended. `on_overflow()`: events were lost, look at everything.
    """

    def __init__(
        self,
        *,
        on_modified: Callable[[bytes, bytes], Collection[Known] | None],
        on_written: Callable[[Known], None],
        on_entry: Callable[[bytes, bytes, bool], None],
        on_directory_gone: Callable[[bytes], None],
        on_overflow: Callable[[], None],
    ) -> None:
        self._inotify = INotify(nonblocking=True)
        self._on_modified = on_modified
        self._on_written = on_written
        self._on_entry = on_entry
        self._on_directory_gone = on_directory_gone
        self._on_overflow = on_overflow
        self._directories: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}
        self._writes: dict[bytes, Collection[Known]] = {}
        """Events of writing as the kernel tells them: the same ones come again and again."""

    def watch(self, directory: bytes) -> None:
        """Watch a directory; again is harmless. Raises OSError."""
        if directory in self._watches:
            return
        watch = self._inotify.add_watch(directory, MASK)
        # A directory that was renamed keeps its watch; it is told under its newest name.
        self._directories[watch] = directory
        self._writes.clear()
        self._watches[directory] = watch

    def unwatch(self, directory: bytes) -> None:
        """Stop watching a directory."""
        watch = self._watches.pop(directory, None)
        if watch is None or watch in self._watches.values():
            return
        self._directories.pop(watch, None)
        self._writes.clear()
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            return  # the kernel had removed it already, with the directory

    def forget_writes(self) -> None:
        """The subjects of some name are others now."""
        self._writes.clear()

    @property
    def watched(self) -> frozenset[bytes]:
        """The directories under watch."""
        return frozenset(self._watches)

    def run(self) -> None:
        """The greenlet: waits for events and tells."""
        while True:
            wait_read(self._inotify.fileno())
            told = self._tell_all(os.read(self._inotify.fileno(), EVENT_BYTES))
            if told >= FLOOD_EVENTS:
                # Under a flood it is cheaper to read more of it at once; the kernel queues 16,384 events.
                gevent.sleep(FLOOD_PAUSE_S)

    def close(self) -> None:
        """Give the descriptor back."""
        self._inotify.close()

    def _tell_all(self, events: bytes) -> int:
        """Tell of all events of one read. Returns how many there were."""
        count = begin = 0
        words = memoryview(events).cast("I")
        end = len(events)
        known = self._writes
        while begin < end:
            size = _HEAD_BYTES + words[(begin >> 2) + _NAME_BYTES_AT]
            event = events[begin : begin + size]
            begin += size
            count += 1
            subjects = known.get(event)
            if subjects is None:
                self._tell(event)
                continue
            for subject in subjects:
                if subject.tailing or not subject.dirty:  # else it is looked at soon
                    self._on_written(subject)
        return count

    def _tell(self, event: bytes) -> None:
        watch, mask, _, _ = _EVENT.unpack_from(event)
        if mask & OVERFLOW:
            self._on_overflow()
            return
        directory = self._directories.get(watch)
        if directory is None:
            return
        name = event[_EVENT.size :].rstrip(b"\0")
        if mask == CHANGED:
            subjects = self._on_modified(directory, name)
            if subjects:
                if len(self._writes) >= KNOWN_EVENTS:
                    self._writes.clear()
                self._writes[event] = subjects
        elif mask & GONE:
            self._tell_gone(watch, mask, directory, name)
        elif name:
            self._on_entry(directory, name, bool(mask & NAMES))

    def _tell_gone(self, watch: int, mask: int, directory: bytes, name: bytes) -> None:
        if mask & IGNORED:
            self._directories.pop(watch, None)
            self._writes.clear()
            for path in [path for path, number in self._watches.items() if number == watch]:
                del self._watches[path]
        elif not name:
            self._on_directory_gone(directory)
