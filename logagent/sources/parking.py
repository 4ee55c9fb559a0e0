# SPDX-License-Identifier: Apache-2.0
"""More files than may be open are read in turn: one that is read to its end is closed, and makes room for another.

A closed one is parked: it is opened again, at its position, as soon as it is seen to have changed.
"""

import os
from collections import deque
from collections.abc import Callable

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.sources.copies import original_names
from logagent.sources.ignored import Ignored
from logagent.sources.shelf import Shelf
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles

LOOKED_AT = 500
"""So many files at once."""

LOOK_PAUSE_S = 0.05
LOOK_SHARE = 20
"""Looking for files that are done takes at most this part of the time."""


class Parking:
    """`on_waiting(entry)` asks for another scan, soon."""

    def __init__(
        self,
        shelf: Shelf,
        max_open: Callable[[], int],
        on_waiting: Callable[[EntryFiles], None],
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._shelf = shelf
        self._max_open = max_open
        self._on_waiting = on_waiting
        self._events = events
        self._clock = clock
        self._done: deque[TailedFile] = deque()
        self._next = 0
        self._look_from_s = float("-inf")

    def make_room(self, state: EntryFiles) -> bool:
        """Whether one more file may be opened, for which another one may have been closed. Else the entry waits."""
        max_open = self._max_open()
        if len(self._shelf.files) < max_open:
            return True
        file = self._next_done()
        if file is not None:
            self._park(file)
            return True
        if not state.in_turn_told:
            state.in_turn_told = True
            self._events.files_in_turn(
                service=state.entry.service, log_path=state.entry.log_path, max_open=max_open
            )
        state.waiting = True
        self._on_waiting(state)
        return False

    def still(self, state: EntryFiles, path: bytes) -> bool:
        """Whether the file of the path is parked and has not changed. One that has is not parked any more."""
        parked = state.parked.get(path)
        if parked is None:
            return False
        try:
            now = Ignored.of(os.stat(path))
        except OSError:
            return True  # cannot look is not gone
        if now == parked:
            return True
        if now.key == parked.key and now.size_bytes >= parked.size_bytes:
            del state.parked[path]
        else:
            self.left(state, path)
        return False

    def left(self, state: EntryFiles, path: bytes) -> None:
        """Another file, or none, is at the path of a parked one: what was still written to that is looked for."""
        if state.parked.pop(path, None) is not None:
            state.lost = True
            self._on_waiting(state)

    def may_be_copied(self, state: EntryFiles, path: bytes) -> list[bytes]:
        """Paths of parked files of which a new one at `path` may become a copy; they are parked no more."""
        if not state.parked:
            return []
        directory, name = os.path.split(path)
        paths = [os.path.join(directory, other) for other in original_names(name)]
        return [original for original in paths if state.parked.pop(original, None) is not None]

    def _next_done(self) -> TailedFile | None:
        now_s = self._clock()
        if not self._done and now_s >= self._look_from_s:
            self._done.extend(self._look())
            self._look_from_s = now_s + max(LOOK_PAUSE_S, LOOK_SHARE * (self._clock() - now_s))
        while self._done:
            file = self._done.popleft()
            if _is_done(file) and self._shelf.files.get((file.service, file.key)) is file:
                return file
        return None

    def _look(self) -> list[TailedFile]:
        """Some files that are done; those that were opened first have been read first."""
        files = list(self._shelf.files.values())
        compared = {one for file in files for one in file.originals or ()}
        begin = self._next if self._next < len(files) else 0
        self._next = begin + LOOKED_AT
        return [file for file in files[begin : self._next] if file not in compared and _is_done(file)]

    def _park(self, file: TailedFile) -> None:
        state = self._shelf.entry_of(file)
        if state is not None:
            state.parked[file.path] = Ignored.of(os.fstat(file.descriptor))
        self._shelf.drop(file)


def _is_done(file: TailedFile) -> bool:
    """Whether all of the file is acknowledged, and nothing waits for it or is waited for."""
    busy = file.tailing or file.dirty or file.acks.pending or file.beside or file.unpacked
    moving = file.left_path_s is not None or file.predecessor is not None
    gone = file.closed or file.retired
    if busy or moving or gone or (file.may_be_copy and file.read_offset):
        return False
    try:
        return file.size_bytes() == file.read_offset
    except OSError:
        return False
