# SPDX-License-Identifier: Apache-2.0
import pytest

from logagent.control.steps import CUT, LIST, PROBE, Heard, Pace, Retry, StaleVotes, Step, Visit, next_step

PACE = Pace()
LASTED = Visit(listed=True, lasted_s=11, blamed=True)
ENDED = Visit(listed=True, lasted_s=11, blamed=False)
SHORT = Visit(listed=True, lasted_s=1, blamed=False)
DEAD = Visit(listed=False, lasted_s=0, blamed=True)


def middle():
    return 0.5


def step(heard, now_s, listed_s=0.0, answered_s=None):
    return next_step(PACE, heard, listed_s, listed_s if answered_s is None else answered_s, now_s)


def test_a_change_is_listed_after_a_short_quiet():
    heard = Heard(0).sign(10, 1)

    assert step(heard, 10.0, listed_s=9) == Step("wait", 10.3)
    assert step(heard, 10.3, listed_s=9) == LIST


def test_changes_without_end_are_listed_after_two_seconds():
    heard = Heard(0)
    for tenth in range(100, 120):
        heard = heard.sign(tenth / 10, 5)
    assert step(heard, 11.9, listed_s=9) == Step("wait", 12.0)

    heard = heard.sign(12.0, 5)
    assert step(heard, 12.0, listed_s=9) == LIST


def test_a_sign_of_life_is_no_change():
    assert Heard(0).sign(10, 0) == Heard(10)
    assert Heard(0).sign(10, 2).sign(11, 0) == Heard(11, 10, 10)


def test_what_was_taken_up_is_not_listed_twice():
    assert step(Heard(0).sign(10, 1).told(), 10.5, listed_s=10.4) == Step("wait", 13.4)


@pytest.mark.parametrize(("heard_s", "listed_s"), [(10, 0), (0, 10)])
def test_silence_is_probed_after_the_last_sign_of_the_member(heard_s, listed_s):
    assert step(Heard(heard_s), 12.9, listed_s) == Step("wait", 13)
    assert step(Heard(heard_s), 13, listed_s) == PROBE


def test_a_watch_that_hangs_is_cut_however_well_the_member_answers():
    assert step(Heard(10), 79.9, listed_s=79) == Step("wait", 80)
    assert step(Heard(10), 80, listed_s=79) == CUT


def test_our_keys_are_listed_every_minute_whatever_is_heard():
    assert step(Heard(60), 60.9, listed_s=1, answered_s=60) == Step("wait", 61)
    assert step(Heard(60), 61, listed_s=1, answered_s=60) == LIST


def test_an_answer_is_a_sign_of_life():
    assert step(Heard(10), 14, listed_s=10, answered_s=13) == Step("wait", 16)


def test_the_first_change_of_member_is_made_at_once():
    assert Retry().after(LASTED, PACE).plan(LASTED, 3, middle) == (True, 0.0)


def test_a_single_member_gets_a_pause():
    assert Retry().after(LASTED, PACE).plan(LASTED, 1, middle) == (False, pytest.approx(0.15))


def test_a_single_member_that_is_not_to_blame_is_asked_again_at_once():
    assert Retry().after(ENDED, PACE).plan(ENDED, 1, middle) == (False, 0.0)


def test_a_watch_that_ends_again_and_again_goes_elsewhere_slowly():
    retry = Retry().after(SHORT, PACE)
    delays = []
    for _ in range(6):
        retry = retry.after(SHORT, PACE)
        move, delay_s = retry.plan(SHORT, 3, middle)
        assert move
        delays.append(delay_s)

    assert delays == pytest.approx([0.15, 0.3, 0.6, 0.6, 0.6, 0.6])


def test_pauses_grow_to_half_a_minute_while_nobody_answers():
    retry = Retry()
    delays = []
    for _ in range(12):
        retry = retry.after(DEAD, PACE)
        delays.append(retry.plan(DEAD, 3, middle)[1])

    assert delays[:4] == pytest.approx([0.0, 0.15, 0.3, 0.6])
    assert delays[-1] == pytest.approx(22.5)
    assert delays == sorted(delays)


def test_a_good_visit_clears_what_was_before():
    retry = Retry(20).after(LASTED, PACE)

    assert retry == Retry(1)
    assert Retry(20).after(SHORT, PACE) == Retry(4)


def test_all_members_together_are_believed_to_be_behind():
    votes = StaleVotes().vote("a").vote("a").vote("b")
    assert not votes.agreed(3)
    assert votes.vote("c").agreed(3)


def test_most_members_are_enough_when_the_others_stay_silent():
    votes = StaleVotes().vote("a").vote("b")
    for _ in range(4):
        votes = votes.miss()
    assert not votes.agreed(3)
    assert votes.miss().agreed(3)


def test_less_than_half_of_the_members_never_are():
    votes = StaleVotes().vote("a")
    for _ in range(100):
        votes = votes.miss()
    assert not votes.agreed(3)


def test_one_of_two_addresses_may_be_dead_for_good():
    votes = StaleVotes().vote("a")
    for _ in range(5):
        assert not votes.agreed(2)
        votes = votes.miss()
    assert votes.agreed(2)


def test_silence_before_the_first_vote_does_not_count():
    votes = StaleVotes()
    for _ in range(100):
        votes = votes.miss()
    assert not votes.vote("a").vote("b").agreed(3)
