# SPDX-License-Identifier: Apache-2.0

from logagent.senders.lanes import Lane, Schedule
from logagent.senders.partition import Partition, State
from tests.unit.pipeline.sources import Source

LINGER_S = 0.05
FULL = 10_000


def lane(leader: int, *, now_s: float = 0.0, alone: bool = False, lines: int = 1) -> Lane:
    made = Lane(Partition("logs", 0, LINGER_S))
    made.leader = leader
    made.partition.alone = alone
    made.partition.open._sealed_s = now_s  # as in the midst of work: it lingers its full time
    if lines:
        made.partition.open.add(Source().segment(*[b"x"] * lines), now_s, 0)
    return made


def schedule_with(*lanes: Lane) -> Schedule:
    schedule = Schedule(LINGER_S)
    for one in lanes:
        schedule.push(one, one.partition.due_s(FULL))
    return schedule


def test_a_lane_is_ready_when_it_is_due_and_not_before() -> None:
    one = lane(1)
    schedule = schedule_with(one)

    assert schedule.advance(0.04, FULL) == LINGER_S
    assert list(schedule.leaders()) == []
    assert schedule.advance(0.05, FULL) == float("inf")
    assert list(schedule.leaders()) == [1]
    assert schedule.take(1) == [one]
    assert schedule.take(1) == []


def test_lanes_of_one_leader_share_a_request() -> None:
    lanes = [lane(1), lane(1), lane(2)]
    schedule = schedule_with(*lanes)
    schedule.advance(1.0, FULL)

    assert schedule.take(1) == lanes[:2]
    assert schedule.take(2) == lanes[2:]


def test_pushing_twice_is_harmless() -> None:
    one = lane(1)
    schedule = schedule_with(one, one)
    schedule.push(one, 0.0)
    schedule.advance(1.0, FULL)

    assert schedule.take(1) == [one]
    assert not schedule.has_ready(1)


def test_a_lane_pushed_too_early_is_looked_at_again_when_it_is_due() -> None:
    one = lane(1)
    schedule = Schedule(LINGER_S)
    schedule.push(one, 0.0)

    assert schedule.advance(0.0, FULL) == LINGER_S


def test_a_lane_with_nothing_to_send_is_forgotten() -> None:
    one = lane(1, lines=0)
    schedule = Schedule(LINGER_S)
    schedule.push(one, 0.0)

    assert schedule.advance(0.0, FULL) == float("inf")
    assert list(schedule.leaders()) == []


def test_a_lane_in_flight_is_not_ready() -> None:
    one = lane(1)
    schedule = schedule_with(one)
    one.partition.state = State.IN_FLIGHT

    schedule.advance(1.0, FULL)

    assert not schedule.has_ready(1)


def test_full_lanes_do_not_linger() -> None:
    one = lane(1, lines=100)
    schedule = schedule_with(one)
    schedule.push(one, one.partition.due_s(100))

    schedule.advance(0.0, 100)

    assert schedule.take(1) == [one]


def test_leaders_take_turns() -> None:
    """The one that was served goes behind the others as soon as it has something again."""
    lanes = {leader: lane(leader) for leader in (1, 2, 3)}
    schedule = schedule_with(*lanes.values())
    schedule.advance(1.0, FULL)
    served = []
    for _ in range(6):
        leader = next(schedule.leaders())
        served.append(leader)
        schedule.take(leader)
        schedule.push(lanes[leader], 0.0)
        schedule.advance(1.0, FULL)

    assert served == [1, 2, 3, 1, 2, 3]


def test_a_lonely_lane_travels_alone() -> None:
    lonely, first, second = lane(1, alone=True), lane(1), lane(1)
    schedule = schedule_with(first, lonely, second)
    schedule.advance(1.0, FULL)

    assert schedule.take(1) == [first, second]
    assert schedule.take(1) == [lonely]


def test_lonely_lanes_travel_one_by_one_and_do_not_starve_the_others() -> None:
    lonely = [lane(1, alone=True), lane(1, alone=True)]
    other = lane(1)
    schedule = schedule_with(lonely[0], other, lonely[1])
    schedule.advance(1.0, FULL)

    assert [schedule.take(1) for _ in range(3)] == [[lonely[0]], [other], [lonely[1]]]


def test_when_leaders_change_what_is_ready_moves_along() -> None:
    one, two = lane(1), lane(1)
    schedule = schedule_with(one, two)
    schedule.advance(1.0, FULL)

    two.leader = 2
    schedule.reassign()

    assert schedule.take(1) == [one]
    assert schedule.take(2) == [two]


def test_lanes_past_half_their_linger_are_taken_along() -> None:
    one = lane(1)
    schedule = Schedule(LINGER_S)

    assert not schedule.soon(one, 0.02)
    assert schedule.soon(one, 0.03)


def test_lanes_that_travel_alone_wait_or_have_nothing_are_not_taken_along() -> None:
    schedule = Schedule(LINGER_S)
    waiting = lane(1)
    waiting.partition.state = State.WAITING

    assert not schedule.soon(waiting, 1.0)
    assert not schedule.soon(lane(1, alone=True), 1.0)
    assert not schedule.soon(lane(1, lines=0), 1.0)
