# SPDX-License-Identifier: Apache-2.0
"""What becomes of a batch of which nobody knows whether it arrived: observations in, one action out. Pure.

They hold after a restart, for what the journal says, and without one, whenever an attempt stayed unanswered. One batch
of a partition is on its way at a time; nothing else of the partition leaves until its fate is decided. What is
assumed of brokers was seen on Kafka 3.9 and 4.1; tests/model drives these very functions through every order of events.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from logagent.kafka.error_codes import (
    DUPLICATE_SEQUENCE_NUMBER,
    EPOCH_REFUSALS,
    INVALID_TIMESTAMP,
    NONE,
    PRODUCER_RESETS,
    RECORD_REFUSALS,
    UNKNOWN_PRODUCER_ID,
)
from logagent.kafka.record_batch import SEQUENCE_MASK
from logagent.recovery.actions import (
    Action,
    Ask,
    DeadLetter,
    Doubt,
    Finding,
    NewEpoch,
    NewId,
    Pending,
    Release,
    Resend,
    SendAnew,
    SendLost,
    Settle,
    WaitForReplicas,
)

ASK_AGAIN_S = 0.5
REFUSALS_BORNE = 5
"""So many times a leader may refuse a sequence that, asked, it says it waits for; then it is left alone with it."""


class Silence(enum.Enum):
    """Why the leader told no sequence of our producer id."""

    ABSENT = "it does not know the id"
    UNASKABLE = "it does not know the question (Kafka before 2.8), or may not answer us"


@dataclass(frozen=True, slots=True)
class Told:
    """What a replica knows of our producer id in the partition."""

    epoch: int
    last_sequence: int


Answer = Told | Silence


@dataclass(frozen=True, slots=True)
class Readable:
    """What can be built again. `records`: of the batch. `beyond`: whether lines can that only an earlier cut held.

    `lost`: records right before the batch, acknowledged once; known only to who still has their intent.
    """

    records: int
    beyond: bool = False
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, and half of what a broker remembers an idle producer id for (producer.id.expiration.ms)."""

    now_ms: int
    half_expiry_ms: int

    def old(self, pending: Pending) -> bool:
        """Whether a broker may have forgotten the batch. A time stamp far ahead says nothing about its age."""
        return abs(self.now_ms - pending.timestamp_ms) >= self.half_expiry_ms


@dataclass(frozen=True, slots=True)
class Look:
    """The replicas' answers, asked one by one; the leader's epoch before the first and after the last of them.

    `least_in_sync`: min.insync.replicas of the topic, or the majority of the replicas where it is not known.
    """

    epoch_before: int
    epoch_after: int
    leader: int
    in_sync: frozenset[int]
    answers: Mapping[int, Answer]
    least_in_sync: int = 1


def at_start(pending: Pending, *, reached: bool) -> Action:
    """Rule 1. `reached`: the durable position of every one of its segments is at its end or behind it."""
    if reached:
        return Settle(pending.records, finding=Finding.SETTLED)
    return Ask(replace(pending, sent=True), 0.0)


def before_send(pending: Pending, clock: Clock) -> tuple[Pending, Doubt | None]:
    """Rule 3, of every send: an old time stamp becomes that of now, and if it is not the first send, that is counted.

    The journal need not know the new time stamp: an older one makes the next look more careful, not less.
    """
    if not clock.old(pending):
        return pending, None
    return replace(pending, timestamp_ms=clock.now_ms), Doubt.OLD if pending.ambiguous else None


def unanswered(pending: Pending) -> Action:
    """No answer, or one that leaves open whether it was appended: the same again, when the leader can be reached."""
    return Resend(replace(pending, sent=True))


