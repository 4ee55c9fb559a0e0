# SPDX-License-Identifier: Apache-2.0

import pytest

from logagent.sources.deadlines import Deadlines


class Bell:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.rung = 0
        self.deadlines: Deadlines[str] = Deadlines(lambda: self.now_s)
        self.deadlines.on_sooner = self.ring

    def ring(self) -> None:
        self.rung += 1


@pytest.fixture
def bell() -> Bell:
    return Bell()


def test_without_deadlines_there_is_nothing_to_wait_for(bell: Bell) -> None:
    assert bell.deadlines.wait_s() is None
    assert bell.deadlines.passed() == []


def test_things_come_in_the_order_of_their_times_and_once(bell: Bell) -> None:
    bell.deadlines.set("b", 107)
    bell.deadlines.set("a", 105)
    assert bell.deadlines.wait_s() == 5
    bell.now_s = 106
    assert bell.deadlines.passed() == ["a"]
    bell.now_s = 110
    assert bell.deadlines.passed() == ["b"]
    assert bell.deadlines.wait_s() is None


def test_the_time_set_last_holds(bell: Bell) -> None:
    bell.deadlines.set("a", 105)
    bell.deadlines.set("a", 109)
    bell.now_s = 106
    assert bell.deadlines.passed() == []
    assert bell.deadlines.wait_s() == 3


def test_who_waits_is_told_of_something_sooner_only(bell: Bell) -> None:
    bell.deadlines.set("a", 105)
    bell.deadlines.set("b", 107)
    bell.deadlines.set("a", 109)
    assert bell.rung == 1
    bell.deadlines.set("c", 101)
    assert bell.rung == 2
