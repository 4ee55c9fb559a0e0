# SPDX-License-Identifier: Apache-2.0
"""One topic-partition as a state machine. Pure: the rules of recovery decide, this keeps what they decide about.

idle -> in flight -> idle           acknowledged
             |-> waiting -> in flight   to be sent again, or to be asked about first; or its parts; or parked
held                                before a batch of an earlier process is handed over, nothing leaves
"""

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from logagent.backoff import Backoff
from logagent.kafka.error_codes import NOT_ENOUGH_REPLICAS, REQUEST_TIMED_OUT
from logagent.kafka.record_batch import next_sequence
from logagent.pipeline.accumulator import Accumulator
from logagent.pipeline.batch import Batch, Segment
from logagent.recovery import rules
from logagent.recovery.actions import (
    Action,
    Ask,
    DeadLetter,
    Doubt,
    NewEpoch,
    NewId,
    Pending,
    Release,
    Resend,
    SendAnew,
    SendLost,
    Settle,
    Slot,
    WaitForReplicas,
)
from logagent.recovery.rules import Answer, Clock, Look, Readable
from logagent.senders.cuts import Cut, beyond, divide, notes_of
from logagent.senders.outcome import Outcome, Question
from logagent.state.intents import SegmentNote

RETRY = Backoff(first_s=0.05, limit_s=2.0)
PARK = Backoff(first_s=0.5, limit_s=10.0)

FAILING_S = 5.0
"""Without an acknowledgement for this long a partition keeps only what is on its way; the rest is read again later."""

LONELY_CODES = frozenset((REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS))
"""After these a partition travels alone: its neighbours in a request would wait for replicas with it."""


class State(enum.Enum):
    """Where a partition stands."""

    IDLE = "idle"
    IN_FLIGHT = "in flight"
    WAITING = "waiting"
    HELD = "held"


@dataclass(slots=True)
class ProducerState:
    """Under which producer id the partition sends, and the sequence of its next record."""

    producer_id: int = -1
    epoch: int = -1
    next_sequence: int = 0


