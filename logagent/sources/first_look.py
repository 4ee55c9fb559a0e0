# SPDX-License-Identifier: Apache-2.0
"""A log may be rotated while it is looked for: what lay at its path when the look began comes first nevertheless."""

from collections.abc import Callable, Container, Iterable, Iterator

from logagent.clock import wall
from logagent.sources.copies import CLOCK_STEP_S
from logagent.sources.missed import Missed
from logagent.sources.off_time import OffTime
from logagent.sources.opening import Opened, key_of
from logagent.sources.rotation import FileKey
from logagent.sources.shelf import Shelf
from logagent.sources.siblings import Places
from logagent.sources.watches import EntryFiles


class FirstLook:
    """`notice` before anything is compared; what `waits` is not opened before `catch_up` has looked for the other one.

    `on_more(entry)` asks for another scan.
    """

    def __init__(
        self, shelf: Shelf, missed: Missed, off_time: OffTime, on_more: Callable[[EntryFiles], None]
    ) -> None:
        self._shelf = shelf
        self._missed = missed
        self._off_time = off_time
        self._on_more = on_more

    def notice(self, state: EntryFiles, paths: Iterable[bytes]) -> Iterator[None]:
        """Which files lie at the paths that are about to be opened for the first time."""
        state.noticed_s = wall()
        for path in paths:
            key = _key(path)
            if key is not None and self._shelf.generations.at(state.entry.service, path) is None:
                state.noticed[path] = key
            yield

    def waits(self, state: EntryFiles, path: bytes, opened: Opened) -> bool:
        """Whether another file lay at the path of an opened one, and is not read yet."""
        key = state.noticed.get(path)
        if key is None:
            return False
        service = state.entry.service
        if key != opened.key:
            before = self._shelf.files.get((service, key))
            if before is None:
                self._on_more(state)
                return True
            if before not in self._shelf.generations.all(service, path):
                self._shelf.generations.comes_before(before, path)  # it was found under its new name
        del state.noticed[path]
        return False

    def is_behind(self, state: EntryFiles, path: bytes) -> bool:
        """Whether the file that lay at the path does not any more, and was not found."""
        key = state.noticed.get(path)
        if key is None:
            return False
        if (state.entry.service, key) not in self._shelf.files:
            if _key(path) != key:
                return True
            if state.waiting:
                return False
        elif _key(path) is None:
            return False  # the next one there comes after it
        del state.noticed[path]  # it is read, or there are reasons not to
        return False

    def catch_up(
        self, state: EntryFiles, path: bytes, named: Container[bytes], places: Places
    ) -> Iterator[None]:
        """Look for the file that lay at the path and does not any more: after that, what lies there may be opened."""
        key = state.noticed[path]
        since_s = state.since_s.pop(path, None)
        if since_s is not None:
            until_s = state.noticed_s - CLOCK_STEP_S
            self._missed.adopt(state, path, path, since_s, -1, until_s=until_s)
        known = (state.entry.service, key) in self._shelf.files
        if not known and self._missed.follow(state, path, key) is None:
            yield
            yield from self._off_time.find_of(state, path, named, places)
        state.noticed.pop(path, None)
        state.since_s[path] = state.noticed_s


def _key(path: bytes) -> FileKey | None:
    try:
        return key_of(path)
    except OSError:
        return None
