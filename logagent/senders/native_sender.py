# SPDX-License-Identifier: Apache-2.0
"""The outlet to Kafka: takes segments, keeps memory within its budget, and hands what is due to a pool of senders."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent.event import AsyncResult, Event

from logagent.clock import MonotonicClock, WallClock
from logagent.kafka.connections import Cluster
from logagent.kafka.error_codes import describe
from logagent.kafka.metadata import NO_LEADER
from logagent.ops.events import Events
from logagent.pipeline.batch import Segment
from logagent.pipeline.outlet import Route
from logagent.senders.delivery import OWN_REFUSAL, Delivery
from logagent.senders.directory import Directory, TopicState
from logagent.senders.lanes import MIN_FULL_BYTES, Job, Lane, Schedule
from logagent.senders.leaders import Leaders
from logagent.senders.partition import Partition, State
from logagent.spawn import Spawner

STALL_CHECK_S = 1.0
MAX_REASONS = 20


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """What the operator can turn. `budget_bytes` bounds the memory of lines between reading and acknowledgement."""

    thread_num: int
    linger_s: float
    batch_bytes: int
    partitioner: str
    budget_bytes: int
    dead_letter: Path


class NativeSender:
    """`pipeline.outlet.Outlet` over the own Kafka path."""

    def __init__(
        self,
        settings: SenderSettings,
        cluster: Cluster,
        *,
        spawner: Spawner,
        events: Events,
        clock: MonotonicClock,
        wall: WallClock,
        work_turn: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._events = events
        self._spawner = spawner
        self._schedule = Schedule(settings.linger_s)
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._busy: dict[Lane, None] = {}
        self._wake = Event()
        self._idle: deque[AsyncResult] = deque()
        self._next_partition: dict[str, int] = {}
        self._greenlets: list[gevent.Greenlet] = []
        self._flushing = False
        self._never_full_bytes = min(settings.batch_bytes, MIN_FULL_BYTES)
        self.memory_bytes = 0
        self.directory = Directory(
            cluster,
            on_change=self._metadata_changed,
            on_failure=lambda reason: events.metadata_failed(reason=reason),
            on_recovery=events.metadata_back,
            on_parked=self._parked,
            on_back=lambda topic: events.topic_back(topic=topic),
        )
        self.leaders = Leaders(
            cluster, self.directory, spawner=spawner, events=events, on_back=self._leader_back
        )
        self._delivery = Delivery(
            cluster,
            self.directory,
            self.leaders,
            settings,
            events=events,
            spawner=spawner,
            clock=clock,
            wall=wall,
            work_turn=work_turn,
            released=self._released,
        )

    def start(self) -> None:
        """Start the pool; nothing waits for Kafka here."""
        self._greenlets = [
            self._spawner.forever("kafka-metadata", self.directory.run),
            self._spawner.forever("kafka-dispatch", self._dispatch),
            *(
                self._spawner.forever(f"kafka-sender-{slot}", self._send_jobs, slot)
                for slot in range(self._settings.thread_num)
            ),
        ]

    def flush(self) -> None:
        """Send what is open without waiting for batches to fill or linger (used at stop)."""
        self._flushing = True
        self._wake.set()

    def keep_topics(self, names: set[str]) -> None:
        """Forget topics that no entry names any more, once nothing for them is on its way.

        Brokers create topics that are asked for: one that was deleted must not come back because of old metadata.
        """
        busy = {lane.partition.topic for lane in self._busy}
        self.directory.forget(set(self.directory.topics) - names - busy)
        for key in [key for key in self._lanes if key[0] not in self.directory.topics]:
            self._lanes.pop(key).gone = True

    def stop(self) -> None:
        """Stop sending at once and close the connections."""
        gevent.killall(self._greenlets)
        self._delivery.close()

    @property
    def empty(self) -> bool:
        """Whether everything that was put has been acknowledged."""
        return not self._busy

    def topic_reasons(self) -> list[str]:
        """Why topics in use cannot be sent to, for health and status."""
        parked = {lane.partition.parked_reason for lane in self._busy if lane.partition.parked_reason}
        refused = {state.refusal for state in self.directory.topics.values() if state.attempts > 1}
        return sorted(parked | refused)

    def dead_letter_reasons(self) -> list[str]:
        """Why refused records cannot be put aside, for health and status."""
        failure = self._delivery.dead_letter_failure
        return [failure] if failure else []

    def partition_reasons(self) -> list[str]:
        """Why partitions in use get no acknowledgements, for health and status."""
        now_s = self._clock()
        failing = [lane for lane in self._lanes.values() if lane.leader < 0 or lane.partition.failing(now_s)]
        return sorted({self._why_full(lane) for lane in failing})[:MAX_REASONS]

    # -- the side that reads ------------------------------------------------------------------------------------------

    def has_room(self, route: Route) -> bool:
        """Whether a segment may be put now."""
        lane = self._lane(route)
        return lane is not None and self._room_in(lane)

    def wait_room(self, route: Route, timeout_s: float) -> str:
        """Block until a segment may be put: "" then; after `timeout_s`, why not."""
        deadline_s = self._clock() + timeout_s
        while True:
            lane = self._lane(route)
            left_s = deadline_s - self._clock()
            if lane is None:
                topic = self.directory.topic(route.topic)
                if left_s <= 0:
                    return self._why_unknown(topic)
                topic.known.wait(timeout=left_s)
                continue
            if self._room_in(lane):
                return ""
            if left_s <= 0:
                return self._why_full(lane)
            lane.room.clear()
            lane.room.wait(timeout=left_s)

    def put(self, route: Route, segment: Segment) -> None:
        """Take a segment; the caller asked for room just before, in the same breath."""
        segment.source.acks.add(segment)
        if segment.done:
            segment.source.acked(0)
            return
        lane = self._lane(route)
        if lane is None:
            raise ValueError(f"put without room: {route}")
        partition, open_ = lane.partition, lane.partition.open
        first = open_.empty
        open_.add(segment, self._clock() if first else 0.0, int(self._wall() * 1000) if first else 0)
        self.memory_bytes += segment.memory_bytes
        if first:
            self._busy[lane] = None
        if partition.state is State.IDLE and not lane.in_job:
            full = self._flushing or self._is_full(open_.size_bytes)
            if full or first:
                self._schedule.push(lane, 0.0 if full else open_.due_s)
                self._wake.set()

    def bury(self, route: Route, segment: Segment, reason: str, line_bytes: int) -> None:
        """Write the one record of a segment to the dead-letter file instead."""
        segment.source.acks.add(segment)
        self.memory_bytes += segment.memory_bytes
        self._delivery.bury(segment, route.topic, OWN_REFUSAL, reason, line_bytes)

    # -- lanes --------------------------------------------------------------------------------------------------------

    def _lane(self, route: Route) -> Lane | None:
        known = route.place
        if isinstance(known, Lane) and not known.gone:
            return known
        topic = self.directory.topic(route.topic)
        if not topic.leaders:
            return None
        number = self._choose(route, topic)
        lane = self._lanes.get((route.topic, number))
        if lane is None:
            lane = self._lanes[route.topic, number] = Lane(
                Partition(route.topic, number, self._settings.linger_s)
            )
            lane.leader = topic.leaders.get(number, NO_LEADER)
        if route.partition is not None:
            route.place = lane
        return lane

    def _choose(self, route: Route, topic: TopicState) -> int:
        if self._settings.partitioner == "file":
            if route.partition is None:
                route.partition = route.partition_key % len(topic.leaders)
            return route.partition
        first, count = self._next_partition.get(route.topic, 0), len(topic.leaders)
        for number in ((first + step) % count for step in range(count)):
            lane = self._lanes.get((route.topic, number))
            if topic.leaders.get(number, NO_LEADER) >= 0 and (lane is None or self._room_in(lane)):
                return number
        return first % count

    def _spread(self, lane: Lane) -> None:
        """A batch leaves: with round_robin or random the next one of its topic goes to another partition."""
        topic, number = lane.partition.topic, lane.partition.number
        if self._settings.partitioner == "round_robin":
            self._next_partition[topic] = number + 1
        elif self._settings.partitioner == "random":
            self._next_partition[topic] = random.getrandbits(16)

    def _room_in(self, lane: Lane) -> bool:
        partition = lane.partition
        if self._is_full(partition.open.size_bytes):
            return False
        if partition.unacked_since_s != float("inf") and partition.failing(self._clock()):
            return False
        if self.leaders.trouble(lane.leader) or self._delivery.dead_letter_failure:
            return False
        # A partition that holds nothing may always take one chunk, so that a busy neighbour cannot shut it out.
        return self.memory_bytes < self._settings.budget_bytes or partition.empty

    def _is_full(self, open_bytes: int) -> bool:
        # The exact limit costs more to work out than a line to take.
        return open_bytes >= self._never_full_bytes and open_bytes >= self._full_bytes()

    def _full_bytes(self) -> int:
        share = self._settings.budget_bytes // (2 * max(1, len(self._busy)))
        return min(self._settings.batch_bytes, max(MIN_FULL_BYTES, share))

    def _why_unknown(self, topic: TopicState) -> str:
        if self.directory.failure:
            return f"Kafka does not answer: {self.directory.failure}"
        return topic.refusal or "waiting for the topic's metadata"

    def _why_full(self, lane: Lane) -> str:
        partition = lane.partition
        if partition.parked_reason or self._delivery.dead_letter_failure:
            return partition.parked_reason or self._delivery.dead_letter_failure
        trouble = self.leaders.trouble(lane.leader)
        if trouble:
            return f"{partition.topic}-{partition.number}: {trouble}" if lane.leader < 0 else trouble
        if partition.failing(self._clock()):
            waited_s = self._clock() - partition.unacked_since_s
            return f"{partition.topic}-{partition.number} has not acknowledged for {waited_s:.0f} s"
        return f"{partition.topic}-{partition.number} is busy"

    def _metadata_changed(self) -> None:
        for lane in self._lanes.values():
            topic = self.directory.topics.get(lane.partition.topic)
            lane.leader = topic.leaders.get(lane.partition.number, NO_LEADER) if topic else NO_LEADER
            lane.room.set()
        self._schedule.reassign()
        self._wake.set()

    def _parked(self, topic: str, code: int) -> None:
        self._events.topic_parked(topic=topic, code=code, reason=describe(code).sentence)

    def _leader_back(self) -> None:
        for lane in self._lanes.values():
            lane.room.set()
        self._wake.set()

    # -- sending ------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """The greenlet that gives jobs to idle senders."""
        while True:
            self._wake.clear()
            now_s = self._clock()
            if self._flushing:
                for lane in self._busy:
                    if lane.partition.state is State.IDLE:
                        self._schedule.push(lane, 0.0)
            next_s = self._schedule.advance(now_s, 1 if self._flushing else self._full_bytes())
            for job in self._jobs():
                self._idle.popleft().set(job)
            self._drop_stalled(now_s)
            timeout_s = next_s - self._clock() if next_s != float("inf") else None
            if self._busy:
                timeout_s = STALL_CHECK_S if timeout_s is None else min(timeout_s, STALL_CHECK_S)
            self._wake.wait(timeout=None if timeout_s is None else max(timeout_s, 1e-6))

    def _jobs(self) -> Iterable[Job]:
        for leader in self._schedule.leaders():
            if not self._idle:
                return
            if leader < 0:
                self.directory.refresh_soon()
                continue
            if not self.leaders.usable(leader):
                continue
            lanes = [self._reserve(lane) for lane in self._schedule.take(leader) if not lane.in_job]
            if not lanes:
                continue
            if not lanes[0].partition.alone:
                now_s = self._clock()
                lanes += [
                    self._reserve(lane)
                    for lane in self._busy
                    if lane.leader == leader and self._schedule.soon(lane, now_s)
                ]
            yield Job(leader, tuple(lanes))

    def _reserve(self, lane: Lane) -> Lane:
        lane.in_job = True
        self._spread(lane)
        return lane

    def _send_jobs(self, slot: int) -> None:
        """A greenlet of the pool."""
        while True:
            ticket = AsyncResult()
            self._idle.append(ticket)
            self._wake.set()
            try:
                job: Job = ticket.get()
            except BaseException:
                if not ticket.ready():
                    self._idle.remove(ticket)
                raise
            try:
                self._delivery.send(slot, job.leader, job.lanes)
            finally:
                for lane in job.lanes:
                    self._after(lane)

    def _after(self, lane: Lane) -> None:
        """A lane is back from its request."""
        partition = lane.partition
        lane.in_job = False
        if partition.state is State.IN_FLIGHT:
            # The sender failed in an unforeseen way; whether the broker has the batch is not known.
            partition.unanswered(self._clock())
        if partition.empty:
            self._busy.pop(lane, None)
        else:
            self._schedule.push(lane, partition.due_s(1 if self._flushing else self._full_bytes()))
        lane.room.set()
        self._wake.set()

    def _released(self, memory_bytes: int) -> None:
        self.memory_bytes -= memory_bytes

    def _drop_stalled(self, now_s: float) -> None:
        """Partitions that fail keep only the batch on its way: their files are read again from there later."""
        for lane in list(self._busy):
            partition = lane.partition
            if partition.open.empty or not partition.failing(now_s):
                continue
            kept = [
                segment for segment in reversed(partition.give_back_open()) if not self._give_back(segment)
            ]
            for segment in reversed(kept):
                partition.open.add(segment, now_s, int(self._wall() * 1000))
            if partition.empty:
                del self._busy[lane]

    def _give_back(self, segment: Segment) -> bool:
        """Drop a segment that can be read again; False if not: its bytes are gone, or newer ones are on their way."""
        source = segment.source
        if not source.readable_again or not source.acks.take_back(segment):
            return False
        self.memory_bytes -= segment.memory_bytes
        source.rewind(segment.start_offset)
        return True
