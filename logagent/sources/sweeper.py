# SPDX-License-Identifier: Apache-2.0
"""Looks again at what events may have missed: at an entry when directories changed, at everything now and then."""

from collections.abc import Callable, Container, Iterable, Mapping

import gevent

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.pacing.baton import Baton
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles
from logagent.spawn import Spawner

RESCAN_DELAY_S = 0.05
RESCAN_PAUSES = 4
WAITING_PAUSES = 20
"""So many times longer than a scan takes files wait that are read in turn."""

POLL_S = 1.0


class Sweeper:
    """`scan(entry)` looks for the files of an entry, `check(entry)` does if something may have changed, `look()` looks
    for bytes that nobody told of, `look_at(files)` does in these.
    """

    def __init__(
        self,
        entries: Mapping[tuple[str, str], EntryFiles],
        *,
        rescan_s: Callable[[], float],
        scan: Callable[[EntryFiles], None],
        check: Callable[[EntryFiles], None],
        look: Callable[[], None],
        look_at: Callable[[Iterable[TailedFile]], None],
        spawner: Spawner,
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._entries = entries
        self._rescan_s = rescan_s
        self._scan = scan
        self._check = check
        self._look = look
        self._look_at = look_at
        self._spawner = spawner
        self._events = events
        self._clock = clock
        self._sweeping = Baton()
        self._sweep_planned = False

    def run(self) -> None:
        """The greenlet."""
        slept_s = 0.0
        while True:
            polled = any(state.polled for state in self._entries.values())
            rescan_s = self._rescan_s()
            pause_s = min(POLL_S, rescan_s) if polled else rescan_s
            gevent.sleep(pause_s)
            slept_s += pause_s
            if slept_s >= rescan_s:
                slept_s = 0.0
                self.sweep(self._check)
            else:
                self.poll()

    def poll(self) -> None:
        """Look at those entries of which nobody tells."""
        for state in [state for state in self._entries.values() if state.polled]:
            if self._entries.get(state.entry.id) is state:
                self._scan(state)
                self._look_at(state.files)

    def sweep(self, see_to: Callable[[EntryFiles], None] | None = None) -> None:
        """Repair what events missed: new and vanished names, and bytes that nobody told of."""
        begun_s = self._clock()
        for state in list(self._entries.values()):
            if self._entries.get(state.entry.id) is state:
                (see_to or self._scan)(state)
                gevent.sleep(1e-6)
        self._look()
        self._events.scan_done(seconds=self._clock() - begun_s)

    def overflow(self) -> None:
        """The kernel dropped events: look at everything now."""
        self._events.inotify_overflow()
        if not self._sweep_planned:
            self._sweep_planned = True
            self._spawner.once("files-sweep-now", self._sweep_now)

    def _sweep_now(self) -> None:
        with self._sweeping.turn():
            self._sweep_planned = False
            self.sweep()

    def rescan_soon(self, state: EntryFiles) -> None:
        """Look at a whole entry, once for a burst of events."""
        if not state.rescan_planned:
            state.rescan_planned = True
            self._spawner.once("files-rescan", self._rescan, state)

    def rescan_services(self, services: Container[str]) -> None:
        """Look at all entries of some services."""
        for state in self._entries.values():
            if state.entry.service in services:
                self.rescan_soon(state)

    def _rescan(self, state: EntryFiles) -> None:
        # Where looking takes long and directories come and go all the time, it is not all that is done.
        pauses = WAITING_PAUSES if state.waiting else RESCAN_PAUSES
        gevent.sleep(max(RESCAN_DELAY_S, min(state.scan_s * pauses, self._rescan_s())))
        if self._entries.get(state.entry.id) is state:
            self._scan(state)
