# SPDX-License-Identifier: Apache-2.0
"""Carries out what was decided about a batch: positions, journal, dead letters, counters, and what people are told."""

from collections.abc import Callable, Sequence

from logagent.clock import MonotonicClock
from logagent.kafka.error_codes import INVALID_TIMESTAMP, RECORD_REFUSALS, describe
from logagent.ops.events import Events
from logagent.pipeline.batch import Segment
from logagent.recovery.actions import (
    Action,
    Doubt,
    Finding,
    NewEpoch,
    NewId,
    Release,
    Resend,
    SendAnew,
    Slot,
)
from logagent.senders.graveyard import Graveyard
from logagent.senders.notebook import Notebook
from logagent.senders.outcome import Outcome
from logagent.senders.partition import Partition
from logagent.state.intents import SegmentNote


class Settler:
    """`released` is told how much memory is free again, `on_delivered` what was delivered and is not at hand."""

    def __init__(
        self,
        graveyard: Graveyard,
        notebook: Notebook | None,
        *,
        released: Callable[[int], None],
        renew: Callable[[int], None],
        on_delivered: Callable[[SegmentNote], None],
        on_unknown: Callable[[SegmentNote], None],
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._graveyard = graveyard
        self._notebook = notebook
        self._released = released
        self._renew = renew
        self._on_delivered = on_delivered
        self._on_unknown = on_unknown
        self._events = events
        self._clock = clock

    def carry_out(self, partition: Partition, action: Action, code: int = 0) -> Outcome:
        """`code` is the broker's that led to the action."""
        before = partition.pending
        slot = before.slot if before is not None else Slot(-1, -1, -1)
        records = before.records if before is not None else 0
        self._tell(partition, action, code, records)
        outcome = partition.act(action, self._clock())
        if self._notebook is not None:
            if outcome.settled_records:
                self._notebook.settled(partition, outcome.settled_records)
            if outcome.released:
                self._notebook.release(partition)
        self.done(outcome.settled)
        for segment in outcome.buried:
            self._graveyard.bury(segment, partition.topic, code, describe(code).sentence, None)
        for note in outcome.delivered:
            self._on_delivered(note)
        for note in outcome.unknown:
            self._events.intent_unknown(
                service=note.service, identity=note.identity, start=note.start_offset, end=note.end_offset
            )
            self._on_unknown(note)
        if outcome.new_id:
            self._renew(slot.producer_id)
        return outcome

    def doubt(self, partition: Partition, doubt: Doubt | None, records: int) -> None:
        """Count lines that may be in the log twice."""
        if doubt is not None:
            self._events.duplicates_possible(
                topic=partition.topic, partition=partition.number, records=records, reason=doubt.value
            )

    def done(self, segments: Sequence[Segment]) -> None:
        """These are in Kafka, or in the dead-letter file."""
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

    def _tell(self, partition: Partition, action: Action, code: int, records: int) -> None:
        topic, number, events = partition.topic, partition.number, self._events
        self.doubt(partition, action.doubt, records)
        if action.finding is not None:
            events.intent_answer(topic=topic, partition=number, records=records, answer=action.finding.value)
            if action.finding is Finding.CLUSTER_LOST:
                events.acknowledged_lost(topic=topic, partition=number)
        match action:
            case SendAnew() if code in RECORD_REFUSALS and not partition.doubtful:
                events.batch_split(topic=topic, partition=number, records=records)
            case Resend() if code == INVALID_TIMESTAMP:
                events.batch_restamped(topic=topic, partition=number)
            case NewEpoch() | NewId() | Release():
                events.producer_id_renewed(topic=topic, partition=number, code=code)
