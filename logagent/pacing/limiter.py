# SPDX-License-Identifier: Apache-2.0
"""One service's rate: its files take turns, and the one whose turn it is waits. Blocks, never drops."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

from logagent.pacing.baton import Baton
from logagent.pacing.bucket import NS_PER_S, Bucket

RETUNE_CHECK_S = 0.5
"""A waiter looks again at least this often, so that a raised rate is felt within a second."""


class Limiter:
    """Shared by all files of a service. `lines_per_s=None` = unlimited."""

    def __init__(
        self,
        lines_per_s: float | None,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        on_wait: Callable[[float], None] = lambda _wait_s: None,
    ) -> None:
        self._now_ns = now_ns
        self._on_wait = on_wait
        self._baton = Baton()
        self._bucket = Bucket(lines_per_s, now_ns()) if lines_per_s is not None else None

    @property
    def unlimited(self) -> bool:
        """Whether nothing has to wait here."""
        return self._bucket is None

    def retune(self, lines_per_s: float | None) -> None:
        """Change the rate; who waits now feels it within a second."""
        if lines_per_s is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = Bucket(lines_per_s, self._now_ns())
        else:
            self._bucket.retune(self._now_ns(), lines_per_s)

    @contextmanager
    def turn(self) -> Iterator[int | None]:
        """Wait for this file's turn and for the rate; yields how many lines may go, None = as many as you like.

        Report what went with `spend` inside the block. Who cannot send after all just leaves: nothing is booked.
        """
        if self._bucket is None:
            yield None
            return
        with self._baton.turn():
            yield self._wait()

    def _wait(self) -> int | None:
        """Sleep until a line may go; the rate may change, or cease to be limited, meanwhile."""
        while (bucket := self._bucket) is not None:
            wait_ns = bucket.wait_ns(self._now_ns())
            if wait_ns <= 0:
                return bucket.slice_lines
            wait_s = min(wait_ns / NS_PER_S, RETUNE_CHECK_S)
            self._on_wait(wait_s)
            gevent.sleep(wait_s)
        return None

    def spend(self, lines: int) -> None:
        """Book lines that are on their way."""
        if self._bucket is not None:
            self._bucket.spend(self._now_ns(), lines)
