# SPDX-License-Identifier: Apache-2.0
"""One topic-partition as a state machine. Pure: it decides, a pool greenlet sends.

idle -> in flight -> idle           acknowledged
             |-> waiting -> in flight   to be sent again, the same bytes; or its parts; or parked with its topic
"""

import enum
from collections import deque
from dataclasses import dataclass

from logagent.backoff import Backoff
from logagent.kafka.error_codes import (
    DUPLICATE_SEQUENCE_NUMBER,
    INVALID_TIMESTAMP,
    NONE,
    NOT_ENOUGH_REPLICAS,
    PRODUCER_RESETS,
    RECORD_REFUSALS,
    REQUEST_TIMED_OUT,
    TOPIC_REFUSALS,
    UNKNOWN_TOPIC_OR_PARTITION,
)
from logagent.kafka.record_batch import next_sequence
from logagent.pipeline.accumulator import Accumulator
from logagent.pipeline.batch import Batch, Segment

RETRY = Backoff(first_s=0.05, limit_s=2.0)
PARK = Backoff(first_s=0.5, limit_s=10.0)

FAILING_S = 5.0
"""Without an acknowledgement for this long a partition keeps only what is on its way; the rest is read again later."""


class State(enum.Enum):
    """Where a partition stands."""

    IDLE = "idle"
    IN_FLIGHT = "in flight"
    WAITING = "waiting"


class Verdict(enum.Enum):
    """What an answer means for the batch."""

    ACKED = "acknowledged"
    RETRY = "send the same bytes again"
    PARK = "the topic refuses; try again later"
    SPLIT = "send it in two halves"
    RESTAMP = "build it again with the time of now"
    NEW_PRODUCER = "build it again under a new producer id"
    DEAD_LETTER = "this one record is refused for good"


LONELY_CODES = frozenset((REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS))
"""After these a partition travels alone: its neighbours in a request would wait for replicas with it."""


def judge(code: int, records: int) -> Verdict:
    """What the broker's error code means for a batch of so many records."""
    if code in (NONE, DUPLICATE_SEQUENCE_NUMBER):
        return Verdict.ACKED
    if code in RECORD_REFUSALS:
        return Verdict.SPLIT if records > 1 else Verdict.DEAD_LETTER
    if code == INVALID_TIMESTAMP:
        return Verdict.RESTAMP
    if code in PRODUCER_RESETS:
        return Verdict.NEW_PRODUCER
    # An unknown topic may be on its way into being: that is for the caller to lose patience with.
    if code in TOPIC_REFUSALS and code != UNKNOWN_TOPIC_OR_PARTITION:
        return Verdict.PARK
    return Verdict.RETRY


@dataclass(slots=True)
class ProducerState:
    """Under which producer id the partition sends, and the sequence of its next record."""

    producer_id: int = -1
    epoch: int = -1
    next_sequence: int = 0


