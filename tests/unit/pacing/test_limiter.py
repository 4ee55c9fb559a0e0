# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable

import gevent
import pytest

from logagent.pacing import limiter as limiter_module
from logagent.pacing.bucket import NS_PER_S
from logagent.pacing.limiter import RETUNE_CHECK_S, Limiter


class VirtualTime:
    """A clock that only sleepers move. One sleeper at a time: the limiter's baton sees to that."""

    def __init__(self) -> None:
        self.ns = 10**15
        self.slept_s: list[float] = []
        self.during_sleep: Callable[[], None] | None = None

    def __call__(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if self.during_sleep is not None:
            action, self.during_sleep = self.during_sleep, None
            action()
        self.ns += round(seconds * NS_PER_S)
        real_sleep(1e-6)


real_sleep = gevent.sleep


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    made = VirtualTime()
    monkeypatch.setattr(limiter_module.gevent, "sleep", made.sleep)
    return made


def send(limiter: Limiter, lines: int) -> None:
    while lines > 0:
        with limiter.turn() as may:
            taken = lines if may is None else min(may, lines)
            limiter.spend(taken)
            lines -= taken


@pytest.mark.parametrize("rate", [0.5, 7.0, 100.0, 12_345.0, 1e6])
def test_a_thousand_turns_take_the_time_that_the_rate_says(time: VirtualTime, rate: float) -> None:
    limiter = Limiter(rate, now_ns=time)
    begun_ns = time.ns
    lines = max(50, int(rate * 5))

    send(limiter, lines)

    elapsed_s = (time.ns - begun_ns) / NS_PER_S
    burst_and_slice_s = max(0.03, 2 / rate)
    assert lines / rate - burst_and_slice_s <= elapsed_s <= lines / rate * 1.01


def test_unlimited_never_waits(time: VirtualTime) -> None:
    limiter = Limiter(None, now_ns=time)

    assert limiter.unlimited
    send(limiter, 10**9)

    assert time.slept_s == []


def test_who_sends_nothing_pays_nothing(time: VirtualTime) -> None:
    limiter = Limiter(1.0, now_ns=time)

    for _ in range(10):
        with limiter.turn():
            pass

    assert time.slept_s == []


def test_files_of_a_service_share_its_rate_evenly(time: VirtualTime) -> None:
    limiter = Limiter(100.0, now_ns=time)
    sent = {"a": 0, "b": 0, "c": 0}

    def work(name: str) -> None:
        while sum(sent.values()) < 300:
            with limiter.turn() as may:
                sent[name] += may or 0
                limiter.spend(may or 0)

    gevent.joinall([gevent.spawn(work, name) for name in sent], timeout=5)

    assert max(sent.values()) - min(sent.values()) <= 2


def test_a_file_has_its_turn_for_itself(time: VirtualTime) -> None:
    limiter = Limiter(100.0, now_ns=time)
    order: list[str] = []

    def other() -> None:
        with limiter.turn():
            order.append("other")

    with limiter.turn():
        greenlet = gevent.spawn(other)
        real_sleep(1e-6)
        order.append("first")
    greenlet.join(timeout=1)

    assert order == ["first", "other"]


def test_a_waiter_looks_again_twice_a_second(time: VirtualTime) -> None:
    limiter = Limiter(0.1, now_ns=time)

    send(limiter, 2)

    assert max(time.slept_s) <= RETUNE_CHECK_S
    assert sum(time.slept_s) == pytest.approx(10.0)


def test_a_raised_rate_is_felt_by_who_waits(time: VirtualTime) -> None:
    limiter = Limiter(0.001, now_ns=time)
    send(limiter, 1)
    time.during_sleep = lambda: limiter.retune(1000.0)

    send(limiter, 1)

    assert sum(time.slept_s) <= 2 * RETUNE_CHECK_S


def test_a_limit_that_is_lifted_lets_who_waits_go(time: VirtualTime) -> None:
    limiter = Limiter(0.001, now_ns=time)
    send(limiter, 1)
    time.during_sleep = lambda: limiter.retune(None)

    send(limiter, 10**6)

    assert len(time.slept_s) == 1
    assert limiter.unlimited


def test_a_limit_that_is_set_later_holds(time: VirtualTime) -> None:
    limiter = Limiter(None, now_ns=time)

    limiter.retune(10.0)
    send(limiter, 21)

    assert sum(time.slept_s) == pytest.approx(2.0)


def test_every_wait_is_told(time: VirtualTime) -> None:
    told: list[float] = []
    limiter = Limiter(10.0, now_ns=time, on_wait=told.append)

    send(limiter, 5)

    assert told == time.slept_s
    assert sum(told) == pytest.approx(0.4)