class Partition:
    """Open lines, the batch on its way and its place in the sequence, and when the next attempt is due."""

    def __init__(self, topic: str, number: int, linger_s: float) -> None:
        self.topic = topic
        self.number = number
        self.open = Accumulator(linger_s)
        self.state = State.IDLE
        self.batch: Batch | None = None
        self.parts: deque[Batch] = deque()
        self.pending: Pending | None = None
        self.notes: tuple[SegmentNote, ...] = ()
        """Of a batch of an earlier process, as the journal has them."""
        self.question: Question | None = None
        self.doubt_since_s = float("inf")
        self.cluster_id = ""
        """Of the cluster to which the batch was sent by an earlier process."""
        self.alone = False
        self.parked_reason = ""
        self.retry_at_s = 0.0
        self.attempts = 0
        self.unacked_since_s = float("inf")
        self.producer = ProducerState()
        self._cuts: dict[int, Cut] = {}
        self._noted = False
        self._fence: Slot | None = None
        self._vanished: list[SegmentNote] = []
        self._entombed: list[Segment] = []

    @property
    def empty(self) -> bool:
        """Whether nothing is here or on its way."""
        nothing = self.batch is None and not self.parts and self.open.empty
        return nothing and self.question is None and self.state is not State.HELD

    @property
    def memory_bytes(self) -> int:
        """About what all its lines hold in memory."""
        held = self.open.memory_bytes + sum(part.memory_bytes for part in self.parts)
        return held + (self.batch.memory_bytes if self.batch is not None else 0)

    @property
    def to_be_noted(self) -> bool:
        """Whether the batch has a place of which the journal does not know yet."""
        return self.pending is not None and not self._noted

    @property
    def earlier_cuts(self) -> tuple[Cut, ...]:
        """What else was sent to the place of the batch."""
        return tuple(self._cuts.values())

    @property
    def doubtful(self) -> bool:
        """Whether something was sent of which nobody knows whether it arrived."""
        return self.pending is not None and self.pending.ambiguous

    def due_s(self, full_bytes: int) -> float:
        """When there is something to send; infinity = not before somebody adds lines or an answer comes."""
        if self.state in (State.IN_FLIGHT, State.HELD):
            return float("inf")
        if self.state is State.WAITING:
            return self.retry_at_s
        if self.parts or self.open.size_bytes >= full_bytes:
            return 0.0
        return self.open.due_s

    def failing(self, now_s: float) -> bool:
        """Whether the batch on its way has gone without an acknowledgement for too long."""
        return now_s - self.unacked_since_s > FAILING_S

    # -- on the way out -----------------------------------------------------------------------------------------------

    def take(self, limit_bytes: int, now_s: float) -> Batch | None:
        """The batch to send now: one to be repeated, a part of a split one, or a new one of at most `limit_bytes`."""
        if self.batch is None:
            self.batch = self.parts.popleft() if self.parts else self.open.seal(limit_bytes, now_s)
            if self.batch is None:
                return None
            self.unacked_since_s = min(self.unacked_since_s, now_s)
        self.state = State.IN_FLIGHT
        return self.batch

    def stamp(self, producer_id: int, epoch: int) -> Pending:
        """The place of the batch in the producer's sequence; a new id begins at 0."""
        batch = self._in_flight()
        if self.pending is None:
            if self.producer.producer_id < 0:
                self.producer = ProducerState(producer_id, epoch)
            own = self.producer
            slot = self._fence or Slot(own.producer_id, own.epoch, own.next_sequence)
            self.pending, self._noted = Pending(slot, batch.records, batch.timestamp_ms), False
        return self.pending

    def noted(self) -> None:
        """The journal knows the batch and its place."""
        self._noted = True

    def before_send(self, clock: Clock) -> Doubt | None:
        """Every send of the batch; says why lines may be there a second time, if they may."""
        self.pending, doubt = rules.before_send(self._pending(), clock)
        return doubt

    def begin_asking(self) -> None:
        """The question is on its way."""
        self.state = State.IN_FLIGHT

    # -- what is decided ----------------------------------------------------------------------------------------------

    def answered(self, code: int, clock: Clock) -> Action:
        """The leader's answer to the batch, but for what makes its topic wait."""
        self.attempts += 1
        self.alone = self.alone or code in LONELY_CODES
        return rules.answered(self._pending(), code, clock.now_ms)

    def asked(self, answer: Answer, clock: Clock) -> Action:
        """What the leader knows of our producer id."""
        pending = self._pending()
        records = self.batch.records if self.batch is not None else 0
        more = bool(self.parts) and any(count > records for count in pending.earlier)
        return rules.asked(pending, answer, Readable(records, more), clock)

    def replicas_asked(self, look: Look, now_s: float, give_up_s: float) -> Action:
        """What all of them know."""
        records = self.question.records if self.question is not None else 0
        waited_s = now_s - self.doubt_since_s
        return rules.replicas_asked(self._pending(), records, look, waited_s=waited_s, give_up_s=give_up_s)

    def unaskable(self, now_s: float, give_up_s: float, *, vanished: bool) -> Action:
        """Nobody can be asked, nor sent to."""
        self.doubt_since_s = min(self.doubt_since_s, now_s)
        waited_s = now_s - self.doubt_since_s
        return rules.unaskable_for(self._pending(), vanished=vanished, waited_s=waited_s, give_up_s=give_up_s)

    def unanswered(self, now_s: float) -> None:
        """The request got no answer: the same again, when the leader can be reached."""
        if self.question is not None:
            self.attempts += 1
            self._wait(now_s + RETRY.delay_s(self.attempts - 1))
        elif self.batch is None:
            self.not_sent(now_s)
        elif self.pending is None:
            self._wait(now_s)
        else:
            self.attempts += 1
            self.alone = True
            self.act(rules.unanswered(self.pending), now_s)

    def not_sent(self, now_s: float) -> None:
        """It was chosen for a request and did not travel with it; again, without a mark on the partition."""
        if self.batch is not None or self.question is not None:
            self._wait(now_s)
            return
        self.state = State.IDLE
        if not self.open.empty:
            self.unacked_since_s = min(self.unacked_since_s, now_s)

    def park(self, now_s: float) -> None:
        """The topic refuses; nothing of the batch was appended."""
        self._wait(now_s + PARK.delay_s(self.attempts - 1))

    def act(self, action: Action, now_s: float) -> Outcome:
        """Do what was decided, as far as it concerns the partition."""
        self.question = None
        match action:
            case Settle():
                return self._settle(action.records, now_s)
            case NewId() | Release():
                return self._begin_anew(now_s, released=isinstance(action, Release))
            case DeadLetter():
                return self._bury(action.next_slot, now_s)
            case Resend():
                self.pending = action.pending
                at_once = action.finding is not None or self.attempts == 0
                self._wait(now_s if at_once else now_s + RETRY.delay_s(self.attempts - 1))
            case Ask() | WaitForReplicas():
                records = action.records if isinstance(action, WaitForReplicas) else 0
                self._ask(action.pending, Question(records), now_s, action.after_s)
            case SendAnew():
                self._send_anew(action.pending, now_s)
            case NewEpoch():
                self._place_again(action.slot, now_s)
            case SendLost():
                raise ValueError("nobody said that lines which were acknowledged are at hand")
        return Outcome()

    # -- an earlier process -------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Nothing leaves before `adopt`."""
        self.state = State.HELD

    def adopt(
        self,
        pending: Pending,
        notes: Sequence[SegmentNote],
        earlier: Sequence[Cut],
        batches: Sequence[Batch],
        vanished: Sequence[SegmentNote],
        now_s: float,
    ) -> None:
        """Take over a batch of an earlier process. `batches`: what is left of it, then what only earlier cuts held."""
        own, *beyond = batches
        self.pending, self._noted, self.notes = pending, True, tuple(notes)
        self._cuts = {cut.records: cut for cut in earlier}
        self.batch = own if own.records else None
        self.parts.extend(beyond)
        self._vanished = list(vanished)
        self.unacked_since_s = now_s
        self._wait(now_s)

    def let_go(self) -> None:
        """There is nothing to take over."""
        self.state = State.IDLE

    def give_back_open(self) -> list[Segment]:
        """Drop what is open; returns it so that its files can be told to read it again."""
        if self.batch is None and not self.parts:
            self.unacked_since_s = float("inf")
        return self.open.clear()

    def give_back_all(self) -> list[Segment]:
        """Drop everything, in order: the partition does not exist any more."""
        segments = [segment for batch in self._batches() for segment in batch.segments]
        self.parts.clear()
        self._finish(0.0)
        return [*segments, *self.give_back_open()]

    # -- actions ------------------------------------------------------------------------------------------------------

    def _settle(self, records: int, now_s: float) -> Outcome:
        pending = self._pending()
        if records == pending.records:
            settled = list(self.batch.segments) if self.batch is not None else []
            notes = self.notes
        else:
            cut = self._cuts[records]
            settled, rest = divide(cut, self._batches())
            self.parts = deque(rest)
            notes = cut.notes
        outcome = Outcome(records, settled, self._entombed)
        outcome.delivered = [note for note in self._vanished if note in notes]
        outcome.unknown = beyond(self._vanished, notes)
        if pending.slot.producer_id == self.producer.producer_id:
            following = next_sequence(pending.slot.base_sequence, records)
            self.producer = ProducerState(pending.slot.producer_id, pending.slot.epoch, following)
        self._fence, self._entombed, self._vanished = None, [], []
        self._finish(now_s)
        return outcome

    def _send_anew(self, pending: Pending, now_s: float) -> None:
        """The first records of the batch in the same place; the others follow it."""
        old, batch = self._pending(), self._in_flight()
        if len(pending.earlier) > len(old.earlier):
            self._cuts[old.records] = Cut.of(batch, old.records, self.notes or notes_of(batch.segments))
        kept = {records: self._cuts[records] for records in pending.earlier}
        if pending.records < batch.records:
            batch, rest = batch.cut(pending.records)
            self.parts.appendleft(rest)
        self._forget_place()
        self.batch, self.pending, self._cuts = batch, pending, kept
        self._wait(now_s)

    def _place_again(self, slot: Slot, now_s: float) -> None:
        """The same lines, or if there are none the next ones, are to go to another place."""
        self._forget_place()
        self._fence = slot
        if self.batch is None:
            self._finish(now_s)
        else:
            self._wait(now_s)

    def _begin_anew(self, now_s: float, *, released: bool) -> Outcome:
        """The place is given up, and the producer id with it; what is at hand goes under a new one."""
        outcome = Outcome(buried=self._entombed, unknown=beyond(self._vanished, ()))
        outcome.new_id, outcome.released = not released, released or self.batch is None
        self._forget_place()
        self._fence, self._entombed, self._vanished = None, [], []
        self.producer = ProducerState()
        if self.batch is None:
            self._finish(now_s)
        else:
            self._wait(now_s)
        return outcome

    def _bury(self, next_slot: Slot | None, now_s: float) -> Outcome:
        """The one record of the batch goes elsewhere; at once, or after what comes next is acknowledged."""
        buried = list(self._in_flight().segments)
        outcome = Outcome()
        if next_slot is None:
            outcome.buried = buried
        else:
            self._entombed += buried
            self._fence = next_slot
        self._finish(now_s)
        return outcome

    def _ask(self, pending: Pending, question: Question, now_s: float, after_s: float) -> None:
        self.pending, self.question = pending, question
        self.doubt_since_s = min(self.doubt_since_s, now_s)
        self.alone = True
        self._wait(now_s + after_s)

    def _batches(self) -> list[Batch]:
        return [*([] if self.batch is None else [self.batch]), *self.parts]

    def _pending(self) -> Pending:
        if self.pending is None:
            raise ValueError(f"{self.topic}-{self.number}: nothing has a place in the sequence")
        return self.pending

    def _in_flight(self) -> Batch:
        if self.batch is None:
            raise ValueError(f"{self.topic}-{self.number}: there is no batch")
        return self.batch

    def _forget_place(self) -> None:
        self.pending, self.notes, self._noted, self._cuts = None, (), False, {}
        self.question, self.attempts, self.cluster_id = None, 0, ""
        self.doubt_since_s = float("inf")

    def _finish(self, now_s: float) -> None:
        self._forget_place()
        self.batch = None
        self.state = State.IDLE
        self.alone = False
        self.parked_reason = ""
        self.unacked_since_s = now_s if self.parts else float("inf")

    def _wait(self, until_s: float) -> None:
        self.state = State.WAITING
        self.retry_at_s = until_s
