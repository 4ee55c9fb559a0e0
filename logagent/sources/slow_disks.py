# SPDX-License-Identifier: Apache-2.0
"""Finds out which disks let a reader wait, so that they are read in threads and never hold the event loop."""

import resource
from collections.abc import Callable
from typing import TypeVar

from logagent.clock import MonotonicClock

Result = TypeVar("Result")

SLOW_READ_S = 0.02
SUSPECT_S = 10.0
SLOW_FOR_S = 60.0


def voluntary_switches() -> int:
    """How often this thread has gone to sleep by itself, as it does when it waits for a disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class SlowDisks:
    """A long read alone proves nothing: on a busy machine the process may just not have had the processor.

    After one long read a device is under suspicion; a second one during which the thread went to sleep by itself proves
    it. After a minute the device gets another chance.
    """

    def __init__(self, clock: MonotonicClock, switches: Callable[[], int] = voluntary_switches) -> None:
        self._clock = clock
        self._switches = switches
        self._suspect_until_s: dict[int, float] = {}
        self._slow_until_s: dict[int, float] = {}
        self._calm_from_s = float("-inf")

    def is_slow(self, device: int) -> bool:
        """Whether files of this device should be read in a thread."""
        return bool(self._slow_until_s) and self._slow_until_s.get(device, 0.0) > self._clock()

    def calm(self, now_s: float) -> bool:
        """Whether no device is under suspicion."""
        return now_s >= self._calm_from_s

    def sleeps(self, now_s: float) -> int:
        """How often the thread went to sleep by itself, to be compared later; asked only if it matters."""
        return 0 if self.calm(now_s) else self._switches()

    def late(self, device: int, begun_s: float, *, slept: bool) -> None:
        """A read that began then took long; `slept`: the thread went to sleep by itself meanwhile."""
        if slept and self._suspect_until_s.get(device, 0.0) > begun_s:
            self._slow_until_s[device] = begun_s + SLOW_FOR_S
        self._suspect_until_s[device] = begun_s + SUSPECT_S
        self._calm_from_s = max(self._calm_from_s, begun_s + SUSPECT_S)

    def timed(self, device: int, read: Callable[..., Result], *args: int | bool) -> Result:
        """What `read(*args)` gives, with a watch on the time it takes."""
        begun_s = self._clock()
        suspect = bool(self._suspect_until_s) and self._suspect_until_s.get(device, 0.0) > begun_s
        switches = self._switches() if suspect else 0
        data = read(*args)
        if self._clock() - begun_s > SLOW_READ_S:
            self.late(device, begun_s, slept=suspect and self._switches() > switches)
        return data
