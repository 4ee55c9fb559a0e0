# SPDX-License-Identifier: Apache-2.0
"""Looks again at what events may have missed: at an entry when directories changed, at everything now and then."""

from collections.abc import Callable, Mapping

import gevent

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.sources.watches import EntryFiles
from logagent.spawn import Spawner

RESCAN_DELAY_S = 0.05
POLL_S = 1.0


class Sweeper:
    """`scan(entry)` looks for the files of an entry, `check(entry)` does if something may have changed, `look()` looks
    for bytes that nobody told of.
    """

    def __init__(
        self,
        entries: Mapping[tuple[str, str], EntryFiles],
        *,
        rescan_s: Callable[[], float],
        scan: Callable[[EntryFiles], None],
        check: Callable[[EntryFiles], None],
        look: Callable[[], None],
        spawner: Spawner,
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._entries = entries
        self._rescan_s = rescan_s
        self._scan = scan
        self._check = check
        self._look = look
        self._spawner = spawner
        self._events = events
        self._clock = clock

    def run(self) -> None:
        """The greenlet."""
        while True:
            polled = any(state.polled for state in self._entries.values())
            rescan_s = self._rescan_s()
            gevent.sleep(min(POLL_S, rescan_s) if polled else rescan_s)
            self.sweep(self._check)

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
        self._spawner.once("files-sweep-now", self.sweep)

    def rescan_soon(self, state: EntryFiles) -> None:
        """Look at a whole entry, once for a burst of events."""
        if not state.rescan_planned:
            state.rescan_planned = True
            self._spawner.once("files-rescan", self._rescan, state)

    def rescan_service(self, service: str) -> None:
        """Look at all entries of a service."""
        for state in self._entries.values():
            if state.entry.service == service:
                self.rescan_soon(state)

    def _rescan(self, state: EntryFiles) -> None:
        gevent.sleep(RESCAN_DELAY_S)
        if self._entries.get(state.entry.id) is state:
            self._scan(state)
