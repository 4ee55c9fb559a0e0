# SPDX-License-Identifier: Apache-2.0
"""The rules of recovery through every order of crashes, late requests, fail-overs, expiry, vanished lines and splits.

Each rule is also removed, one at a time; then the search must find a way to lose, double or disorder a line, or to
hang.
"""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from logagent.kafka.error_codes import RECORD_REFUSALS
from logagent.recovery import rules
from logagent.recovery.actions import (
    DeadLetter,
    NewEpoch,
    NewId,
    Release,
    Resend,
    SendAnew,
    Settle,
    WaitForReplicas,
)
from logagent.recovery.rules import Silence
from tests.model.recovery_search import Found, explore, walk
from tests.model.recovery_world import World

pytestmark = pytest.mark.timeout(180)  # a busy machine needs several times the seconds of an idle one

THREE_NODES = {"nodes": 3, "ticks": 0, "lowering": False, "lives": 2, "batch": 1}
BURIED = {"batch": 1, "lives": 2, "ticks": 0, "poison": 1, "faults": 4}
LIMIT_MOVES = {"lines": 2, "faults": 5, "lives": 2, "ticks": 0, "raising": True, "copies": 4}

SMALL = {
    "as usual": World(),
    "nobody may be asked": World(unaskable=True),
    "lines of two files": World(files=2),
    "ids forgotten early": World(retention=True, ticks=1, lines=2),
    "three nodes": World(lines=2, faults=3, **THREE_NODES),
    "a record that is too large": World(lines=2, ticks=1, poison=0, raising=True, faults=3),
}
LARGE = {
    "three faults": World(faults=3),
    "three faults, nobody may be asked": World(faults=3, unaskable=True),
    "four faults, two lines": World(lines=2, faults=4),
    "four lines of two files": World(lines=4, files=2),
    "three nodes, five faults": World(lines=1, files=2, faults=5, **THREE_NODES),
    "three nodes, four faults": World(lines=2, faults=4, **THREE_NODES),
    "the limit moves": World(**LIMIT_MOVES),
    "the limit moves, nobody may be asked": World(unaskable=True, **LIMIT_MOVES),
    "a record that is too large": World(lines=2, ticks=1, poison=0, raising=True, faults=4),
    "a record that is too large, nobody may be asked": World(
        lines=2, ticks=1, poison=0, raising=True, faults=4, unaskable=True
    ),
    "ids forgotten early": World(retention=True, faults=3, ticks=1),
    "a refused record was to begin an epoch": World(**BURIED),
}


def show(name: str, found: Found, world: World) -> None:
    outcome = found.violation or "holds"
    print(f"\n{name}: {outcome}; {found.states:,} states, {found.seconds:.1f} s, decided {world.seen}")
    for label in found.trace:
        print("   ", label)


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_lost_doubled_or_disordered(name: str) -> None:
    found = explore(SMALL[name])
    show(name, found, SMALL[name])
    assert found.violation == ""
    assert found.states > 5_000


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LARGE)
def test_nothing_is_lost_doubled_or_disordered_within_larger_bounds(name: str) -> None:
    found = explore(LARGE[name])
    show(name, found, LARGE[name])
    assert found.violation == ""


WALKS = {
    "askable": World(lines=8, faults=12, ticks=4, lives=6, net=4, copies=9),
    "unaskable": World(lines=8, faults=12, ticks=4, lives=6, net=4, copies=9, unaskable=True),
    "two files, three nodes": World(
        lines=8, files=2, faults=14, ticks=4, lives=7, net=4, nodes=3, batch=3, raising=True, poison=3, copies=9
    ),
}  # fmt: skip


def stroll(name: str, seconds: float) -> None:
    found = walk(WALKS[name], seconds=seconds, seed=1)
    show(name, found, WALKS[name])
    assert found.violation == ""
    assert found.states > 1_000


@pytest.mark.parametrize("name", WALKS)
def test_random_walks_through_long_lives_find_nothing(name: str) -> None:
    stroll(name, 0.7)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", WALKS)
def test_long_random_walks_find_nothing(name: str) -> None:
    stroll(name, 60)


def test_every_kind_of_decision_is_met() -> None:
    for world in (World(lines=2), SMALL["a record that is too large"]):
        if not world.seen:
            explore(world)
    met = set(SMALL["a record that is too large"].seen)
    assert met == {
        "Settle", "Resend", "Ask", "SendAnew", "NewEpoch", "WaitForReplicas", "DeadLetter",
    }  # fmt: skip


# -- every rule removed -----------------------------------------------------------------------------------------------

Decide = Callable[..., object]


def without(**changed: Decide) -> SimpleNamespace:
    """The rules with some of them replaced."""
    names = ("at_start", "before_send", "unanswered", "answered", "asked", "replicas_asked")
    return SimpleNamespace(**{name: getattr(rules, name) for name in names} | changed)


def asked_but(change: Callable[..., object]) -> SimpleNamespace:
    """The rules with what they make of the leader's word changed by `change(action, pending, answer)`."""
    return without(asked=lambda p, answer, *rest: change(rules.asked(p, answer, *rest), p, answer))


def at_start_but(change: Callable[..., object]) -> SimpleNamespace:
    return without(
        at_start=lambda p, reached: (
            rules.at_start(p, reached=True) if reached else change(replace(p, sent=True))
        )
    )


