# SPDX-License-Identifier: Apache-2.0
"""Copytruncate close together, and an agent that sees little of it: what is in a copy comes once, whatever it saw."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from logagent.sources import reader
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]
STEPS = 24
KEEP = 30


class Logrotate:
    """One log under a writer and logrotate, and an agent that gets its turns when `chance` says so."""

    def __init__(self, log: Path, bench: Bench, chance: random.Random) -> None:
        self.log = log
        self.bench = bench
        self.chance = chance
        self.due: list[bytes] = []
        """What stands in the log or in a copy, in the order of its writing."""

        self.discarded: set[bytes] = set()
        """Written between copy and truncation: it may come, if it was read in time."""

        self.since: list[bytes] = []
        self.copied: int | None = None
        self.lines = 0

    def write(self) -> None:
        lines = []
        for _ in range(self.chance.choice([1, 1, 3, 40])):
            self.lines += 1
            dots = b"." * self.chance.choice([0, 0, 30, 200])
            lines.append(b"%d of the lines %s %08d" % (self.lines, dots, self.lines))
        with self.log.open("ab", buffering=0) as file:
            file.write(b"".join(line + b"\n" for line in lines))
        self.since += lines

    def copy(self) -> None:
        """The copies there are move on; the new one is made, perhaps in two pieces."""
        if self.copied is not None or not self.since:
            return
        for number in range(KEEP, 0, -1):
            old = self.log.with_name(f"{self.log.name}.{number}")
            if old.exists():
                old.rename(self.log.with_name(f"{self.log.name}.{number + 1}"))
                self.turns()
        copy = self.log.with_name(f"{self.log.name}.1")
        if self.chance.random() < 0.3:
            with self.log.open("rb") as source, copy.open("wb", buffering=0) as target:
                target.write(source.read(self.chance.randint(1, self.log.stat().st_size)))
                settle(self.chance.choice([0, 3]))
                target.write(source.read())
        else:
            shutil.copyfile(self.log, copy)
        self.copied = len(self.since)

    def truncate(self) -> None:
        if self.copied is None:
            return
        os.truncate(self.log, 0)
        self.due += self.since[: self.copied]
        self.discarded |= set(self.since[self.copied :])
        self.since, self.copied = [], None

    def rotate(self) -> None:
        self.truncate()
        self.copy()
        self.truncate()

    def turns(self) -> None:
        if self.chance.random() < 0.1:
            settle(1)

    def look(self) -> None:
        settle(self.chance.choice([1, 2, 10]))

    def block(self) -> None:
        self.bench.outlet.block()

    def unblock(self) -> None:
        self.bench.outlet.unblock()

    def hold(self) -> None:
        self.bench.outlet.holding = not self.bench.outlet.holding

    def acknowledge(self) -> None:
        self.bench.outlet.acknowledge()

    def give_up(self) -> None:
        self.bench.outlet.take_back(self.chance.randint(1, 4))

    def sweep(self) -> None:
        self.bench.collector._sweeper.sweep()

    def time(self) -> None:
        self.bench.skip(self.chance.choice([1, 11]))

    def finish(self) -> None:
        self.truncate()
        due = [*self.due, *self.since]
        outlet = self.bench.outlet
        outlet.unblock()
        outlet.holding = False
        outlet.acknowledge()
        wanted = set(due)

        def all_came() -> bool:
            outlet.acknowledge()
            return wanted <= set(outlet.lines())

        with suppress(AssertionError):
            until(all_came)
        settle(10)
        self.bench.skip(100)
        settle(20)
        outlet.acknowledge()
        came = Counter(outlet.acknowledged())
        assert [line for line in due if not came[line]] == [], "lines are missing"
        assert [line for line in came if came[line] > 1] == [], "lines came twice"
        assert not came.keys() - wanted - self.discarded, "what nobody wrote"


ACTIONS = {
    "write": 12,
    "copy": 4,
    "truncate": 4,
    "rotate": 6,
    "look": 10,
    "block": 2,
    "unblock": 3,
    "hold": 1,
    "acknowledge": 2,
    "give_up": 2,
    "sweep": 1,
    "time": 1,
}


def run(place: Path, make: MakeBench, pattern: str, seed: int) -> None:
    chance = random.Random(f"{seed} {pattern}")
    place.mkdir()
    log = place / "a.log"
    bench = make()
    life = Logrotate(log, bench, chance)
    if chance.random() < 0.5:
        life.write()
    else:
        log.touch()
    bench.read(place / pattern)
    for _ in range(STEPS):
        (action,) = chance.choices(list(ACTIONS), list(ACTIONS.values()))
        getattr(life, action)()
    life.finish()
    bench.stop()


@pytest.fixture(autouse=True)
def small_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reader, "READ_BYTES", 2000)
    return iter([None])


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_what_is_in_a_copy_comes_once(tmp_path: Path, make_bench: MakeBench, pattern: str) -> None:
    """Cases 46, 67 and 138."""
    for seed in range(40):
        run(tmp_path / str(seed), make_bench, pattern, seed)
