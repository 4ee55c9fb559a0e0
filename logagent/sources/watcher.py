# SPDX-License-Identifier: Apache-2.0
"""One inotify descriptor for the whole process, watching directories. The only importer of inotify_simple."""

import os
from collections.abc import Callable
from struct import Struct

import gevent
from gevent.socket import wait_read
from inotify_simple import INotify, flags

MASK = (
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
CHANGED = flags.MODIFY
NAMES = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE

EVENT_BYTES = 256 * 1024
FLOOD_EVENTS = 32
FLOOD_PAUSE_S = 0.005

_EVENT = Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name that follows, padded with NULs."""

GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.IGNORED | flags.UNMOUNT


class Watcher:
    """Says which names in which directories changed.

    `on_modified(directory, name)`: bytes were written. `on_entry(directory, name, moved)`: a name came or went
    (`moved`), or changed its mode. `on_directory_gone(directory)`: the watch ended. `on_overflow()`: events were lost,
    look at everything.
    """

    def __init__(
        self,
        *,
        on_modified: Callable[[bytes, bytes], None],
        on_entry: Callable[[bytes, bytes, bool], None],
        on_directory_gone: Callable[[bytes], None],
        on_overflow: Callable[[], None],
    ) -> None:
        self._inotify = INotify(nonblocking=True)
        self._on_modified = on_modified
        self._on_entry = on_entry
        self._on_directory_gone = on_directory_gone
        self._on_overflow = on_overflow
        self._directories: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}

    def watch(self, directory: bytes) -> None:
        """Watch a directory; again is harmless. Raises OSError."""
        if directory in self._watches:
            return
        watch = self._inotify.add_watch(directory, MASK)
        # A directory that was renamed keeps its watch; it is told under its newest name.
        self._directories[watch] = directory
        self._watches[directory] = watch

    def unwatch(self, directory: bytes) -> None:
        """Stop watching a directory."""
        watch = self._watches.pop(directory, None)
        if watch is None or watch in self._watches.values():
            return
        self._directories.pop(watch, None)
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            return  # the kernel had removed it already, with the directory

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
        """Tell of all events of one read; writes to one file are told once. Returns how many events there were."""
        count = offset = 0
        written: set[bytes] = set()
        end = len(events)
        while offset < end:
            watch, mask, _, name_bytes = _EVENT.unpack_from(events, offset)
            begin, offset = offset, offset + _EVENT.size + name_bytes
            count += 1
            if mask == CHANGED:
                event = events[begin:offset]
                if event in written:
                    continue
                written.add(event)
            self._tell(watch, mask, events[begin + _EVENT.size : offset].rstrip(b"\0"))
        return count

    def _tell(self, watch: int, mask: int, name: bytes) -> None:
        if mask & flags.Q_OVERFLOW:
            self._on_overflow()
            return
        directory = self._directories.get(watch)
        if directory is None:
            return
        if mask & GONE:
            if mask & flags.IGNORED:
                self._directories.pop(watch, None)
                for path in [path for path, number in self._watches.items() if number == watch]:
                    del self._watches[path]
            elif not name:
                self._on_directory_gone(directory)
        elif mask & CHANGED:
            self._on_modified(directory, name)
        elif name:
            self._on_entry(directory, name, bool(mask & NAMES))
