# SPDX-License-Identifier: Apache-2.0
"""One request: build the batches, send them to their leader, and act on the answer for each partition."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Protocol

import gevent

from logagent.backoff import Backoff
from logagent.clock import MonotonicClock, WallClock
from logagent.errors import BrokerUnavailable, KafkaError, ProtocolViolation
from logagent.kafka import record_batch, requests
from logagent.kafka.connections import Cluster, Connection
from logagent.kafka.error_codes import UNKNOWN_TOPIC_OR_PARTITION, describe
from logagent.ops.events import Events
from logagent.pacing.baton import Baton
from logagent.pipeline.batch import Batch, Segment
from logagent.senders import dead_letter
from logagent.senders.directory import Directory
from logagent.senders.lanes import Lane
from logagent.senders.leaders import Leaders
from logagent.senders.partition import Partition, Verdict
from logagent.spawn import Spawner, in_thread

PRODUCE_TIMEOUT_MS = 5000
ANSWER_TIMEOUT_S = 8.0
IDLE_CONNECTION_S = 60.0
REQUEST_BYTES = 4 * 1024 * 1024
"""A request takes no further partition beyond this size; it bounds what is held encoded."""

AGAIN = Backoff(first_s=0.1, limit_s=1.0)
DEAD_LETTER_AGAIN = Backoff(first_s=1.0, limit_s=30.0)
UNKNOWN_TOPIC_PARKS_AFTER = 8
OWN_REFUSAL = -1
"""Stands in the dead-letter file for the number of a broker's error where no broker was asked."""


class DeliverySettings(Protocol):
    """The part of the sender's settings that is needed here."""

    @property
    def batch_bytes(self) -> int: ...
    @property
    def dead_letter(self) -> Path: ...


