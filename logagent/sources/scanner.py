# SPDX-License-Identifier: Apache-2.0
"""Looks for the files of entries: one entry after the other, and never so long that anybody else has to wait."""

from collections.abc import Callable, Collection, Generator, Iterator

import gevent

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.pacing.baton import Baton
from logagent.sources import discovery
from logagent.sources.discovery import Found
from logagent.sources.first_look import FirstLook
from logagent.sources.off_time import OffTime
from logagent.sources.settled import SPARED_SCANS, Settled, stamp_of
from logagent.sources.shelf import Shelf
from logagent.sources.siblings import Places
from logagent.sources.turnstile import PASS_BUDGET_S, REST_S
from logagent.sources.watches import EntryFiles

LOOKS = 3
"""How often it is looked again at once because directories appeared; after that a little later."""


class Scanner:
    """`check(entry, path)` compares what lies at a path with what was known of it, `refuse(entry, path, reason)` tells
    what cannot be read, `on_more(entry)` asks for another scan.

    Between two steps of a scan everything else goes on: the entry may be stopped or changed (then the scan is given
    up), paths may come and go (`check` believes the disk only, and watches tell of what comes later). Scans stand in
    line for each other.
    """

    def __init__(
        self,
        shelf: Shelf,
        off_time: OffTime,
        first_look: FirstLook,
        *,
        check: Callable[[EntryFiles, bytes], None],
        refuse: Callable[[EntryFiles, bytes, str], None],
        on_more: Callable[[EntryFiles], None],
        events: Events,
        clock: MonotonicClock,
        rest: Callable[[float], None] = gevent.sleep,
    ) -> None:
        self._shelf = shelf
        self._off_time = off_time
        self._first_look = first_look
        self._check = check
        self._refuse = refuse
        self._on_more = on_more
        self._events = events
        self._clock = clock
        self._sleep = rest
        self._baton = Baton()
        self._rested_s = clock()
        self._stopped = False

    def stop(self) -> None:
        """Scans that are under way are given up."""
        self._stopped = True

    def scan(self, state: EntryFiles) -> None:
        """Look for everything that an entry names."""
        self._scan(state, self._off_time.places())

    def check(self, state: EntryFiles) -> None:
        """The same if anything may have changed since it was done last."""
        if self._is_settled(state):
            self._shelf.count_found(state)
        else:
            self.scan(state)

    def _is_settled(self, state: EntryFiles) -> bool:
        settled = state.settled
        if settled is None or settled.spared >= SPARED_SCANS:
            return False
        if state.polled or state.refused or state.ignored or _standing(state) != settled.files:
            return False
        for directory, stamp in settled.stamps.items():
            if stamp_of(directory) != stamp:
                return False
            self.rest()
        settled.spared += 1
        return True

    def scan_new(self, states: Collection[EntryFiles]) -> None:
        """The same for entries that were just added, of which some may have been looked for meanwhile."""
        places = self._off_time.places()
        for state in states:
            if not state.scanned:
                self._scan(state, places)

    def rest(self) -> None:
        """Let everybody else have a turn if this one takes long already."""
        if self._clock() - self._rested_s >= PASS_BUDGET_S:
            self._sleep(REST_S)
            self._rested_s = self._clock()

    def _scan(self, state: EntryFiles, places: Places) -> None:
        with self._baton.turn():
            pattern = state.pattern
            begun_s = self._clock()
            for _ in self._steps(state, places):
                self.rest()
                wanted = self._shelf.entries.get(state.entry.id) is state and state.pattern is pattern
                if self._stopped or not wanted:
                    return
            state.scan_s = self._clock() - begun_s

    def _steps(self, state: EntryFiles, places: Places) -> Iterator[None]:
        yield
        state.rescan_planned, state.settled, state.waiting = False, None, False
        self._shelf.count_found(state)
        found = yield from self._look(state)
        if not state.scanned or state.lost:
            state.lost = False
            yield from self._first_look.notice(state, found.paths)
            yield from self._off_time.find(state, found.named, places)
        self._tell(state, found)
        for path in found.paths:
            self._check(state, path)
            yield
            if self._first_look.is_behind(state, path):
                yield from self._first_look.catch_up(state, path, found.named, places)
                self._check(state, path)
                yield
        for file in list(state.files):
            if file.left_path_s is None and file.path not in found.named:
                self._check(state, file.path)
                yield
        for path in [path for path in state.parked if path not in found.named]:
            self._check(state, path)
            yield
        state.scanned = True
        self._shelf.count_found(state)
        if found.settled and all(self._is_read(state, path) for path in found.paths):
            state.settled = Settled(found.stamps, _standing(state))
        if not found.paths and not found.unreadable and not state.missing_told:
            state.missing_told = True
            self._events.file_missing(service=state.entry.service, log_path=state.entry.log_path)

    def _look(self, state: EntryFiles) -> Generator[None, None, Found]:
        found = yield from discovery.search(state.pattern)
        for _ in range(LOOKS):
            if not (yield from self._shelf.watches.cover(state, found.directories)):
                return found
            # What came between the scan and the watch is seen by looking again, now that the watches stand.
            found = yield from discovery.search(state.pattern)
        self._on_more(state)
        return found

    def _is_read(self, state: EntryFiles, path: bytes) -> bool:
        """Of a path that is not, another look may lead to it (a second name of a file whose first one goes, say)."""
        return self._shelf.generations.at(state.entry.service, path) is not None

    def _tell(self, state: EntryFiles, found: Found) -> None:
        """What could not be looked into, and what can be again."""
        whole = state.pattern.path
        state.forget_refused(found.directories - found.unreadable.keys() - {whole})
        for path, reason in found.unreadable.items():
            self._refuse(state, path, f"the directory cannot be read: {reason}")
        if found.limit:
            self._refuse(state, whole, found.limit)
        elif not state.pattern.literal and whole not in found.named:
            state.refused.pop(whole, None)


def _standing(state: EntryFiles) -> int:
    """How many files are read at the paths that they have."""
    return sum(file.left_path_s is None for file in state.files)
