# SPDX-License-Identifier: Apache-2.0
"""Shares the one thread between files and everything else: at most 1 ms of work per pass of the event loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

from logagent.pacing.baton import Baton

PASS_BUDGET_S = 0.001

REST_S = 1e-6
"""A real timer, so that the loop looks at sockets and timers. `sleep(0)` would starve them for some fifty switches."""


class Turnstile:
    """Greenlets take turns in the order of asking."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._baton = Baton()
        self._used_s = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do a short piece of work (a read, a batch) inside; never wait for anything else there."""
        with self._baton.turn():
            if self._used_s >= PASS_BUDGET_S:
                gevent.sleep(REST_S)
                self._used_s = 0.0
            begun_s = self._clock()
            try:
                yield
            finally:
                self._used_s += self._clock() - begun_s