class Delivery:
    """Sends jobs; called by the pool's greenlets, each with its own slot of connections."""

    def __init__(
        self,
        cluster: Cluster,
        directory: Directory,
        leaders: Leaders,
        settings: DeliverySettings,
        *,
        events: Events,
        spawner: Spawner,
        clock: MonotonicClock,
        wall: WallClock,
        work_turn: Callable[[], AbstractContextManager[None]],
        released: Callable[[int], None],
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._leaders = leaders
        self._settings = settings
        self._events = events
        self._spawner = spawner
        self._clock = clock
        self._wall = wall
        self._work_turn = work_turn
        self._released = released
        self._connections: dict[tuple[int, int], tuple[Connection, float]] = {}
        self._failed_s: dict[int, float] = {}
        self._producer: tuple[int, int] | None = None
        self._producer_baton = Baton()
        self.dead_letter_failure = ""

    def close(self) -> None:
        """Close every connection."""
        for connection, _ in self._connections.values():
            connection.close()
        self._connections.clear()

    def send(self, slot: int, leader: int, lanes: Sequence[Lane]) -> None:
        """Send one request with a batch of each lane and act on the answer. Returns when all lanes are settled."""
        try:
            connection = self._connect(slot, leader)
        except KafkaError as error:
            self._leaders.failed(leader, _address(error), _reason(error))
            for lane in lanes:
                lane.partition.not_sent(self._clock())
            return
        producer_id, epoch = self._producer_id()
        frame, batches = self._build(lanes, producer_id, epoch)
        if not batches:
            return
        started_s = self._clock()
        try:
            answer = connection.call(frame, ANSWER_TIMEOUT_S)
            results = {
                (result.topic, result.partition): result.code
                for result in requests.parse_produce(answer, str(connection.address))
            }
        except KafkaError as error:
            connection.close()
            self._connections.pop((slot, leader), None)
            self._failed_s[leader] = self._clock()
            self._leaders.failed(leader, _address(error), _reason(error))
            for lane, _ in batches:
                lane.partition.unanswered(self._clock())
            return
        self._connections[slot, leader] = connection, self._clock()
        took_s = self._clock() - started_s
        for lane, batch in batches:
            code = results.get((lane.partition.topic, lane.partition.number))
            if code is None:
                lane.partition.unanswered(self._clock())
            else:
                self._settle(lane, batch, code, took_s)

    # -- before -------------------------------------------------------------------------------------------------------

    def _connect(self, slot: int, leader: int) -> Connection:
        connection, used_s = self._connections.get((slot, leader), (None, 0.0))
        address = self._directory.brokers.get(leader)
        if connection is not None:
            # Brokers and what lies between close idle connections; a moved broker has another address; and where one
            # connection failed, the others of that time are dead too.
            fresh = used_s > max(self._clock() - IDLE_CONNECTION_S, self._failed_s.get(leader, 0.0))
            if fresh and connection.address == address and connection.connected:
                return connection
            connection.close()
            del self._connections[slot, leader]
        connection = self._cluster.connect(leader)
        self._connections[slot, leader] = connection, self._clock()
        return connection

    def _producer_id(self) -> tuple[int, int]:
        """The id under which new batches go; asks for one until some broker gives it."""
        attempt = 0
        with self._producer_baton.turn():
            while self._producer is None:
                try:
                    given = self._cluster.init_producer_id()
                    self._producer = given.id, given.epoch
                except KafkaError as error:
                    # Never without an id: the lines would be accepted and every resend would double them.
                    self._events.metadata_failed(reason=str(error))
                    gevent.sleep(AGAIN.delay_s(attempt))
                    attempt += 1
            if attempt:
                self._events.metadata_back()
            return self._producer

    def _build(
        self, lanes: Sequence[Lane], producer_id: int, epoch: int
    ) -> tuple[bytes, list[tuple[Lane, Batch]]]:
        """The request and what is in it. Lanes with nothing to send, or for which there is no room, are let go."""
        topics: dict[str, list[tuple[int, bytes]]] = {}
        batches: list[tuple[Lane, Batch]] = []
        size_bytes = 0
        for lane in lanes:
            partition = lane.partition
            if size_bytes >= REQUEST_BYTES:
                partition.not_sent(self._clock())
                continue
            batch = partition.take(self._settings.batch_bytes, self._clock())
            if batch is None:
                partition.not_sent(self._clock())
                continue
            partition.stamp(batch, producer_id, epoch)
            with self._work_turn():
                encoded = _encode(batch)
            size_bytes += len(encoded)
            topics.setdefault(partition.topic, []).append((partition.number, encoded))
            batches.append((lane, batch))
        if not batches:
            return b"", batches
        return self._cluster.writer.produce(topics, timeout_ms=PRODUCE_TIMEOUT_MS), batches

    # -- after --------------------------------------------------------------------------------------------------------

    def _settle(self, lane: Lane, batch: Batch, code: int, took_s: float) -> None:
        partition = lane.partition
        topic, number = partition.topic, partition.number
        was_parked = bool(partition.parked_reason)
        verdict = partition.answered(code, self._clock(), int(self._wall() * 1000))
        if verdict is Verdict.ACKED:
            self._done(batch.segments)
            if was_parked:
                self._events.topic_back(topic=topic)
            self._events.batch_sent(
                topic=topic, records=batch.records, bytes_=batch.size_bytes, seconds=took_s
            )
        elif verdict is Verdict.SPLIT:
            self._events.batch_split(topic=topic, partition=number, records=batch.records)
        elif verdict is Verdict.DEAD_LETTER:
            self.bury(batch.segments[0], topic, code, describe(code).sentence, None)
        elif verdict is Verdict.RESTAMP:
            self._events.batch_restamped(topic=topic, partition=number)
        elif verdict is Verdict.NEW_PRODUCER:
            if self._producer == (batch.producer_id, batch.producer_epoch):
                self._producer = None
            self._events.producer_id_renewed(topic=topic, partition=number, code=code)
        else:
            self._try_again(partition, batch, code, parked=verdict is Verdict.PARK)

    def _try_again(self, partition: Partition, batch: Batch, code: int, *, parked: bool) -> None:
        """The batch stays where it is, and its positions too."""
        self._directory.refresh_soon()
        topic, reason = partition.topic, describe(code).sentence
        if parked or (code == UNKNOWN_TOPIC_OR_PARTITION and batch.attempts > UNKNOWN_TOPIC_PARKS_AFTER):
            partition.parked_reason = f"topic {topic}: {reason}"
            self._events.topic_parked(topic=topic, code=code, reason=reason)
            return
        wait_s = max(0.0, partition.retry_at_s - self._clock())
        self._events.batch_retried(
            topic=topic, partition=partition.number, code=code, reason=reason, wait_s=wait_s
        )

    def _done(self, segments: Sequence[Segment]) -> None:
        sums: dict[str, list[int]] = {}
        memory_bytes = 0
        for segment in segments:
            segment.done = True
            memory_bytes += segment.memory_bytes
            source = segment.source
            source.acks.advance()
            lines = len(segment.values)
            # The tracker keeps the segment while an older one of its file is on its way; its lines need not stay.
            segment.values, segment.starts, segment.headers = (), None, None
            source.acked(lines)
            total = sums.get(source.service)
            if total is None:
                total = sums[source.service] = [0, 0]
            total[0] += lines
            total[1] += segment.end_offset - segment.start_offset
        self._released(memory_bytes)
        for service, (lines, bytes_) in sums.items():
            self._events.lines_acked(service=service, lines=lines, bytes_=bytes_)

    def bury(self, segment: Segment, topic: str, code: int, reason: str, line_bytes: int | None) -> None:
        """Have a record written to the dead-letter file, however long that takes; only then its file moves on."""
        self._spawner.once("dead-letter", self._bury, segment, topic, code, reason, line_bytes)

    def _bury(self, segment: Segment, topic: str, code: int, reason: str, line_bytes: int | None) -> None:
        record = dead_letter.DeadRecord(
            time_s=self._wall(),
            service=segment.source.service,
            topic=topic,
            path=segment.source.label,
            offset=segment.start_offset if segment.starts is None else segment.starts[0],
            value=segment.values[0],
            reason=reason,
            code=code,
            line_bytes=line_bytes,
        )
        attempt = 0
        while True:
            try:
                in_thread(dead_letter.append, self._settings.dead_letter, record)
                break
            except OSError as error:
                self.dead_letter_failure = f"{self._settings.dead_letter} cannot be written: {error.strerror}"
                self._events.dead_letter_failed(
                    path=os.fsencode(self._settings.dead_letter), error=str(error)
                )
                gevent.sleep(DEAD_LETTER_AGAIN.delay_s(attempt))
                attempt += 1
        self.dead_letter_failure = ""
        self._events.dead_letter_back(path=os.fsencode(self._settings.dead_letter))
        self._events.record_dead_lettered(
            service=record.service,
            topic=topic,
            path=record.path,
            offset=record.offset,
            code=code,
            reason=reason,
        )
        self._done((segment,))


def _encode(batch: Batch) -> bytes:
    segments = batch.segments
    if len(segments) > 1 and all(segment.key is None and segment.headers is None for segment in segments):
        # One group costs as much as each of the many little ones of quiet files.
        groups = [record_batch.Records(list(chain.from_iterable(segment.values for segment in segments)))]
    else:
        groups = [record_batch.Records(segment.values, segment.key, segment.headers) for segment in segments]
    return record_batch.encode(
        groups,
        timestamp_ms=batch.timestamp_ms,
        producer_id=batch.producer_id,
        producer_epoch=batch.producer_epoch,
        base_sequence=batch.base_sequence,
    )


def _address(error: KafkaError) -> str:
    return error.address if isinstance(error, BrokerUnavailable | ProtocolViolation) else "?"


def _reason(error: KafkaError) -> str:
    return error.reason if isinstance(error, BrokerUnavailable | ProtocolViolation) else str(error)
