# SPDX-License-Identifier: Apache-2.0

from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.pacing.bucket import BURST_NS, NS_PER_S, Bucket

rates = st.floats(0.5, 1e6) | st.sampled_from([0.5, 1.0, 3.0, 49.0, 50.0, 51.0, 100.0, 1e4, 1e6])
pauses_ns = st.integers(0, 5 * NS_PER_S) | st.just(0)


def burst_lines(rate: float) -> float:
    return max(1.0, rate * BURST_NS / NS_PER_S)


@settings(max_examples=200, deadline=None)
@given(rate=rates, steps=st.lists(st.tuples(pauses_ns, st.floats(0.1, 1.0)), max_size=60))
def test_no_window_of_time_sees_more_than_rate_burst_and_slice(
    rate: float, steps: list[tuple[int, float]]
) -> None:
    bucket = Bucket(rate, 0)
    now_ns = 0
    sent: list[tuple[int, int]] = []
    for pause_ns, share in steps:
        now_ns += pause_ns
        now_ns += bucket.wait_ns(now_ns)
        lines = max(1, int(bucket.slice_lines * share))
        bucket.spend(now_ns, lines)
        sent.append((now_ns, lines))

    for first in range(len(sent)):
        lines = 0
        for at_ns, count in sent[first:]:
            lines += count
            window_s = (at_ns - sent[first][0]) / NS_PER_S
            assert lines <= (rate * window_s + burst_lines(rate) + bucket.slice_lines) * 1.001


@settings(max_examples=50, deadline=None)
@given(rate=rates)
def test_a_greedy_sender_gets_at_least_99_percent_of_its_rate(rate: float) -> None:
    bucket = Bucket(rate, 0)
    now_ns = lines = 0
    turns = 0
    while turns < 400:
        now_ns += bucket.wait_ns(now_ns)
        bucket.spend(now_ns, bucket.slice_lines)
        lines += bucket.slice_lines
        turns += 1

    assert lines >= 0.99 * rate * now_ns / NS_PER_S
    assert lines <= rate * now_ns / NS_PER_S * 1.001 + burst_lines(rate) + bucket.slice_lines


@settings(deadline=None)
@given(rate=rates, begin_ns=st.integers(0, 10**18))
def test_who_waits_as_long_as_told_may_go(rate: float, begin_ns: int) -> None:
    bucket = Bucket(rate, begin_ns)
    now_ns = begin_ns
    for _ in range(20):
        bucket.spend(now_ns, bucket.slice_lines)
        now_ns += bucket.wait_ns(now_ns)
        assert bucket.wait_ns(now_ns) == 0


@settings(deadline=None)
@given(rate=rates)
def test_the_first_line_goes_at_once(rate: float) -> None:
    assert Bucket(rate, 123).wait_ns(123) == 0


def test_half_a_line_per_second_lets_one_line_through_every_two_seconds() -> None:
    bucket = Bucket(0.5, 0)
    went_s = []
    now_ns = 0
    for _ in range(4):
        now_ns += bucket.wait_ns(now_ns)
        bucket.spend(now_ns, 1)
        went_s.append(now_ns / NS_PER_S)

    assert went_s == [0, 2, 4, 6]


def test_silence_saves_up_no_more_than_the_burst() -> None:
    bucket = Bucket(1000.0, 0)
    hour_ns = 3600 * NS_PER_S
    lines = 0
    while bucket.wait_ns(hour_ns) == 0:
        bucket.spend(hour_ns, 1)
        lines += 1

    assert lines == 20


def test_a_turn_takes_ten_milliseconds_of_rate_and_at_least_one_line() -> None:
    assert [Bucket(rate).slice_lines for rate in (0.5, 99.0, 100.0, 1000.0, 1e6)] == [1, 1, 1, 10, 10_000]


def test_more_than_allowed_leaves_a_debt() -> None:
    bucket = Bucket(100.0, 0)

    bucket.spend(0, 1000)

    assert bucket.wait_ns(0) == 10 * NS_PER_S - BURST_NS + NS_PER_S // 100


@settings(deadline=None)
@given(old=rates, new=rates, lines=st.integers(0, 10_000), after_ns=st.integers(0, 10 * NS_PER_S))
def test_a_new_rate_keeps_the_debt_as_a_number_of_lines(
    old: float, new: float, lines: int, after_ns: int
) -> None:
    bucket = Bucket(old, 0)
    bucket.spend(0, lines)
    owed = max(0.0, lines - old * after_ns / NS_PER_S)

    bucket.retune(after_ns, new)

    owed_now = max(0, bucket.tat_ns - after_ns) * new / NS_PER_S
    assert abs(owed_now - owed) <= 0.02 + owed * 1e-3


@settings(deadline=None)
@given(rate=rates, changes=st.lists(st.tuples(rates, st.integers(0, NS_PER_S)), max_size=10))
def test_changing_the_rate_back_and_forth_gives_no_lines_for_free(
    rate: float, changes: list[tuple[float, int]]
) -> None:
    bucket = Bucket(rate, 0)
    allowed = burst_lines(rate) + bucket.slice_lines
    lines = now_ns = 0
    largest = allowed
    for new, pause_ns in [*changes, (rate, 0)]:
        while bucket.wait_ns(now_ns) == 0:
            bucket.spend(now_ns, bucket.slice_lines)
            lines += bucket.slice_lines
        allowed += bucket.lines_per_s * pause_ns / NS_PER_S
        now_ns += pause_ns
        bucket.retune(now_ns, new)
        largest = max(largest, burst_lines(new) + bucket.slice_lines)

    assert lines <= (allowed + largest) * 1.001 + 1
