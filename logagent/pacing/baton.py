# SPDX-License-Identifier: Apache-2.0
"""A lock that goes round in the order of asking; whoever lets go and asks again stands behind all others.

gevent's semaphore lets the greenlet that releases it take it again before the one that was woken runs, so one busy file
would keep its service's turn for ever.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import AsyncResult


class Baton:
    """Held by at most one greenlet."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[AsyncResult] = deque()

    @property
    def waiting(self) -> int:
        """How many greenlets stand in line."""
        return len(self._waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the baton, hold it for the block, hand it on."""
        self._acquire()
        try:
            yield
        finally:
            self._release()

    def _acquire(self) -> None:
        if not self._held:
            self._held = True
            return
        ticket = AsyncResult()
        self._waiting.append(ticket)
        try:
            ticket.get()
        except BaseException:
            # Killed while waiting: either still in line, or the baton had been given to us a moment before.
            if ticket.ready():
                self._release()
            else:
                self._waiting.remove(ticket)
            raise

    def _release(self) -> None:
        if self._waiting:
            self._waiting.popleft().set(None)
        else:
            self._held = False
