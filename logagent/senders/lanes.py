# SPDX-License-Identifier: Apache-2.0
"""The partitions in use, which of them have something to send and when, grouped by the broker that leads them."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from gevent.event import Event

from logagent.kafka.metadata import NO_LEADER
from logagent.senders.directory import Directory
from logagent.senders.partition import Partition, State

TAKE_ALONG_SHARE = 0.5
"""A request takes along partitions of its leader that have waited at least this share of their linger."""

MIN_FULL_BYTES = 64 * 1024


class Lane:
    """A partition, the broker that leads it, and the greenlets that wait for room in it.

    `in_job`: a sender has it in hand, from choosing it until its answer is settled; nobody else may choose it. `gone`:
    its topic is used no more.
    """

    __slots__ = ("gone", "in_job", "leader", "partition", "room")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.leader = NO_LEADER
        self.in_job = False
        self.gone = False
        self.room = Event()


class Lanes:
    """All lanes by topic and number; those of them that are `busy`; and about what their lines hold in memory."""

    def __init__(self, directory: Directory, linger_s: float) -> None:
        self._directory = directory
        self._linger_s = linger_s
        self.all: dict[tuple[str, int], Lane] = {}
        self.busy: dict[Lane, None] = {}
        self.memory_bytes = 0

    def of(self, topic: str, number: int) -> Lane:
        """The lane of a partition, made when it is first asked for."""
        lane = self.all.get((topic, number))
        if lane is None:
            lane = self.all[topic, number] = Lane(Partition(topic, number, self._linger_s))
            lane.leader = self._directory.topic(topic).leaders.get(number, NO_LEADER)
        return lane

    def released(self, memory_bytes: int) -> None:
        """So much is not held any more."""
        self.memory_bytes -= memory_bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One request to one broker."""

    leader: int
    lanes: tuple[Lane, ...]


class Schedule:
    """Lanes ordered by when they are due. Leaders take turns."""

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        self._heap: list[tuple[float, int, Lane]] = []
        self._order = count()
        self._ready: dict[int, dict[Lane, None]] = {}

    def push(self, lane: Lane, due_s: float) -> None:
        """Look at the lane again at `due_s`. Pushing twice is harmless."""
        if due_s != float("inf"):
            heapq.heappush(self._heap, (due_s, next(self._order), lane))

    def advance(self, now_s: float, full_bytes: int) -> float:
        """Move what is due to its leader's ready list; returns when the next one is due."""
        heap = self._heap
        while heap and heap[0][0] <= now_s:
            lane = heapq.heappop(heap)[2]
            due_s = lane.partition.due_s(full_bytes)
            if due_s <= now_s:
                self._ready.setdefault(lane.leader, {})[lane] = None
            elif due_s != float("inf") and not (heap and heap[0][2] is lane and heap[0][0] <= due_s):
                self.push(lane, due_s)
        return heap[0][0] if heap else float("inf")

    def reassign(self) -> None:
        """Leaders may have changed: sort what is ready again."""
        lanes = [lane for ready in self._ready.values() for lane in ready]
        self._ready.clear()
        for lane in lanes:
            self._ready.setdefault(lane.leader, {})[lane] = None

    def leaders(self) -> Iterator[int]:
        """Brokers for which something is ready, the one served longest ago first."""
        return iter(list(self._ready))

    def has_ready(self, leader: int) -> bool:
        """Whether something is ready for that broker."""
        return bool(self._ready.get(leader))

    def take(self, leader: int) -> list[Lane]:
        """The ready lanes of a leader that share the next request; the leader goes to the end of the line.

        A lane that must travel alone does so when it stands first, else it waits for the next request.
        """
        lanes = self._ready.pop(leader, {})
        if not lanes:
            return []
        first = next(iter(lanes))
        taken = [first] if first.partition.alone else [lane for lane in lanes if not lane.partition.alone]
        for lane in taken:
            del lanes[lane]
        if lanes:
            self._ready[leader] = lanes
        return taken

    def soon(self, lane: Lane, now_s: float) -> bool:
        """Whether a lane that is not due yet may travel along with a request that leaves now."""
        partition = lane.partition
        if lane.in_job or partition.state is not State.IDLE or partition.alone:
            return False
        return partition.open.due_s - now_s <= self._linger_s * (1.0 - TAKE_ALONG_SHARE)
