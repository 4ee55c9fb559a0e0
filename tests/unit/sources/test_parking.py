# SPDX-License-Identifier: Apache-2.0
"""More files than may be open are read in turn, and nothing is lost or read twice for it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.sources import parking, sweeper
from logagent.sources.explain import explain, look
from logagent.sources.watcher import Watcher
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def bound(bench: Bench, max_open: int) -> Bench:
    bench.collector.settings = replace(bench.collector.settings, max_files=max_open)
    return bench


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "LOOK_PAUSE_S", 0.001)


@pytest.mark.parametrize(("files", "max_open"), [(100, 20), (2, 1), (30, 7)])
def test_beyond_the_limit_files_are_read_in_turn(
    bench: Bench, tmp_path: Path, files: int, max_open: int
) -> None:
    """Cases 13, 14 and 58: each line exactly once, no state removed, never more files open than may be."""
    bound(bench, max_open)
    most = 0
    put = bench.collector._shelf.put_back

    def watch(state, file):  # type: ignore[no-untyped-def]
        nonlocal most
        put(state, file)
        most = max(most, len(bench.collector.files))

    bench.collector._shelf.put_back = watch  # type: ignore[method-assign]
    lines = [b"%d %d" % (number, line) for number in range(files) for line in range(10)]
    for number in range(files):
        append(tmp_path / f"{number}.log", b"".join(b"%d %d\n" % (number, line) for line in range(10)))

    bench.read(tmp_path / "*.log")

    until(lambda: len(bench.outlet.lines()) >= len(lines))
    settle()
    assert sorted(bench.outlet.lines()) == sorted(lines)
    assert most <= max_open
    assert len(bench.book.all()) == files
    assert len(bench.told.of("files_in_turn")) <= 1
    assert not bench.told.of("file_refused")


def in_turn(bench: Bench, tmp_path: Path) -> tuple[Path, Path]:
    """Two files of which one may be open; which one is parked comes first."""
    for name in ("a.log", "b.log"):
        append(tmp_path / name, b"%s one\n" % name.encode())
    bound(bench, 1)
    bench.read(tmp_path / "*.log")
    until(lambda: len(bench.outlet.lines()) == 2)
    state = next(iter(bench.collector.entries.values()))
    until(lambda: state.parked and not state.waiting)
    (parked,) = (Path(os.fsdecode(path)) for path in state.parked)
    return parked, tmp_path / ({"a.log", "b.log"} - {parked.name}).pop()


def test_a_parked_file_is_read_on_as_soon_as_it_is_written_to(bench: Bench, tmp_path: Path) -> None:
    parked, other = in_turn(bench, tmp_path)
    for _ in range(5):
        append(parked, b"more\n")
        append(other, b"more\n")
    until(lambda: len(bench.outlet.lines()) == 12)
    settle()
    assert len(bench.outlet.lines()) == 12


def test_what_was_written_to_a_parked_file_just_before_it_was_rotated_is_read(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if no event had come between: the rest is found by the identity of the file."""
    parked, _ = in_turn(bench, tmp_path)
    append(parked, b"late\n")
    parked.rename(tmp_path / "old")
    append(parked, b"new\n")

    until(lambda: {b"late", b"new"} <= set(bench.outlet.lines()))
    settle()
    assert len(bench.outlet.lines()) == 4


def test_a_parked_file_renamed_within_the_glob_goes_on(bench: Bench, tmp_path: Path) -> None:
    parked, _ = in_turn(bench, tmp_path)
    parked.rename(tmp_path / "c.log")
    append(tmp_path / "c.log", b"late\n")

    until(lambda: b"late" in bench.outlet.lines())
    settle()
    assert len(bench.outlet.lines()) == 3


def test_a_parked_file_that_is_emptied_is_read_from_its_start(bench: Bench, tmp_path: Path) -> None:
    parked, _ = in_turn(bench, tmp_path)
    parked.write_bytes(b"new\n")

    until(lambda: b"new" in bench.outlet.lines())
    settle()
    assert len(bench.outlet.lines()) == 3


def test_the_copy_of_a_parked_file_is_not_read_as_a_file_of_its_own(bench: Bench, tmp_path: Path) -> None:
    parked, _ = in_turn(bench, tmp_path)
    (tmp_path / (parked.name + ".1.log")).write_bytes(parked.read_bytes())
    bench.collector._sweeper.sweep()
    settle()
    parked.write_bytes(b"")
    append(parked, b"new\n")

    until(lambda: b"new" in bench.outlet.lines())
    settle()
    assert len(bench.outlet.lines()) == 3


def test_a_file_that_has_unread_or_unacknowledged_lines_is_not_parked(bench: Bench, tmp_path: Path) -> None:
    bound(bench, 1)
    bench.outlet.holding = True
    for name in "ab":
        append(tmp_path / f"{name}.log", b"line\n")
    bench.read(tmp_path / "*.log")
    until(lambda: bench.outlet.open)
    settle()
    assert len(bench.outlet.lines()) == 1

    bench.outlet.holding = False
    bench.outlet.acknowledge()

    until(lambda: len(bench.outlet.lines()) == 2)


def test_after_a_restart_with_more_files_than_may_be_open_nothing_comes_twice(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 58."""
    first = bound(make_bench(), 3)
    for number in range(10):
        append(tmp_path / f"{number}.log", b"old\n")
    first.read(tmp_path / "*.log")
    until(lambda: len(first.outlet.lines()) == 10)
    positions = first.stop()
    append(tmp_path / "7.log", b"new\n")

    second = bound(make_bench(positions), 3)
    second.read(tmp_path / "*.log")

    second.until_lines(b"new")
    until(lambda: not next(iter(second.collector.entries.values())).waiting)
    assert second.outlet.lines() == [b"new"]
    assert len(second.book.all()) == 10


def test_where_nobody_tells_files_are_looked_at_again_and_again(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key poll: the next full sweep is far away, and events do not come."""
    monkeypatch.setattr(sweeper, "POLL_S", 0.005)
    monkeypatch.setattr(Watcher, "_tell_all", lambda *_: 0)
    bench = make_bench(rescan_s=1000)
    bench.collector.settings = replace(bench.collector.settings, polled=(str(tmp_path),))
    append(tmp_path / "a.log", b"one\n")
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")
    bench.collector._greenlets[2].kill()  # the sweeper sleeps for long already
    bench.collector._greenlets[2] = bench.collector._spawner.forever(
        "files-sweep", bench.collector._sweeper.run
    )

    append(tmp_path / "a.log", b"two\n")
    append(tmp_path / "b.log", b"three\n")

    until(lambda: sorted(bench.outlet.lines()) == [b"one", b"three", b"two"])


@pytest.mark.parametrize(
    ("directory", "polled"), [(b"/mnt/x", True), (b"/mnt/x/y", True), (b"/mnt/xy", False)]
)
def test_what_lies_below_a_polled_directory_is_polled(bench: Bench, directory: bytes, polled: bool) -> None:
    bench.collector.settings = replace(bench.collector.settings, polled=("/mnt/x",))
    assert bench.collector._is_polled(directory) is polled


def test_a_parked_file_says_so(bench: Bench, tmp_path: Path) -> None:
    parked, _ = in_turn(bench, tmp_path)
    place = look(os.fsencode(parked), lambda _path: None)
    states = list(bench.collector.entries.values())

    (answer,) = explain(place, [state.entry for state in states], bench.book.all(), states)["entries"]

    assert answer["verdict"] == "parked"
    assert "max_open" in answer["reason"]
