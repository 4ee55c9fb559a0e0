# SPDX-License-Identifier: Apache-2.0
"""Decisions that the model does not meet, or meets without looking at what they count. The rest: tests/model."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.recovery.actions import (
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
    Slot,
    WaitForReplicas,
)
from logagent.recovery.rules import (
    REFUSALS_BORNE,
    Clock,
    Look,
    Readable,
    Silence,
    Told,
    answered,
    asked,
    at_start,
    before_send,
    replicas_asked,
    unanswered,
    unaskable_for,
)

HALF_DAY_MS = 43_200_000
NOW_MS = 1_700_000_000_000
CLOCK = Clock(NOW_MS, HALF_DAY_MS)
SLOT = Slot(4000, 0, 100)
SENT = Pending(SLOT, 10, NOW_MS - 1000, sent=True)
NEVER_SENT = replace(SENT, sent=False)
ALL = Readable(10)
TOO_LARGE = replace(SENT, refused=10)


def told(last_sequence: int, epoch: int = 0) -> Told:
    return Told(epoch, last_sequence)


def test_at_start_a_batch_counts_as_sent():
    assert at_start(NEVER_SENT, reached=False) == Ask(SENT, 0.0)
    assert at_start(NEVER_SENT, reached=True) == Settle(10, finding=Finding.SETTLED)


@pytest.mark.parametrize("readable", [ALL, Readable(10, beyond=True)])
def test_what_the_log_has_or_waits_for_is_sent_again_as_it_is(readable):
    assert asked(SENT, told(109), readable, CLOCK) == Resend(SENT, finding=Finding.DELIVERED)
    assert asked(SENT, told(99), readable, CLOCK) == Resend(SENT, finding=Finding.NOT_DELIVERED)


def test_what_the_log_has_and_cannot_be_built_again_waits_for_the_replicas():
    assert asked(SENT, told(109), Readable(9), CLOCK) == WaitForReplicas(SENT, 10, 0.0)


@pytest.mark.parametrize(
    ("pending", "answer", "doubt"),
    [
        (SENT, Silence.ABSENT, Doubt.FORGOTTEN),
        (replace(SENT, slot=Slot(4000, 0, 0)), Silence.ABSENT, None),
        (replace(SENT, slot=Slot(4000, 1, 0)), Silence.ABSENT, Doubt.FORGOTTEN),
        (NEVER_SENT, Silence.ABSENT, None),
        (SENT, Silence.UNASKABLE, None),
    ],
)
def test_an_unknown_id_is_counted_if_it_was_known_once(pending, answer, doubt):
    action = asked(pending, answer, ALL, CLOCK)
    assert isinstance(action, Resend)
    assert action.doubt is doubt


def test_an_old_batch_is_counted_once_when_the_id_is_absent():
    old = replace(SENT, timestamp_ms=NOW_MS - HALF_DAY_MS)
    action = asked(old, Silence.ABSENT, ALL, CLOCK)
    assert isinstance(action, Resend)
    assert action.doubt is None
    assert before_send(action.pending, CLOCK) == (replace(old, timestamp_ms=NOW_MS), Doubt.OLD)
    anew = asked(old, Silence.ABSENT, Readable(4), CLOCK)
    assert isinstance(anew, SendAnew)
    assert anew.doubt is Doubt.OLD
    assert before_send(anew.pending, CLOCK) == (anew.pending, None)


@pytest.mark.parametrize("distance_ms", [-HALF_DAY_MS, HALF_DAY_MS])
def test_an_old_time_stamp_and_one_far_ahead_become_that_of_now(distance_ms):
    pending = replace(SENT, timestamp_ms=NOW_MS + distance_ms)
    assert before_send(pending, CLOCK) == (replace(pending, timestamp_ms=NOW_MS), Doubt.OLD)
    first = replace(pending, sent=False)
    assert before_send(first, CLOCK) == (replace(first, timestamp_ms=NOW_MS), None)
    near = replace(pending, timestamp_ms=NOW_MS + distance_ms - distance_ms // HALF_DAY_MS)
    assert before_send(near, CLOCK) == (near, None)


def test_a_cut_anew_has_a_number_of_records_that_no_other_cut_had():
    tried = replace(SENT, earlier=(8, 7))
    action = asked(tried, told(99), Readable(8), CLOCK)
    assert action == SendAnew(Pending(SLOT, 6, NOW_MS, (8, 7, 10)), finding=Finding.NOT_DELIVERED)
    assert asked(tried, told(107), Readable(8), CLOCK) == WaitForReplicas(tried, 8, 0.0)


@pytest.mark.parametrize(
    ("readable", "doubt"),
    [(Readable(0), None), (Readable(0, beyond=True), Doubt.SHARED), (Readable(1), Doubt.SHARED)],
)
def test_without_another_number_of_records_the_next_epoch_shuts_out_the_others(readable, doubt):
    tried = replace(SENT, earlier=(1,))
    action = asked(tried, told(99), readable, CLOCK)
    assert action == NewEpoch(Slot(4000, 1, 0), doubt, finding=Finding.NOT_DELIVERED)


def test_behind_the_last_epoch_comes_a_new_id():
    last = replace(SENT, slot=Slot(4000, 0x7FFF, 100))
    assert asked(last, told(99, 0x7FFF), Readable(0), CLOCK) == NewId(finding=Finding.NOT_DELIVERED)


def test_a_refused_record_goes_to_the_dead_letter_file_and_frees_its_place_only_if_nothing_may_come_in_there():
    one = replace(NEVER_SENT, records=1)
    assert answered(one, 10, NOW_MS) == DeadLetter(None)
    fenced = Slot(4000, 1, 0)
    assert answered(replace(one, slot=fenced), 10, NOW_MS) == DeadLetter(fenced)
    assert answered(replace(one, slot=Slot(4000, 1, 7)), 10, NOW_MS) == DeadLetter(None)
    assert answered(replace(one, earlier=(4,)), 10, NOW_MS) == DeadLetter(fenced, Doubt.SHARED)
    again = answered(replace(one, sent=True), 10, NOW_MS)
    assert isinstance(again, Ask)
    assert asked(again.pending, told(99), Readable(1), CLOCK) == DeadLetter(
        fenced, finding=Finding.NOT_DELIVERED
    )
    assert asked(again.pending, told(100), Readable(1), CLOCK) == WaitForReplicas(again.pending, 1, 0.0)


@pytest.mark.parametrize("code", [10, 18, 87])
def test_a_batch_that_nobody_has_is_halved_without_remembering_it(code):
    assert answered(NEVER_SENT, code, NOW_MS) == SendAnew(Pending(SLOT, 5, NOW_MS))
    assert answered(SENT, code, NOW_MS) == Ask(replace(SENT, refused=code), 0.0)


def test_what_was_too_large_and_is_not_in_the_log_is_halved_and_remembered():
    assert asked(TOO_LARGE, told(99), ALL, CLOCK) == SendAnew(
        Pending(SLOT, 5, NOW_MS, (10,)), finding=Finding.NOT_DELIVERED
    )
    assert asked(TOO_LARGE, told(109), ALL, CLOCK) == WaitForReplicas(TOO_LARGE, 10, 0.0)


def test_a_refused_time_stamp_becomes_that_of_now_in_the_same_place():
    assert answered(NEVER_SENT, 32, NOW_MS) == Resend(replace(NEVER_SENT, timestamp_ms=NOW_MS))


@pytest.mark.parametrize("code", [-1, 2, 3, 5, 6, 7, 13, 19, 20, 56, 12345])
def test_any_other_answer_leaves_open_whether_it_was_appended(code):
    assert answered(NEVER_SENT, code, NOW_MS) == unanswered(NEVER_SENT) == Resend(SENT)


@pytest.mark.parametrize("code", [45, 46, 47, 59, 90])
def test_a_refused_sequence_is_asked_about_first_at_once_then_with_pauses(code):
    first = answered(NEVER_SENT, code, NOW_MS)
    assert first == Ask(replace(NEVER_SENT, refused=code, refusals=1), 0.0)
    second = answered(first.pending, code, NOW_MS)
    assert isinstance(second, Ask)
    assert second.after_s > 0


def test_a_leader_that_refuses_what_it_waits_for_is_left_alone_with_it_after_a_while():
    refused = replace(NEVER_SENT, refused=45, refusals=REFUSALS_BORNE - 1)
    assert isinstance(asked(refused, told(99), ALL, CLOCK), Resend)
    stuck = replace(refused, refusals=REFUSALS_BORNE)
    fenced = Slot(4000, 1, 0)
    assert asked(stuck, told(99), ALL, CLOCK) == NewEpoch(fenced)
    assert asked(replace(stuck, sent=True), told(99), ALL, CLOCK) == NewEpoch(fenced, Doubt.REFUSED)
    assert asked(replace(stuck, sent=True), Silence.ABSENT, ALL, CLOCK) == NewEpoch(fenced, Doubt.FORGOTTEN)


def test_an_old_broker_that_says_it_forgot_the_id_gets_the_next_epoch():
    assert asked(replace(SENT, refused=59), Silence.ABSENT, ALL, CLOCK) == NewEpoch(
        Slot(4000, 1, 0), Doubt.FORGOTTEN
    )


@pytest.mark.parametrize(("code", "kind"), [(45, NewEpoch), (59, NewEpoch), (47, NewId), (90, NewId)])
def test_refused_and_nobody_to_ask_shuts_out_the_old_attempts_if_it_can(code, kind):
    action = asked(replace(SENT, refused=code), Silence.UNASKABLE, ALL, CLOCK)
    assert isinstance(action, kind)
    assert action.doubt is Doubt.UNASKED
    assert asked(replace(NEVER_SENT, refused=code), Silence.UNASKABLE, ALL, CLOCK).doubt is None


@pytest.mark.parametrize("answer", [told(110), told(4000), told(0, epoch=1)])
def test_a_log_that_is_ahead_of_the_journal_settles_and_is_counted(answer):
    assert asked(SENT, answer, ALL, CLOCK) == Settle(10, Doubt.JOURNAL, finding=Finding.OVERTAKEN)


@pytest.mark.parametrize(("sent", "doubt"), [(False, None), (True, Doubt.REFUSED)])
def test_another_producer_under_our_id_makes_us_take_a_new_one(sent, doubt):
    pending = replace(SENT, sent=sent, refused=47, refusals=1)
    assert asked(pending, told(3, epoch=1), ALL, CLOCK) == NewId(doubt)
    assert asked(replace(pending, refused=45), told(4000), ALL, CLOCK) == NewId(doubt)


def test_acknowledged_records_that_the_cluster_lost_go_back_to_their_place_if_they_can_be_read():
    refused = replace(NEVER_SENT, refused=45, refusals=1)
    assert asked(refused, told(92), Readable(10, lost=7), CLOCK) == SendLost(
        refused, 93, 7, finding=Finding.CLUSTER_LOST
    )
    for readable in (ALL, Readable(10, lost=6)):
        assert asked(refused, told(92), readable, CLOCK) == NewId(finding=Finding.CLUSTER_LOST)
    behind = replace(refused, slot=Slot(4000, 2, 100))
    assert asked(behind, told(9000, epoch=1), ALL, CLOCK) == NewId(finding=Finding.CLUSTER_LOST)


def test_the_first_batch_of_an_epoch_that_the_leader_has_not_seen_is_not_in_its_log():
    fenced = replace(SENT, slot=Slot(4000, 1, 0))
    assert asked(fenced, told(9000, epoch=0), ALL, CLOCK) == Resend(fenced, finding=Finding.NOT_DELIVERED)


def test_sequences_wrap():
    wrapping = replace(SENT, slot=Slot(4000, 0, 2**31 - 4))
    assert asked(wrapping, told(5), ALL, CLOCK) == Resend(wrapping, finding=Finding.DELIVERED)
    first = replace(SENT, slot=Slot(4000, 0, 0))
    assert asked(first, told(2**31 - 1), ALL, CLOCK) == Resend(first, finding=Finding.NOT_DELIVERED)
    assert asked(first, told(2**31 - 3), Readable(10, lost=2), CLOCK) == SendLost(
        first, 2**31 - 2, 2, finding=Finding.CLUSTER_LOST
    )


@given(base=st.integers(0, 2**31 - 1), records=st.integers(1, 100_000))
def test_a_slot_knows_its_own_last_sequence(base, records):
    slot = Slot(1, 0, base)
    assert slot.records_until(slot.last_sequence(records)) == records
    assert slot.records_until((base - 1) % 2**31) == 0


# -- replicas ---------------------------------------------------------------------------------------------------------

HAVE_IT = told(109)
LOOK = Look(3, 3, 1, frozenset({1, 2}), {1: HAVE_IT, 2: HAVE_IT, 3: told(99)}, least_in_sync=2)
PATIENT = {"waited_s": 599.0, "give_up_s": 600.0}


def test_what_all_in_sync_replicas_have_is_settled():
    assert replicas_asked(SENT, 10, LOOK, **PATIENT) == Settle(10, finding=Finding.DELIVERED)


@pytest.mark.parametrize(
    "change",
    [
        {"answers": {1: HAVE_IT, 2: told(99)}},
        {"answers": {1: HAVE_IT}},
        {"answers": {1: HAVE_IT, 2: Silence.ABSENT}},
        {"answers": {1: HAVE_IT, 2: told(109, epoch=1)}},
        {"in_sync": frozenset({1}), "answers": {1: HAVE_IT}},
        {"in_sync": frozenset({2, 3}), "answers": {1: HAVE_IT, 2: HAVE_IT, 3: HAVE_IT}},
    ],
)
def test_fewer_are_waited_for(change):
    action = replicas_asked(SENT, 10, replace(LOOK, **change), **PATIENT)
    assert isinstance(action, WaitForReplicas)
    assert action.after_s > 0


@pytest.mark.parametrize(
    "change",
    [
        {"answers": {1: told(99), 2: HAVE_IT}},
        {"answers": {1: Silence.ABSENT, 2: HAVE_IT}},
        {"epoch_after": 4},
    ],
)
def test_a_leader_without_it_and_a_new_leader_are_asked_again(change):
    assert isinstance(replicas_asked(SENT, 10, replace(LOOK, **change), **PATIENT), Ask)


def test_after_a_while_replicas_that_do_not_answer_are_not_waited_for():
    silent = replace(LOOK, answers={1: HAVE_IT})
    assert replicas_asked(SENT, 10, silent, waited_s=600, give_up_s=600) == Release(Doubt.GIVEN_UP)
    assert isinstance(replicas_asked(SENT, 10, LOOK, waited_s=600, give_up_s=600), Settle)


@pytest.mark.parametrize(("vanished", "doubt"), [(True, Doubt.TOPIC_GONE), (False, Doubt.GIVEN_UP)])
def test_a_partition_that_is_gone_or_denied_is_given_up_in_time(vanished, doubt):
    assert isinstance(unaskable_for(SENT, vanished=vanished, waited_s=599, give_up_s=600), Ask)
    assert unaskable_for(SENT, vanished=vanished, waited_s=600, give_up_s=600) == Release(doubt)
