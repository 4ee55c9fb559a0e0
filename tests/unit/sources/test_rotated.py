# SPDX-License-Identifier: Apache-2.0
"""Rotations that were not seen one by one: between two looks, and while the agent was off."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from logagent.sources.missed import rotated_name
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def rename_all(log: Path) -> None:
    """As logrotate: .1 becomes .2 and so on."""
    for number in range(9, 0, -1):
        old = log.with_name(f"{log.name}.{number}")
        if old.exists():
            old.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"app.log.1", True),
        (b"app.log-20261122", True),
        (b"app.log.2026-11-22T10:00", True),
        (b"app-20261122.log", True),
        (b"app.log", False),
        (b"app.log.err", False),
        (b"app.log.1.gz", False),
        (b"apple.log", False),
        (b"app2x.log", False),
    ],
)
def test_a_rotated_file_is_known_by_its_name(name: bytes, expected: bool) -> None:
    assert rotated_name(name, b"app.log") is expected


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_five_renames_between_two_looks_lose_nothing(bench: Bench, tmp_path: Path, pattern: str) -> None:
    """Case 43."""
    log = tmp_path / "a.log"
    append(log, b"line 0\n")
    bench.read(tmp_path / pattern)
    bench.until_lines(b"line 0")
    bench.until_idle()

    for number in range(1, 6):
        append(log, b"end of %d\n" % (number - 1))
        rename_all(log)
        append(log, b"line %d\n" % number)

    expected = [b"line 0"]
    for number in range(1, 6):
        expected += [b"end of %d" % (number - 1), b"line %d" % number]
    until(lambda: len(bench.outlet.lines()) >= 11)
    settle()
    assert sorted(bench.outlet.lines()) == sorted(expected)
    if pattern == "a.log":
        assert bench.outlet.lines() == expected


def test_an_older_rotated_file_is_not_taken_for_one_that_was_missed(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for name in ("a.log.1", "a.log.2", "a.log.err"):
        append(tmp_path / name, b"before the agent\n")
        os.utime(tmp_path / name, (1, 1))
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")

    rename_all(log)
    append(log, b"two\n")

    bench.until_lines(b"one", b"two")
    settle()
    assert len(bench.outlet.lines()) == 2


def test_two_copytruncates_between_two_looks_lose_nothing(bench: Bench, tmp_path: Path) -> None:
    """Cases 43 and 46."""
    log = tmp_path / "a.log"
    append(log, b"line 0\n")
    bench.read(log)
    bench.until_lines(b"line 0")
    bench.until_idle()

    for number in range(1, 4):
        append(log, b"line %d\n" % number)
        for old in (2, 1):
            if (tmp_path / f"a.log.{old}").exists():
                (tmp_path / f"a.log.{old}").rename(tmp_path / f"a.log.{old + 1}")
        shutil.copyfile(log, tmp_path / "a.log.1")
        os.truncate(log, 0)
    append(log, b"line 4\n")

    bench.until_lines(*(b"line %d" % number for number in range(5)))
