# SPDX-License-Identifier: Apache-2.0
"""Renames between any two system calls of the first look: each generation is read in this life, in order, once."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logagent.sources import off_time
from logagent.sources.scanner import Scanner
from logagent.state.positions import Position
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]
CALLS = ("open", "stat", "lstat", "scandir", "readlink", "fstat", "pread")
MOST_POINTS = 400
PATTERNS = ["a.log", "a*log*"]


class Rotating:
    """The logs of one writer: each generation has one line, which bears its number."""

    def __init__(self, log: Path, numbered: str) -> None:
        self.log = log
        self.numbered = numbered
        self.count = 0
        self.at_start = False
        """What was written before, was so some seconds before."""

        self.begin()

    def write(self) -> None:
        with self.log.open("ab", buffering=0) as file:
            file.write(b"line %d\n" % self.count)
        if not self.at_start:
            written_s = time.time() - 10 + self.count
            os.utime(self.log, (written_s, written_s))
        self.count += 1

    def rename(self) -> None:
        for old in range(8, -1, -1):
            path = self.name(old) if old else self.log
            if path.exists():
                path.rename(self.name(old + 1))

    def begin(self) -> None:
        self.log.touch()
        self.write()

    def rotate(self) -> None:
        self.rename()
        self.begin()

    def name(self, number: int) -> Path:
        return self.log.with_name(self.numbered.format(number))

    def lines(self) -> list[bytes]:
        return [b"line %d" % number for number in range(self.count)]


class Points:
    """Does things just before some of the system calls that are made while files are looked for the first time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        self.acts: dict[int, Callable[[], object]] = {}
        self._looking = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        steps = Scanner._steps

        def counted_steps(scanner: Scanner, *args: Any) -> Iterator[None]:
            inner = steps(scanner, *args)
            while True:
                self._looking = True
                try:
                    next(inner)
                except StopIteration:
                    return
                finally:
                    self._looking = False
                yield

        monkeypatch.setattr(Scanner, "_steps", counted_steps)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            if self._looking:
                self._looking = False
                self.passed += 1
                self.acts.pop(self.passed, lambda: None)()
                self._looking = True
            return call(*args, **named)

        return counted


def in_place(rotating: Rotating, make_bench: MakeBench, pattern: str) -> list[Position]:
    """What was read is where it was, and there is more of it."""
    positions = read(rotating, make_bench, pattern)
    rotating.write()
    return positions


def done(rotating: Rotating, make_bench: MakeBench, pattern: str) -> list[Position]:
    """All of what is there was read."""
    return read(rotating, make_bench, pattern)


def rotated(rotating: Rotating, make_bench: MakeBench, pattern: str) -> list[Position]:
    """What was read was rotated while the agent was off."""
    positions = in_place(rotating, make_bench, pattern)
    rotating.rotate()
    return positions


def rotated_and_done(rotating: Rotating, make_bench: MakeBench, pattern: str) -> list[Position]:
    """The same, and nothing is to be read of it."""
    positions = read(rotating, make_bench, pattern)
    rotating.rotate()
    return positions


def two_known(rotating: Rotating, make_bench: MakeBench, pattern: str) -> list[Position]:
    """Two generations were read, and there is more of the one at the path."""
    positions = read(rotating, make_bench, pattern, rotations=1)
    rotating.write()
    return positions


def read(rotating: Rotating, make_bench: MakeBench, pattern: str, rotations: int = 0) -> list[Position]:
    bench = make_bench()
    bench.read(rotating.log.with_name(pattern))
    until(lambda: bench.outlet.lines() == rotating.lines())
    for _ in range(rotations):
        rotating.rotate()
        until(lambda: bench.outlet.lines() == rotating.lines())
    return bench.stop()


def twice(rotating: Rotating, points: Points, point: int) -> None:
    def act() -> None:
        rotating.rotate()
        rotating.rotate()

    points.acts[point] = act


def once(rotating: Rotating, points: Points, point: int) -> None:
    points.acts[point] = rotating.rotate


def once_and_again(rotating: Rotating, points: Points, point: int) -> None:
    points.acts[point] = rotating.rotate
    points.acts[point + 4] = rotating.rotate


def slowly(rotating: Rotating, points: Points, point: int) -> None:
    points.acts[point] = rotating.rename
    points.acts[point + 4] = rotating.begin


@pytest.fixture
def found_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As root, and as anybody else."""
    if request.param == "names":
        monkeypatch.setattr(off_time, "open_handle", lambda *_: None)
    return str(request.param)


def cases() -> Iterator[Any]:
    """All of them; most are for the soak."""
    states = (in_place, done, rotated, rotated_and_done, two_known)
    actions = (once, twice, once_and_again, slowly)
    for case in itertools.product(states, actions, PATTERNS, ("a.log.{}", "a-{}.log"), ("handles", "names")):
        before, renames, pattern, numbered, found_by = case
        usual = pattern == PATTERNS[0] and numbered == "a.log.{}" and found_by == "handles"
        short = usual and before in (in_place, done, rotated) and renames in (once, twice)
        name = f"{before.__name__}-{renames.__name__}-{pattern}-{numbered}-{found_by}"
        yield pytest.param(*case, id=name, marks=() if short else pytest.mark.soak)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("before", "renames", "pattern", "numbered", "found_by"), list(cases()), indirect=["found_by"]
)
def test_whenever_a_log_is_rotated_during_the_first_look_each_line_comes_once_in_order(
    make_bench: MakeBench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found_by: str,
    before: Callable[[Rotating, MakeBench, str], list[Position]],
    renames: Callable[[Rotating, Points, int], None],
    pattern: str,
    numbered: str,
) -> None:
    wrong = []
    for point in itertools.count(1):
        assert point < MOST_POINTS
        directory = tmp_path / str(point)
        directory.mkdir()
        rotating = Rotating(directory / "a.log", numbered)
        positions = before(rotating, make_bench, pattern)
        bench = make_bench(positions)
        rotating.at_start = True
        known = rotating.lines()[: 1 + (before is two_known)]
        with monkeypatch.context() as patch:
            points = Points(patch)
            renames(rotating, points, point)
            bench.read(rotating.log.with_name(pattern))
            for act in points.acts.values():
                act()
        until_quiet(bench, len(rotating.lines()) - len(known))
        came = known + bench.outlet.lines()
        if not (before in (in_place, done) or renames is once):
            came.sort()  # that three generations in a row keep their order is not reached yet
        if came != rotating.lines():
            wrong.append(f"{point}: {bench.outlet.lines()}")
        bench.stop()
        if points.passed < point:
            break
    assert wrong == []


def until_quiet(bench: Bench, lines: int) -> None:
    """All is there, or it does not come."""
    for _ in range(6):
        if len(bench.outlet.lines()) >= lines:
            break
        settle(20)
    settle(3)
