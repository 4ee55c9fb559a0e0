# SPDX-License-Identifier: Apache-2.0
"""The outlet to Kafka: takes segments, keeps memory within its budget, and hands what is due to a pool of senders."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import gevent
from gevent.event import AsyncResult, Event

from logagent.clock import MonotonicClock, WallClock
from logagent.kafka.connections import Cluster
from logagent.kafka.error_codes import describe
from logagent.kafka.metadata import NO_LEADER
from logagent.ops.events import Events
from logagent.pipeline.batch import Segment
from logagent.pipeline.outlet import Route
from logagent.senders.delivery import Delivery
from logagent.senders.directory import Directory, TopicState
from logagent.senders.graveyard import OWN_REFUSAL, Graveyard
from logagent.senders.lanes import MIN_FULL_BYTES, Job, Lane, Lanes, Schedule
from logagent.senders.leaders import Leaders
from logagent.senders.left_over import LeftOver
from logagent.senders.links import Links
from logagent.senders.notebook import Notebook
from logagent.senders.partition import State
from logagent.senders.producer import Producer
from logagent.senders.reasons import Reasons
from logagent.senders.retreat import Retreat
from logagent.senders.settings import SenderSettings
from logagent.senders.settler import Settler
from logagent.spawn import Spawner
from logagent.state.intents import IntentRecord, SegmentNote

STALL_CHECK_S = 1.0


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
        notebook: Notebook | None = None,
        on_delivered: Callable[[SegmentNote], None] = lambda _note: None,
        on_unknown: Callable[[SegmentNote], None] = lambda _note: None,
    ) -> None:
        """`notebook` None: at least once. The other two hear of lines of an earlier process that are not at hand."""
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._events = events
        self._spawner = spawner
        self._schedule = Schedule(settings.linger_s)
        self._wake = Event()
        self._idle: deque[AsyncResult] = deque()
        self._next_partition: dict[str, int] = {}
        self._greenlets: list[gevent.Greenlet] = []
        self._flushing = False
        self._never_full_bytes = min(settings.batch_bytes, MIN_FULL_BYTES)
        self.directory = Directory(
            cluster,
            on_change=self._metadata_changed,
            on_failure=lambda reason: events.metadata_failed(reason=reason),
            on_recovery=events.metadata_back,
            on_parked=lambda topic, code: events.topic_parked(
                topic=topic, code=code, reason=describe(code).sentence
            ),
            on_back=lambda topic: events.topic_back(topic=topic),
        )
        self.leaders = Leaders(
            cluster, self.directory, spawner=spawner, events=events, on_back=self._leader_back
        )
        self._lanes = Lanes(self.directory, settings.linger_s)
        self._retreat = Retreat(self._lanes, self.directory, self._schedule, wall)
        self._notebook = notebook
        self._producer = Producer(cluster, events, wall)
        self._graveyard = self._build_graveyard()
        self.reasons = Reasons(self._lanes, self.directory, self.leaders, self._graveyard, notebook, clock)
        self._settler = Settler(
            self._graveyard,
            notebook,
            released=self._lanes.released,
            renew=self._producer.renew,
            on_delivered=on_delivered,
            on_unknown=on_unknown,
            events=events,
            clock=clock,
        )
        self._links = Links(cluster, self.directory, self.leaders, clock)
        self._delivery = self._build_delivery(cluster, work_turn)

    def _build_graveyard(self) -> Graveyard:
        return Graveyard(
            self._settings.dead_letter,
            on_done=lambda segments: self._settler.done(segments),
            spawner=self._spawner,
            events=self._events,
            wall=self._wall,
            limit_bytes=self._settings.dead_letter_max_bytes,
            when_full=self._settings.dead_letter_full,
        )

    def _build_delivery(
        self, cluster: Cluster, work_turn: Callable[[], AbstractContextManager[None]]
    ) -> Delivery:
        return Delivery(
            cluster,
            self.directory,
            self._links,
            self._producer,
            self._settler,
            self._notebook,
            self._settings,
            events=self._events,
            clock=self._clock,
            work_turn=work_turn,
        )

    def start(self) -> None:
        """Start the pool; nothing waits for Kafka here."""
        self._greenlets = [
            self._spawner.forever("kafka-metadata", self.directory.run),
            self._spawner.forever("kafka-dispatch", self._dispatch),
            *([] if self._notebook is None else [self._spawner.forever("journal", self._notebook.run)]),
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
        busy = {lane.partition.topic for lane in self._lanes.busy}
        self.directory.forget(set(self.directory.topics) - names - busy)
        for key in [key for key in self._lanes.all if key[0] not in self.directory.topics]:
            self._lanes.all.pop(key).gone = True

    def stop(self) -> None:
        """Stop sending at once and close the connections."""
        gevent.killall(self._greenlets)
        self._links.close()

    @property
    def memory_bytes(self) -> int:
        """About what all lines between reading and acknowledgement hold in memory."""
        return self._lanes.memory_bytes

    @property
    def empty(self) -> bool:
        """Whether everything that was put has been acknowledged."""
        return not self._lanes.busy

    # -- what an earlier process left ---------------------------------------------------------------------------------

    def hold(self, record: IntentRecord) -> None:
        """A batch was on its way to the partition: nothing leaves for it before `adopt`. Lines may be put."""
        self.directory.topic(record.topic)
        lane = self._lanes.of(record.topic, record.partition)
        lane.partition.hold()
        self._lanes.busy[lane] = None
        self._events.intent_found(topic=record.topic, partition=record.partition, records=record.records)

    def adopt(self, left: LeftOver) -> None:
        """Find out what became of the batch, and send what is missing."""
        record = left.record
        lane, now_s = self._lanes.of(record.topic, record.partition), self._clock()
        partition = lane.partition
        action = left.hand_over(partition, now_s)
        self._lanes.memory_bytes += partition.memory_bytes - partition.open.memory_bytes
        if self._notebook is not None:
            self._notebook.adopt(record)
        self._settler.carry_out(partition, action)
        self._after(lane)

    # -- the side that reads ------------------------------------------------------------------------------------------

    def has_room(self, route: Route) -> bool:
        """Whether a segment may be put now."""
        lane = self._lane(route)
        return lane is not None and self._room_in(lane) and not self._graveyard.blocked(route.service)

    def wait_room(self, route: Route, timeout_s: float) -> str:
        """Block until a segment may be put: "" then; after `timeout_s`, why not."""
        deadline_s = self._clock() + timeout_s
        while True:
            lane = self._lane(route)
            left_s = deadline_s - self._clock()
            if lane is None:
                topic = self.directory.topic(route.topic)
                if left_s <= 0:
                    return self.reasons.why_unknown(topic)
                topic.known.wait(timeout=left_s)
                continue
            blocked = self._graveyard.blocked(route.service)
            if not blocked and self._room_in(lane):
                return ""
            if left_s <= 0:
                return blocked or self.reasons.why_full(lane)
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
        self._lanes.memory_bytes += segment.memory_bytes
        if first:
            self._lanes.busy[lane] = None
        if partition.state is State.IDLE and not lane.in_job:
            full = self._flushing or self._is_full(open_.size_bytes)
            if full or first:
                self._schedule.push(lane, 0.0 if full else open_.due_s)
                self._wake.set()

    def bury(self, route: Route, segment: Segment, reason: str, line_bytes: int) -> None:
        """Write the one record of a segment to the dead-letter file instead."""
        segment.source.acks.add(segment)
        self._lanes.memory_bytes += segment.memory_bytes
        self._graveyard.bury(segment, route.topic, OWN_REFUSAL, reason, line_bytes)

    # -- lanes --------------------------------------------------------------------------------------------------------

    def _lane(self, route: Route) -> Lane | None:
        known = route.place
        if isinstance(known, Lane) and not known.gone:
            return known
        topic = self.directory.topic(route.topic)
        if not topic.leaders:
            return None
        number = self._choose(route, topic)
        lane = self._lanes.of(route.topic, number)
        if route.partition is not None:
            route.place = lane
        return lane

    def _choose(self, route: Route, topic: TopicState) -> int:
        if self._settings.partitioner == "file":
            if route.partition is None or route.partition not in topic.leaders:
                route.partition = route.partition_key % len(topic.leaders)
            return route.partition
        first, count = self._next_partition.get(route.topic, 0), len(topic.leaders)
        for number in ((first + step) % count for step in range(count)):
            lane = self._lanes.all.get((route.topic, number))
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
        if self.leaders.trouble(lane.leader):
            return False
        # A partition that holds nothing may always take one chunk, so that a busy neighbour cannot shut it out.
        return self._lanes.memory_bytes < self._settings.budget_bytes or partition.empty

    def _is_full(self, open_bytes: int) -> bool:
        # The exact limit costs more to work out than a line to take.
        return open_bytes >= self._never_full_bytes and open_bytes >= self._full_bytes()

    def _full_bytes(self) -> int:
        share = self._settings.budget_bytes // (2 * max(1, len(self._lanes.busy)))
        return min(self._settings.batch_bytes, max(MIN_FULL_BYTES, share))

    def _metadata_changed(self) -> None:
        for lane in self._lanes.all.values():
            topic = self.directory.topics.get(lane.partition.topic)
            lane.leader = topic.leaders.get(lane.partition.number, NO_LEADER) if topic else NO_LEADER
            lane.room.set()
        self._schedule.reassign()
        self._wake.set()

    def _leader_back(self) -> None:
        for lane in self._lanes.all.values():
            lane.room.set()
        self._wake.set()

    # -- sending ------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """The greenlet that gives jobs to idle senders."""
        while True:
            self._wake.clear()
            now_s = self._clock()
            if self._flushing:
                for lane in self._lanes.busy:
                    if lane.partition.state is State.IDLE:
                        self._schedule.push(lane, 0.0)
            next_s = self._schedule.advance(now_s, 1 if self._flushing else self._full_bytes())
            for job in self._jobs():
                self._idle.popleft().set(job)
            self._delivery.look_for_the_gone(self._lanes.busy)
            self._retreat.look(now_s)
            timeout_s = next_s - self._clock() if next_s != float("inf") else None
            if self._lanes.busy:
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
                    for lane in self._lanes.busy
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
            self._lanes.busy.pop(lane, None)
        else:
            self._schedule.push(lane, partition.due_s(1 if self._flushing else self._full_bytes()))
        lane.room.set()
        self._wake.set()
