# SPDX-License-Identifier: Apache-2.0
"""The rule by which a sweep spares itself a look: as long as all stamps are the same, the same would be found."""

import os
import random
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from logagent.sources import discovery
from logagent.sources.discovery import Found, Pattern
from logagent.sources.settled import SETTLED_S, Stamp, stamp_of

NAMES = ["a", "b", "c.log", "d.log", "x[1].log", "x[1]"]
GLOBS = [
    "*.log",
    "**/*.log",
    "a/*.log",
    "*/c.log",
    "a/b/c.log",
    "*/b/*.log",
    "x[1].log",
    "b/x[1].log",
    "**/b/*",
]
RUNS = 400


def somewhere(root: Path, chance: random.Random) -> Path:
    return root.joinpath(*chance.choices(NAMES, k=chance.choice([1, 1, 2, 3])))


def change(root: Path, chance: random.Random) -> None:
    """Something comes, goes or becomes something else; what is not possible does not happen."""
    path, other = somewhere(root, chance), somewhere(root, chance)
    deeds: list[Callable[[], object]] = [
        path.touch,
        path.mkdir,
        path.unlink,
        path.rmdir,
        lambda: path.rename(other),
        lambda: path.symlink_to(other),
        lambda: path.hardlink_to(other),
        lambda: path.chmod(chance.choice([0o600, 0o700])),
    ]
    try:
        chance.choices(deeds, [4, 4, 2, 1, 4, 1, 1, 1])[0]()
    except OSError:
        return


def let_the_clock_tick(probe: Path) -> None:
    """What changes from now on gets another time stamp."""
    probe.touch()
    begun_ns = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == begun_ns:
        probe.touch()


def rest_of(search: Generator[None, None, Found]) -> Found:
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def files(found: Found) -> dict[bytes, tuple[int, int] | None]:
    """What lies at the paths now."""
    keys: dict[bytes, tuple[int, int] | None] = {}
    for path in found.paths:
        try:
            status = os.stat(path)
            keys[path] = status.st_dev, status.st_ino
        except OSError:
            keys[path] = None
    return keys


@pytest.mark.parametrize("glob", GLOBS)
def test_whatever_happens_while_or_after_it_was_looked_changes_a_stamp_or_nothing_of_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glob: str
) -> None:
    monkeypatch.setattr(discovery, "wall", lambda: time.time() + 10)
    chance = random.Random(glob)
    spared = 0
    for number in range(RUNS // len(GLOBS)):
        root = tmp_path / str(number)
        root.mkdir()
        for _ in range(12):
            change(root, chance)
        let_the_clock_tick(tmp_path / "clock")
        pattern = Pattern(os.fsencode(root / glob))
        search = discovery.search(pattern)
        changed_at = chance.choice([0, 1, 2, 3, 5, 1000])
        found, step = None, 0
        while found is None:
            if step == changed_at:
                change(root, chance)
            try:
                next(search)
            except StopIteration as end:
                found = end.value
            step += 1
        then = files(found)
        if step <= changed_at:
            change(root, chance)
        if found.settled and all(stamp_of(path) == stamp for path, stamp in found.stamps.items()):
            spared += 1
            assert then == files(discovery.scan(pattern)), f"run {number}"
    assert spared, "the rule spares nothing"


@pytest.mark.parametrize("glob", ["a/one.log", "a/*.log", "*/one.log", "**/*.log"])
def test_what_a_link_leads_to_may_change_without_a_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glob: str
) -> None:
    monkeypatch.setattr(discovery, "wall", lambda: time.time() + 10)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.log").touch()
    assert discovery.scan(Pattern(os.fsencode(tmp_path / glob))).settled

    (tmp_path / "a" / "one.log").rename(tmp_path / "a" / "two")
    (tmp_path / "a" / "one.log").symlink_to("two")
    assert not discovery.scan(Pattern(os.fsencode(tmp_path / glob))).settled


def test_a_directory_with_the_very_name_of_a_glob_is_stamped(tmp_path: Path) -> None:
    (tmp_path / "x[1]").mkdir()
    found = discovery.scan(Pattern(os.fsencode(tmp_path / "x[1]" / "c.log")))

    assert found.stamps[os.fsencode(tmp_path / "x[1]")] is not None


def test_a_directory_is_settled_when_its_stamp_cannot_come_again() -> None:
    stamp = Stamp(1, 2, 1_000_000_000_000)

    assert not stamp.is_older(1000 + SETTLED_S)
    assert stamp.is_older(1000.1 + SETTLED_S)
    assert not stamp.is_older(990)  # the clock was put back


def test_what_is_old_is_judged_when_a_directory_is_looked_into_not_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look may take long: it may have begun just after a change and end when that is long ago."""
    search = discovery.search(Pattern(os.fsencode(tmp_path / "*.log")))
    next(search)
    monkeypatch.setattr(discovery, "wall", lambda: time.time() + 10)
    found = rest_of(search)

    assert not found.settled


def test_another_directory_in_its_place_has_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    before = stamp_of(os.fsencode(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "old")
    (tmp_path / "a").mkdir()
    after = stamp_of(os.fsencode(tmp_path / "a"))

    assert before is not None
    assert after is not None
    assert (before.device, before.inode) != (after.device, after.inode)
    assert stamp_of(os.fsencode(tmp_path / "none")) is None