class Partition:
    """Open lines, the batch on its way, and when the next attempt is due."""

    def __init__(self, topic: str, number: int, linger_s: float) -> None:
        self.topic = topic
        self.number = number
        self.open = Accumulator(linger_s)
        self.state = State.IDLE
        self.batch: Batch | None = None
        self.parts: deque[Batch] = deque()
        self.alone = False
        self.parked_reason = ""
        self.retry_at_s = 0.0
        self.unacked_since_s = float("inf")
        self.producer = ProducerState()

    @property
    def empty(self) -> bool:
        """Whether nothing is here or on its way."""
        return self.batch is None and not self.parts and self.open.empty

    @property
    def memory_bytes(self) -> int:
        """About what all its lines hold in memory."""
        held = self.open.memory_bytes + sum(part.memory_bytes for part in self.parts)
        return held + (self.batch.memory_bytes if self.batch is not None else 0)

    def due_s(self, full_bytes: int) -> float:
        """When there is something to send; infinity = not before somebody adds lines or an answer comes."""
        if self.state is State.IN_FLIGHT:
            return float("inf")
        if self.state is State.WAITING:
            return self.retry_at_s
        if self.parts or self.open.size_bytes >= full_bytes:
            return 0.0
        return self.open.due_s

    def failing(self, now_s: float) -> bool:
        """Whether the batch on its way has gone without an acknowledgement for too long."""
        return now_s - self.unacked_since_s > FAILING_S

    def take(self, limit_bytes: int, now_s: float) -> Batch | None:
        """The batch to send now: one to be repeated, a part of a split one, or a new one of at most `limit_bytes`."""
        if self.batch is None:
            self.batch = self.parts.popleft() if self.parts else self.open.seal(limit_bytes, now_s)
            if self.batch is None:
                return None
            self.unacked_since_s = min(self.unacked_since_s, now_s)
        self.state = State.IN_FLIGHT
        return self.batch

    def stamp(self, batch: Batch, producer_id: int, epoch: int) -> None:
        """Give a batch that was never sent its place in the producer's sequence; a new id begins at 0."""
        if batch.base_sequence >= 0:
            return
        if (producer_id, epoch) != (self.producer.producer_id, self.producer.epoch):
            self.producer = ProducerState(producer_id, epoch)
        batch.producer_id, batch.producer_epoch = producer_id, epoch
        batch.base_sequence = self.producer.next_sequence

    def answered(self, code: int, now_s: float, wall_ms: int) -> Verdict:
        """Move on with the broker's answer. The caller acknowledges, dead-letters, counts and renews ids as told."""
        batch = self._in_flight()
        verdict = judge(code, batch.records)
        batch.attempts += 1
        if verdict is Verdict.ACKED:
            self._count_sequence(batch)
            self._finish(now_s)
        elif verdict is Verdict.DEAD_LETTER:
            self._finish(now_s)
        elif verdict is Verdict.SPLIT:
            self.parts.extendleft(reversed(batch.halves()))
            self.batch = None
            self.state = State.IDLE
        elif verdict is Verdict.PARK:
            self._wait(now_s + PARK.delay_s(batch.attempts - 1))
        else:
            if verdict is Verdict.RESTAMP:
                batch.timestamp_ms = wall_ms
            elif verdict is Verdict.NEW_PRODUCER:
                batch.base_sequence = -1
                self.producer = ProducerState()
            self.alone = self.alone or code in LONELY_CODES
            self._wait(now_s + RETRY.delay_s(batch.attempts - 1))
        return verdict

    def unanswered(self, now_s: float) -> None:
        """The request got no answer: the same bytes again, when the leader can be reached."""
        if self.batch is None:
            self.not_sent(now_s)
            return
        self.batch.attempts += 1
        self.alone = True
        self._wait(now_s + RETRY.delay_s(self.batch.attempts - 1))

    def not_sent(self, now_s: float) -> None:
        """It was chosen for a request and did not travel with it; again, without a mark on the partition."""
        if self.batch is not None:
            self._wait(now_s)
            return
        self.state = State.IDLE
        if not self.open.empty:
            self.unacked_since_s = min(self.unacked_since_s, now_s)

    def give_back_open(self) -> list[Segment]:
        """Drop what is open; returns it so that its files can be told to read it again."""
        if self.batch is None and not self.parts:
            self.unacked_since_s = float("inf")
        return self.open.clear()

    def _in_flight(self) -> Batch:
        if self.batch is None:
            raise ValueError(f"{self.topic}-{self.number}: an answer for nothing")
        return self.batch

    def _count_sequence(self, batch: Batch) -> None:
        if batch.base_sequence >= 0:
            self.producer.next_sequence = next_sequence(batch.base_sequence, batch.records)

    def _finish(self, now_s: float) -> None:
        self.batch = None
        self.state = State.IDLE
        self.alone = False
        self.parked_reason = ""
        self.unacked_since_s = now_s if self.parts else float("inf")

    def _wait(self, until_s: float) -> None:
        self.state = State.WAITING
        self.retry_at_s = until_s
