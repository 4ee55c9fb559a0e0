# SPDX-License-Identifier: Apache-2.0
"""Things that want to be looked at when a time has come. Pure; the latest time set for a thing holds."""

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from logagent.clock import MonotonicClock

Thing = TypeVar("Thing", bound=Hashable)


class Deadlines(Generic[Thing]):
    """`on_sooner` is called when a wait that was begun with `wait_s` would be too long now."""

    def __init__(self, clock: MonotonicClock) -> None:
        self._clock = clock
        self._due_s: dict[Thing, float] = {}
        self._heap: list[tuple[float, int, Thing]] = []
        self._number = 0
        self.on_sooner: Callable[[], None] = lambda: None

    def set(self, thing: Thing, at_s: float) -> None:
        """Look at the thing at this time, and not at the one set before."""
        waits = thing in self._due_s
        self._due_s[thing] = at_s
        if waits:
            return  # its place in the heap is moved when it comes up
        self._push(thing, at_s)
        if self._heap[0][2] is thing:
            self.on_sooner()

    def wait_s(self) -> float | None:
        """How long until there is something to look at; None when nothing is set."""
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    def passed(self) -> list[Thing]:
        """The things whose time has come; they are forgotten."""
        now_s = self._clock()
        things: list[Thing] = []
        while self._heap and self._heap[0][0] <= now_s:
            thing = heapq.heappop(self._heap)[2]
            if self._due_s[thing] > now_s:
                self._push(thing, self._due_s[thing])
                continue
            del self._due_s[thing]
            things.append(thing)
        return things

    def _push(self, thing: Thing, at_s: float) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at_s, self._number, thing))
