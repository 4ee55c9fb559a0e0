# SPDX-License-Identifier: Apache-2.0

import time

import gevent
import pytest

from logagent.sources import turnstile as turnstile_module
from logagent.sources.turnstile import PASS_BUDGET_S, REST_S, Turnstile

PASS_S = 1e-6
real_sleep = gevent.sleep


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.rests: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        real_sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(turnstile_module.gevent, "sleep", made.sleep)
    return made


def test_greenlets_take_turns_in_the_order_of_asking(clock: Clock) -> None:
    turnstile = Turnstile(clock)
    order: list[str] = []

    def work(name: str) -> None:
        for _ in range(3):
            with turnstile.turn():
                order.append(name)
                clock.now_s += PASS_BUDGET_S

    with turnstile.turn():
        workers = [gevent.spawn(work, name) for name in "abc"]
        real_sleep(PASS_S)
    gevent.joinall(workers, timeout=2)

    assert order == list("abcabcabc")


def test_the_loop_gets_its_turn_after_a_millisecond_of_work(clock: Clock) -> None:
    turnstile = Turnstile(clock)
    for _ in range(100):
        with turnstile.turn():
            clock.now_s += PASS_BUDGET_S / 10

    assert len(clock.rests) in (9, 10)
    assert set(clock.rests) == {REST_S}
    assert REST_S > 0


def test_one_long_turn_is_followed_by_a_rest(clock: Clock) -> None:
    turnstile = Turnstile(clock)
    with turnstile.turn():
        clock.now_s += 1.0
    with turnstile.turn():
        pass
    with turnstile.turn():
        pass

    assert len(clock.rests) == 1


def test_time_between_turns_does_not_count(clock: Clock) -> None:
    turnstile = Turnstile(clock)
    for _ in range(100):
        clock.now_s += 1.0
        with turnstile.turn():
            pass

    assert clock.rests == []


def test_timers_fire_while_a_file_works_without_a_pause() -> None:
    """Real time: turns of one millisecond without end, and a timer of one millisecond beside them."""
    turnstile = Turnstile(time.monotonic)
    fired: list[int] = []
    turns = 0
    gevent.spawn_later(0.001, fired.append, 1)
    while not fired:
        turns += 1
        assert turns < 50, "the timer starved"
        with turnstile.turn():
            begun_s = time.monotonic()
            while time.monotonic() - begun_s < PASS_BUDGET_S:
                pass


def test_a_turn_that_fails_hands_on(clock: Clock) -> None:
    turnstile = Turnstile(clock)

    def fail() -> None:
        with turnstile.turn():
            clock.now_s += 0.5
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    with gevent.Timeout(1), turnstile.turn():
        pass
    assert len(clock.rests) == 1


def test_one_who_is_killed_while_resting_hands_on(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    turnstile = Turnstile(clock)
    with turnstile.turn():
        clock.now_s += 1.0

    def work() -> None:
        with turnstile.turn():
            pass

    with monkeypatch.context() as slow:
        slow.setattr(turnstile_module.gevent, "sleep", lambda _seconds: real_sleep(10))
        worker = gevent.spawn(work)
        real_sleep(PASS_S)
        worker.kill()

    with gevent.Timeout(1), turnstile.turn():
        pass
