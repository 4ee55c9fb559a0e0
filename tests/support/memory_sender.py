# SPDX-License-Identifier: Apache-2.0
"""An outlet whose Kafka is a list per partition: what tests put in place of the native sender."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from gevent.event import Event

from logagent.pipeline.batch import Segment
from logagent.pipeline.outlet import Route
from logagent.spawn import Spawner


class Arrived(NamedTuple):
    """One record as a reader sees it; the headers as one encoded block."""

    key: bytes | None
    value: bytes
    headers: bytes | None


class MemorySender:
    """`pipeline.outlet.Outlet`: delivers what is older than the linger, or full, or everything once it is flushed."""

    def __init__(
        self, *, spawner: Spawner, partitions: int, budget_bytes: int, linger_s: float, batch_bytes: int
    ) -> None:
        self.topics: dict[str, dict[int, list[Arrived]]] = defaultdict(
            lambda: {number: [] for number in range(partitions)}
        )
        self.refused: dict[str, str] = {}
        """Topics that nobody may write, and why."""
        self.buried: list[bytes] = []
        self.memory_bytes = 0
        self._partitions, self._budget_bytes = partitions, budget_bytes
        self._linger_s, self._batch_bytes = linger_s, batch_bytes
        self._open: dict[tuple[str, int], list[Segment]] = defaultdict(list)
        self._spawner = spawner
        self._flushing = self._held = False
        self._wake, self._room, self._more = Event(), Event(), Event()

    def start(self) -> None:
        self._greenlet = self._spawner.forever("memory-sender", self._run)

    def stop(self) -> None:
        self._greenlet.kill()

    def flush(self) -> None:
        self._flushing = True
        self._wake.set()
        self._more.set()

    @property
    def empty(self) -> bool:
        return not any(self._open.values())

    def hold(self) -> None:
        """Nothing arrives any more, as when Kafka is away."""
        self._held = True

    def let_go(self) -> None:
        self._held = False
        self._wake.set()

    # -- Outlet -----------------------------------------------------------------------------------------------------

    def has_room(self, route: Route) -> bool:
        return route.topic not in self.refused and self._room_in(self._open[self._place(route)])

    def wait_room(self, route: Route, timeout_s: float) -> str:
        if reason := self.refused.get(route.topic):
            Event().wait(timeout_s)
            return reason
        while not self.has_room(route):
            self._room.clear()
            if not self._room.wait(timeout_s):
                return f"{route.topic}-{route.partition} is busy"
        return ""

    def put(self, route: Route, segment: Segment) -> None:
        segment.source.acks.add(segment)
        if segment.done:
            segment.source.acked(0)
            return
        self._open[self._place(route)].append(segment)
        self.memory_bytes += segment.memory_bytes
        self._wake.set()
        if self._size(self._place(route)) >= self._batch_bytes:
            self._more.set()

    def bury(self, route: Route, segment: Segment, reason: str, line_bytes: int) -> None:
        segment.source.acks.add(segment)
        self.buried += segment.values
        self.memory_bytes += segment.memory_bytes
        self._settle(segment)

    # -- the way there ----------------------------------------------------------------------------------------------

    def _place(self, route: Route) -> tuple[str, int]:
        if route.partition is None:
            route.partition = route.partition_key % self._partitions
        return route.topic, route.partition

    def _size(self, place: tuple[str, int]) -> int:
        return sum(segment.size_bytes for segment in self._open[place])

    def _room_in(self, segments: list[Segment]) -> bool:
        full = sum(segment.size_bytes for segment in segments) >= self._batch_bytes
        return not full and (self.memory_bytes < self._budget_bytes or not segments)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if not self._flushing:
                self._more.wait(self._linger_s)
                self._more.clear()
            if not self._held:
                self._deliver()

    def _deliver(self) -> None:
        for (topic, number), segments in self._open.items():
            for segment in segments:
                headers: Sequence[bytes | None] = segment.headers or [None] * len(segment.values)
                rows = zip(segment.values, headers, strict=True)
                self.topics[topic][number] += [Arrived(segment.key, value, block) for value, block in rows]
                self._settle(segment)
            segments.clear()
        self._room.set()

    def _settle(self, segment: Segment) -> None:
        segment.done = True
        self.memory_bytes -= segment.memory_bytes
        segment.source.acks.advance()
        segment.source.acked(len(segment.values))
