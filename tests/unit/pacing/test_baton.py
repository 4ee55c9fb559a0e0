# SPDX-License-Identifier: Apache-2.0

import gevent
import pytest
from gevent import Greenlet
from gevent.event import Event

from logagent.pacing.baton import Baton

PASS_S = 1e-6


class Queue:
    """Greenlets that take turns when they are let."""

    def __init__(self, baton: Baton) -> None:
        self.baton = baton
        self.order: list[str] = []
        self.go = {}
        self.greenlets: dict[str, Greenlet] = {}

    def join(self, name: str, times: int = 1) -> None:
        self.go[name] = Event()
        self.greenlets[name] = gevent.spawn(self._work, name, times)
        gevent.sleep(PASS_S)

    def _work(self, name: str, times: int) -> None:
        for _ in range(times):
            with self.baton.turn():
                self.order.append(name)
                self.go[name].wait()


def test_turns_come_in_the_order_of_asking() -> None:
    queue = Queue(Baton())
    for name in "abcd":
        queue.join(name)
    for name in "dbca":
        queue.go[name].set()
    gevent.joinall(list(queue.greenlets.values()), timeout=1)

    assert queue.order == list("abcd")
    assert queue.baton.waiting == 0


def test_who_lets_go_and_asks_again_stands_behind_all_others() -> None:
    queue = Queue(Baton())
    for name in "ab":
        queue.join(name, times=3)
    for event in queue.go.values():
        event.set()
    gevent.joinall(list(queue.greenlets.values()), timeout=1)

    assert queue.order == list("ababab")


def test_one_who_is_killed_in_line_is_left_out() -> None:
    queue = Queue(Baton())
    for name in "abc":
        queue.join(name)

    queue.greenlets["b"].kill()
    assert queue.baton.waiting == 1
    queue.go["a"].set()
    queue.go["c"].set()
    gevent.joinall(list(queue.greenlets.values()), timeout=1)

    assert queue.order == list("ac")


def test_a_turn_given_to_one_who_dies_before_it_can_run_is_not_lost() -> None:
    baton = Baton()
    order: list[str] = []

    def take(name: str) -> None:
        with baton.turn():
            order.append(name)

    with baton.turn():
        first, second = gevent.spawn(take, "first"), gevent.spawn(take, "second")
        gevent.sleep(PASS_S)
        first.kill(block=False)  # will reach it after the baton was given to it below
    gevent.joinall([first, second], timeout=1)

    assert second.dead
    with gevent.Timeout(1), baton.turn():
        order.append("again")
    assert order == ["second", "again"]


def test_one_who_is_killed_while_holding_hands_on() -> None:
    queue = Queue(Baton())
    for name in "ab":
        queue.join(name)

    queue.greenlets["a"].kill()
    queue.go["b"].set()
    queue.greenlets["b"].join(timeout=1)

    assert queue.order == list("ab")


def test_a_failure_inside_the_turn_hands_on() -> None:
    baton = Baton()

    def fail() -> None:
        with baton.turn():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    with gevent.Timeout(1), baton.turn():
        assert baton.waiting == 0
