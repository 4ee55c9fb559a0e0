# SPDX-License-Identifier: Apache-2.0
"""Random lives of log files: nothing is lost, nothing comes twice but after a kill, lines of a file come in order.

And every rule that is broken on purpose is caught by the same lives.
"""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from logagent.pipeline.outlet import Route
from tests.model import life
from tests.model.life import Life
from tests.model.mutants import MUTANTS
from tests.model.record import ACTIONS, PATTERNS
from tests.unit.sources.twins import until

WEIGHTED = [action for action, weight in ACTIONS.items() for _ in range(weight)]
STEPS = 60
LIVES = 180
"""So many lives at most until a mutant is caught."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    life.hurry(monkeypatch.setattr)


class Files(RuleBasedStateMachine):
    """Hypothesis chooses what happens, and makes a failure short."""

    @initialize(pattern=st.sampled_from(PATTERNS))
    def begin(self, pattern: str) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.chance = random.Random(0)
        self.life = Life(Path(self.place.name), pattern, self.chance)

    @rule(action=st.sampled_from(WEIGHTED), seed=st.integers(0, 999))
    def happens(self, action: str, seed: int) -> None:
        self.chance.seed(seed)
        getattr(self.life, action)()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            try:
                self.life.finish()
            finally:
                self.life.close()
                self.place.cleanup()


@pytest.mark.timeout(120)
def test_whatever_happens_to_files_their_lines_arrive() -> None:
    """Cases 40-50, 60-67, 70, 82-86 and 138, thousands of steps."""
    Files.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    Files.TestCase().runTest()


def live(seed: int) -> None:
    """One life; AssertionError if a rule does not hold."""
    chance = random.Random(seed)
    actions = chance.choices(list(ACTIONS), list(ACTIONS.values()), k=STEPS)
    with tempfile.TemporaryDirectory() as place:
        one = Life(Path(place), PATTERNS[seed % 2], chance)
        try:
            for number, action in enumerate(actions):
                chance.seed(f"{seed} {number}")
                getattr(one, action)()
            one.finish()
        finally:
            one.close()


def wait_for_the_generation_before() -> None:
    """There is no room for lines of a rotated file, and room for those of the next one; whatever the machine does."""
    held = Route("held", 0)
    with tempfile.TemporaryDirectory() as place:
        one = Life(Path(place), PATTERNS[0], random.Random(0))
        try:
            log, outlet, files = one.place / "a.log", one.bench.outlet, one.bench.collector.files
            one._append(log, one._line(log) + b"\n")
            one.quiet()
            (old,) = [file for file in files.values() if file.path == bytes(log)]
            route, old.route = old.route, held
            outlet.closed_routes = [held]
            one._append(log, one._line(log) + b"\n")
            log.rename(one._new_name(log))
            one.lines.pop(log)
            one._append(log, one._line(log) + b"\n")
            until(lambda: one._seen(log), "the new one is found")
            (new,) = [file for file in files.values() if file.path == bytes(log) and file is not old]
            until(lambda: new.read_offset or "rotated away" in new.reason, "the new one waits, or is read")
            old.route, outlet.closed_routes = route, []
            one.finish()
        finally:
            one.close()


def many(lives: int, scripted: Callable[[], None] = lambda: None) -> None:
    scripted()
    for seed in range(lives):
        live(seed)


def test_a_new_generation_waits_for_the_one_before() -> None:
    wait_for_the_generation_before()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_thousand_lives() -> None:
    many(2000)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these would lose, double or mix lines."""
    monkeypatch.setattr("tests.unit.sources.twins.PATIENCE_S", 1.0)
    break_it: Callable[[pytest.MonkeyPatch], None] = MUTANTS[name]
    break_it(monkeypatch)

    with pytest.raises((AssertionError, ValueError, OSError)):
        many(LIVES, scripted=wait_for_the_generation_before)