def answered(pending: Pending, code: int, now_ms: int) -> Action:
    """The leader's answer to a send of the batch, but for what only makes its topic wait."""
    if code == NONE:
        return Settle(pending.records)
    if code in RECORD_REFUSALS:
        if pending.sent:  # the size is looked at before the log is: it may be in there
            return Ask(replace(pending, refused=code), 0.0)
        if pending.records == 1:
            return _dead_letter(pending, pending.earlier)
        return _cut(pending, pending.records // 2, pending.earlier, Readable(pending.records), now_ms)
    if code == INVALID_TIMESTAMP:
        return Resend(replace(pending, timestamp_ms=now_ms))
    if code in PRODUCER_RESETS or code == DUPLICATE_SEQUENCE_NUMBER:
        refusals = pending.refusals + 1
        return Ask(replace(pending, refused=code, refusals=refusals), 0.0 if refusals == 1 else ASK_AGAIN_S)
    return unanswered(pending)


def asked(pending: Pending, answer: Answer, readable: Readable, clock: Clock) -> Action:
    """The leader's word about our producer id, rules 2 to 6: it tells what to do next, never that a batch is safe."""
    if answer is Silence.UNASKABLE:
        return _unasked(pending, readable, clock)
    if answer is Silence.ABSENT:
        return _absent(pending, readable, clock)
    assert isinstance(answer, Told)
    if answer.epoch > pending.slot.epoch:
        return _overtaken(pending)
    # An epoch begins at 0: one that the leader has not seen yet has nothing in its log.
    same = answer.epoch == pending.slot.epoch
    base = pending.slot.base_sequence
    return _told(
        pending, pending.slot.records_until(answer.last_sequence) if same else -base, readable, clock
    )


def _told(pending: Pending, appended: int, readable: Readable, clock: Clock) -> Action:
    """`appended`: how many records from our place on the leader has; negative: so many before it are missing."""
    if appended == 0:
        if _stuck(pending):
            return _next_epoch(pending, Doubt.REFUSED if pending.ambiguous else None)
        return _send(pending, readable, clock.now_ms, Finding.NOT_DELIVERED)
    if appended == pending.records:
        if readable.records < pending.records or pending.refused in RECORD_REFUSALS:
            return WaitForReplicas(pending, pending.records, 0.0)
        return Resend(replace(pending, sent=True, refused=NONE), finding=Finding.DELIVERED)
    if appended in pending.earlier:
        return WaitForReplicas(pending, appended, 0.0)
    return _overtaken(pending) if appended > 0 else _lost(pending, readable, -appended)


def replicas_asked(
    pending: Pending, records: int, look: Look, *, waited_s: float, give_up_s: float
) -> Action:
    """Rule 4: a cut that cannot be sent again is settled when all who may lead the partition next have it."""
    wanted = Told(pending.slot.epoch, pending.slot.last_sequence(records))
    same_leader = look.epoch_before == look.epoch_after
    if same_leader and look.answers.get(look.leader, wanted) != wanted:
        return Ask(pending, 0.0)
    enough = len(look.in_sync) >= look.least_in_sync and look.leader in look.in_sync
    if same_leader and enough and all(look.answers.get(node) == wanted for node in look.in_sync):
        return Settle(records, finding=Finding.DELIVERED)
    if waited_s >= give_up_s:
        return Release(Doubt.GIVEN_UP)
    return WaitForReplicas(pending, records, ASK_AGAIN_S) if same_leader else Ask(pending, ASK_AGAIN_S)


def unaskable_for(pending: Pending, *, vanished: bool, waited_s: float, give_up_s: float) -> Action:
    """Rule 7: nobody can be asked nor sent to, because the partition is gone or the topic is denied to us.

    `vanished`: the cluster says that the partition does not exist (any more), rather than not answering.
    """
    if waited_s >= give_up_s:
        return Release(Doubt.TOPIC_GONE if vanished else Doubt.GIVEN_UP)
    return Ask(pending, ASK_AGAIN_S)


# -- what the leader's word means -------------------------------------------------------------------------------------


def _absent(pending: Pending, readable: Readable, clock: Clock) -> Action:
    doubt = None
    if pending.ambiguous and clock.old(pending):
        doubt = Doubt.OLD
    elif pending.ambiguous and (pending.slot.base_sequence or pending.slot.epoch):
        doubt = Doubt.FORGOTTEN
    if _stuck(pending):
        return _next_epoch(pending, doubt or (Doubt.REFUSED if pending.ambiguous else None))
    action = _send(pending, readable, clock.now_ms, Finding.ABSENT)
    if isinstance(action, Resend) and doubt is Doubt.OLD:
        return action  # counted when it is sent, as any old one
    return replace(action, doubt=doubt or action.doubt)


def _unasked(pending: Pending, readable: Readable, clock: Clock) -> Action:
    doubt = Doubt.UNASKED if pending.ambiguous else None
    if pending.refused in EPOCH_REFUSALS:
        return NewId(doubt)
    if pending.refused in PRODUCER_RESETS:
        return _next_epoch(pending, doubt)  # a new id would not shut out what may yet come in to this one
    action = _send(pending, readable, clock.now_ms, Finding.UNASKED)
    return action if isinstance(action, Resend) else replace(action, doubt=doubt)


def _overtaken(pending: Pending) -> Action:
    """Later sequences are in the log: our own, of which the journal lost the intents, or another's under our id."""
    if pending.refused in PRODUCER_RESETS:
        return NewId(Doubt.REFUSED if pending.ambiguous else None)
    return Settle(pending.records, Doubt.JOURNAL, finding=Finding.OVERTAKEN)


def _lost(pending: Pending, readable: Readable, records: int) -> Action:
    """The leader does not have what was acknowledged: it is put back in its place, or the place is left open."""
    if readable.lost == records:
        first = (pending.slot.base_sequence - records) & SEQUENCE_MASK
        return SendLost(pending, first, records, finding=Finding.CLUSTER_LOST)
    return NewId(finding=Finding.CLUSTER_LOST)


# -- what is sent -----------------------------------------------------------------------------------------------------


def _send(pending: Pending, readable: Readable, now_ms: int, finding: Finding) -> Action:
    """The log does not have it, as far as is known: send it, or what is left of it in the same place."""
    too_large = pending.refused in RECORD_REFUSALS
    if readable.records >= pending.records and not too_large:
        return Resend(replace(pending, sent=True, refused=NONE), finding=finding)
    tried = (*pending.earlier, pending.records)
    if too_large and pending.records == 1 and readable.records:
        return replace(_dead_letter(pending, tried), finding=finding)
    most = min(readable.records, max(1, pending.records // 2)) if too_large else readable.records
    return replace(_cut(pending, most, tried, readable, now_ms), finding=finding)


def _cut(
    pending: Pending, most: int, tried: tuple[int, ...], readable: Readable, now_ms: int
) -> SendAnew | NewEpoch | NewId:
    """Rule 5: brokers compare sequences, not content, so each cut in one place has a number of records of its own."""
    records = next((count for count in range(most, 0, -1) if count not in tried), 0)
    if records:
        return SendAnew(Pending(pending.slot, records, now_ms, tried))
    return _next_epoch(pending, Doubt.SHARED if readable.records or readable.beyond else None)


def _next_epoch(pending: Pending, doubt: Doubt | None) -> NewEpoch | NewId:
    slot = pending.slot.next_epoch()
    return NewEpoch(slot, doubt) if slot is not None else NewId(doubt)


def _dead_letter(pending: Pending, tried: tuple[int, ...]) -> DeadLetter:
    """Cuts that may yet come in are shut out by the next epoch; what else they hold goes there a second time, maybe.

    A record that was to begin an epoch has not begun it: the next one must.
    """
    slot = pending.slot
    if tried:
        return DeadLetter(slot.next_epoch(), Doubt.SHARED if pending.earlier else None)
    return DeadLetter(slot if slot.epoch and not slot.base_sequence else None)


def _stuck(pending: Pending) -> bool:
    """Whether sending to the same place again leads nowhere."""
    return pending.refused == UNKNOWN_PRODUCER_ID or pending.refusals >= REFUSALS_BORNE
