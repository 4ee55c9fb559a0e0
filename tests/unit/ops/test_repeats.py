# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

from logagent.ops.repeats import LIMIT_S, MAX_SUBJECTS, Over, Repeats


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_first_failure_is_told_and_the_next_ones_are_kept_silent_for_a_minute() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    assert repeats.failed("a") == 0
    clock.now_s += 30
    assert repeats.failed("a") is None
    clock.now_s += 29.9
    assert repeats.failed("a") is None
    clock.now_s += 0.1
    assert repeats.failed("a") == 2


def test_the_pause_between_messages_doubles_up_to_an_hour() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    told_s = []
    for _ in range(8 * 3600):
        if repeats.failed("a") is not None:
            told_s.append(clock.now_s)
        clock.now_s += 1
    pauses = [later - earlier for earlier, later in pairwise(told_s)]
    assert pauses[:4] == [60, 120, 240, 480]
    assert max(pauses) == pauses[-1] == LIMIT_S


def test_subjects_do_not_silence_each_other() -> None:
    repeats = Repeats(Clock())
    assert repeats.failed("a") == 0
    assert repeats.failed("b") == 0
    assert repeats.failed("a") is None


def test_the_end_of_a_trouble_is_told_once_with_its_count_and_length() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    repeats.failed("a")
    clock.now_s += 90
    repeats.failed("a")
    clock.now_s += 10
    assert repeats.over("a") == Over(count=2, lasted_s=100)
    assert repeats.over("a") is None


def test_a_trouble_after_the_end_of_one_is_told_at_once() -> None:
    repeats = Repeats(Clock())
    repeats.failed("a")
    repeats.over("a")
    assert repeats.failed("a") == 0


def test_memory_is_bounded_and_the_subject_that_failed_longest_ago_is_forgotten() -> None:
    repeats = Repeats(Clock())
    for number in range(MAX_SUBJECTS):
        repeats.failed(number)
    repeats.failed(0)
    repeats.failed("one more")
    assert repeats.over(0) is not None
    assert repeats.over(1) is None
    assert repeats.over(2) is not None