def leaders_word(action, pending, answer):
    delivered = isinstance(action, Resend) and action.finding is rules.Finding.DELIVERED
    return Settle(pending.records) if delivered else action


def instead(kind: type, make: Callable[..., object]) -> Callable[..., object]:
    return lambda action, pending, answer: make(action, pending) if isinstance(action, kind) else action


def uncounted(silence: Silence) -> Callable[..., object]:
    return lambda action, pending, answer: replace(action, doubt=None) if answer is silence else action


MUTANTS = {
    "1: durable positions settle nothing": (
        without(at_start=lambda p, reached: rules.at_start(p, reached=False)),
        {},
        "its durable position says that it is settled",
    ),
    "1: sent under a new id before the old intent is settled": (
        at_start_but(lambda p: Release()), {}, "twice, not counted"),
    "2: sent again without asking": (
        at_start_but(Resend), {"retention": True, "ticks": 1, "lines": 2}, "twice, not counted"),
    "2: the leader's word settles": (asked_but(leaders_word), {}, "settled but lost"),
    "2: 7 settles": (
        without(answered=lambda p, code, now: rules.answered(p, 0 if code == 7 else code, now)),
        {},
        "settled but lost",
    ),
    "3: old batches are not counted": (
        without(before_send=lambda p, clock: (rules.before_send(p, clock)[0], None)), {}, "twice, not counted"),
    "3: old batches keep their time stamp": (
        without(before_send=lambda p, clock: (p, rules.before_send(p, clock)[1])),
        {"lines": 1, "lowering": False},
        "more than 3 times",
    ),
    "3: forgotten ids are not counted": (
        asked_but(uncounted(Silence.ABSENT)), {"retention": True, "ticks": 1, "lines": 2}, "twice, not counted"),
    "4: the leader's word settles what cannot be sent again": (
        asked_but(instead(WaitForReplicas, lambda a, p: Settle(a.records))), {}, "settled but lost"),
    "4: an answer 10 is always the last word": (
        without(answered=lambda p, code, now: rules.answered(
            replace(p, sent=p.sent and code not in RECORD_REFUSALS), code, now)),
        {},
        "settled but lost",
    ),
    "4: what was too large is sent again as it is": (
        without(asked=lambda p, *rest: rules.asked(
            replace(p, refused=0) if p.refused in RECORD_REFUSALS else p, *rest)),
        {},
        "never finishes",
    ),
    "5: earlier cuts are forgotten": (
        asked_but(instead(SendAnew, lambda a, p: replace(a, pending=replace(a.pending, earlier=())))),
        {},
        "twice, not counted|settled but lost",
    ),
    "5: cut anew under a new id": (asked_but(instead(SendAnew, lambda a, p: NewId())), {}, "twice, not counted"),
    "5: nothing is left, and the next batch gets a new id": (
        asked_but(instead(NewEpoch, lambda a, p: NewId(a.doubt))), {}, "behind a later one"),
    "5: nothing is left, and the next batch gets the same place": (
        asked_but(instead(NewEpoch, lambda a, p: NewEpoch(p.slot, a.doubt))), {}, "settled but lost"),
    "6: cut anew unasked, and not counted": (
        asked_but(uncounted(Silence.UNASKABLE)), {"unaskable": True}, "twice, not counted"),
    "6: refused unasked, and sent to the same place for ever": (
        without(asked=lambda p, *rest: rules.asked(replace(p, refused=0, refusals=0), *rest)),
        {"unaskable": True, "lowering": False},
        "never finishes",
    ),
    "4: the leader may change while replicas are asked": (
        without(replicas_asked=lambda p, records, look, **limits: rules.replicas_asked(
            p, records, replace(look, epoch_after=look.epoch_before), **limits)),
        {"lines": 1, "files": 2, "faults": 5} | THREE_NODES,
        "settled but lost",
    ),
    "a time-out counts as never sent": (
        without(unanswered=lambda p: Resend(p)), {}, "twice, not counted|settled but lost"),
}  # fmt: skip

RARE_MUTANTS = {
    "5: lines shared with an earlier cut are not counted": (
        asked_but(instead(NewEpoch, lambda a, p: NewEpoch(a.slot))), LIMIT_MOVES, "twice, not counted"),
    "6: refused unasked, and sent under a new id": (
        asked_but(lambda action, p, answer: NewId(action.doubt) if isinstance(action, NewEpoch)
                  and answer is Silence.UNASKABLE else action),
        {"unaskable": True} | LIMIT_MOVES,
        "behind a later one",
    ),
}  # fmt: skip


RARE_MUTANTS["5: a refused record was to begin an epoch, and the next one need not"] = (
    without(answered=lambda p, code, now: unless_counted(rules.answered(p, code, now))),
    BURIED,
    "behind a later one",
)


def unless_counted(action):
    fenced = isinstance(action, DeadLetter) and action.doubt is None
    return replace(action, next_slot=None) if fenced else action


def hunt(name: str, mutant: SimpleNamespace, bounds: dict[str, object], expected: str) -> None:
    world = World(rules=mutant, **bounds)
    found = explore(world)
    show(name, found, world)
    assert found.violation
    assert any(part in found.violation for part in expected.split("|")), found.violation


@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_removed_shows_a_trace(name: str) -> None:
    hunt(name, *MUTANTS[name])


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RARE_MUTANTS)
def test_a_rule_removed_shows_a_trace_within_larger_bounds(name: str) -> None:
    hunt(name, *RARE_MUTANTS[name])
