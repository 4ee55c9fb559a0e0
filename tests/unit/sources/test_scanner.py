# SPDX-License-Identifier: Apache-2.0
"""Scans hold nobody up, and what happens between two of their steps does no harm."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from logagent.config.services import Entry
from logagent.sources import discovery
from logagent.sources.collector import Collector
from logagent.sources.siblings import Places, Siblings
from logagent.sources.users import User, Users
from logagent.sources.watches import EntryFiles
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]
STEP_S = 0.0003


class Pace:
    """The clock of scans goes on a little at each look; `at_rest` happens while they let others have their turns."""

    def __init__(self, bench: Bench, at_rest: Callable[[], None]) -> None:
        scanner = bench.collector._scanner
        self.now_s = 0.0
        self.steps = self.most_steps = self.rests = 0
        self._at_rest = at_rest
        scanner._clock = self._clock
        scanner._sleep = self._sleep
        scanner._rested_s = 0.0

    def _clock(self) -> float:
        self.now_s += STEP_S
        self.steps += 1
        return self.now_s

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.most_steps, self.steps = max(self.most_steps, self.steps), 0
        self.rests += 1
        self._at_rest()


def once(function: Callable[[], object], number: int = 1) -> Callable[[], None]:
    calls = []

    def call() -> None:
        calls.append(None)
        if len(calls) == number:
            function()

    return call


def fill(directory: Path, count: int, name: str = "{}.log") -> list[Path]:
    directory.mkdir(exist_ok=True)
    paths = [directory / name.format(number) for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(f"line of {number}\n")
    return paths


def entries(paths: list[Path]) -> list[Entry]:
    return [Entry(f"s{number}", str(path), "logs") for number, path in enumerate(paths)]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("glob", [True, False])
def test_others_have_their_turns_after_a_few_steps_whatever_is_looked_for(
    bench: Bench, tmp_path: Path, glob: bool
) -> None:
    paths = fill(tmp_path, 50)
    pace = Pace(bench, lambda: None)

    bench.collector.start_entries([Entry("web", f"{tmp_path}/*.log", "logs")] if glob else entries(paths))

    assert len(bench.collector.files) == 50
    assert pace.most_steps <= 8
    assert pace.rests >= 100 / 6


@pytest.mark.parametrize("rest", range(1, 9, 2))
def test_an_entry_that_is_stopped_while_it_is_looked_for_leaves_nothing(
    bench: Bench, tmp_path: Path, rest: int
) -> None:
    fill(tmp_path, 10)
    entry = Entry("web", f"{tmp_path}/*.log", "logs")
    before = open_descriptors()
    Pace(bench, once(lambda: bench.collector.stop_entry(entry.id), rest))

    bench.collector.start_entry(entry)

    assert bench.collector.entries == {}
    assert bench.collector.files == {}
    assert bench.collector._watches._watcher.watched == frozenset()
    assert open_descriptors() == before


@pytest.mark.parametrize("rest", range(1, 9, 2))
def test_what_is_excluded_while_it_is_looked_for_is_not_read(bench: Bench, tmp_path: Path, rest: int) -> None:
    fill(tmp_path, 10)
    entry = Entry("web", f"{tmp_path}/*.log", "logs")
    Pace(bench, once(lambda: bench.collector.change_entry(replace(entry, exclude=("[0-8].log",))), rest))

    bench.collector.start_entry(entry)

    until(lambda: [file.path for file in bench.collector.files.values()] == [bytes(tmp_path / "9.log")])


@pytest.mark.parametrize("rest", range(1, 9, 2))
def test_sweeps_that_meet_find_each_file_once(bench: Bench, tmp_path: Path, rest: int) -> None:
    fill(tmp_path, 10)
    Pace(bench, once(bench.collector._sweeper.overflow, rest))

    bench.read(tmp_path / "*.log")

    until(lambda: bench.told.of("scan_done") != [])
    until(lambda: len(bench.outlet.lines()) == 10)
    assert len(bench.told.of("file_found")) == 10


def test_a_stop_ends_a_look(bench: Bench, tmp_path: Path) -> None:
    fill(tmp_path, 10)
    Pace(bench, once(bench.stop, 3))

    bench.collector.start_entries(
        [Entry("web", f"{tmp_path}/*.log", "logs"), Entry("other", f"{tmp_path}/*.log", "logs")]
    )

    assert bench.collector.files == {}


@pytest.mark.parametrize("rest", [1, 2, 3])
def test_what_was_there_before_comes_first_even_if_the_new_one_shows_while_it_is_looked_for(
    make_bench: MakeBench, tmp_path: Path, rest: int
) -> None:
    (log,) = fill(tmp_path, 1)
    bench = make_bench()
    bench.read(log)
    bench.until_lines(b"line of 0")
    positions = bench.stop()
    log.rename(tmp_path / "0.log.1")
    with (tmp_path / "0.log.1").open("a") as file:
        file.write("late\n")
    log.write_text("new\n")

    bench = make_bench(positions)
    entry = Entry("web", str(log), "logs")
    Pace(bench, once(lambda: bench.collector._told(bench.collector.entries[entry.id], bytes(log)), rest))
    bench.collector.start_entry(entry)

    bench.until_lines(b"late", b"new")


def restarted(make_bench: MakeBench, paths: list[Path]) -> Bench:
    bench = make_bench()
    bench.collector.start_entries(entries(paths))
    until(lambda: len(bench.outlet.lines()) == len(paths))
    return make_bench(bench.stop())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Files that were looked at because they lie beside a lost one."""
    seen: list[bytes] = []
    look_at = Siblings._look_at

    def counted(self: Siblings, path: bytes) -> object:
        seen.append(path)
        return look_at(self, path)

    monkeypatch.setattr(Siblings, "_look_at", counted)
    return seen


def test_files_that_are_where_they_were_cost_no_look_at_their_directory(
    make_bench: MakeBench, tmp_path: Path, looks: list[bytes]
) -> None:
    paths = fill(tmp_path, 20)
    bench = restarted(make_bench, paths)

    bench.collector.start_entries(entries(paths))

    assert len(bench.collector.files) == 20
    assert looks == []


def test_a_directory_is_looked_at_once_for_all_entries_that_are_started_together(
    make_bench: MakeBench, tmp_path: Path, looks: list[bytes]
) -> None:
    paths = fill(tmp_path, 20)
    bench = restarted(make_bench, paths)
    for path in paths:
        path.unlink()
    fill(tmp_path, 15, "other{}.txt")

    bench.collector.start_entries(entries(paths))

    assert sorted(looks) == sorted(bytes(tmp_path / f"other{number}.txt") for number in range(15))


def test_of_a_directory_that_changed_meanwhile_only_the_new_is_looked_at(
    tmp_path: Path, looks: list[bytes]
) -> None:
    bench = Bench()
    fill(tmp_path, 3)
    siblings = Siblings(bytes(tmp_path), bench.collector._scanner._off_time._open)
    list(siblings.refresh())
    (tmp_path / "0.log").rename(tmp_path / "0.log.1")
    (tmp_path / "1.log").unlink()
    looks.clear()

    list(siblings.refresh())

    assert looks == [bytes(tmp_path / "0.log.1")]
    assert sorted(siblings.files) == [bytes(tmp_path / "0.log.1"), bytes(tmp_path / "2.log")]
    bench.stop()


def test_a_directory_that_did_not_change_for_a_while_is_not_even_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    fill(tmp_path, 3)
    os.utime(tmp_path, (1, 1))
    siblings = Siblings(bytes(tmp_path), bench.collector._scanner._off_time._open)

    assert len(list(siblings.refresh())) > 0
    assert list(siblings.refresh()) == []
    assert len(siblings.files) == 3
    bench.stop()


@pytest.mark.parametrize("rest", range(1, 40, 3))
def test_lost_files_that_were_found_are_closed_if_the_entry_is_stopped_before_they_are_read(
    make_bench: MakeBench, tmp_path: Path, rest: int
) -> None:
    fill(tmp_path, 5)
    entry = Entry("web", f"{tmp_path}/*.log", "logs")
    bench = make_bench()
    bench.collector.start_entry(entry)
    until(lambda: len(bench.outlet.lines()) == 5)
    positions = bench.stop()
    for number in range(5):
        old = (tmp_path / f"{number}.log").rename(tmp_path / f"{number}.log.1")
        old.write_text(old.read_text() + "late\n")
    bench = make_bench(positions)
    before = open_descriptors()
    stop = once(lambda: bench.collector.stop_entry(entry.id), rest)
    Pace(bench, stop)

    bench.collector.start_entry(entry)

    if not bench.collector.entries:
        assert open_descriptors() == before


def test_an_entry_that_leads_too_far_is_refused_in_part_and_told_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MAX_DIRECTORIES", 2)
    for name in ("1", "2", "3"):
        fill(tmp_path / name, 1)
    entry = bench.read(f"{tmp_path}/*/*.log")
    state = bench.collector.entries[entry.id]

    for _ in range(3):
        bench.collector._sweeper.sweep()

    (told,) = bench.told.of("file_refused")
    assert "more than 2 directories" in told["reason"]
    assert state.refused == {state.pattern.path: told["reason"]}
    assert len(state.files) == 1

    monkeypatch.setattr(discovery, "MAX_DIRECTORIES", 100)
    bench.collector._sweeper.sweep()
    assert state.refused == {}
    assert len(state.files) == 3


def test_an_event_concerns_the_entry_of_its_path_and_no_other(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = fill(tmp_path, 50)
    bench.collector.start_entries([*entries(paths), Entry("glob", f"{tmp_path}/*.log", "logs")])
    told: list[str] = []
    watches = bench.collector._watches
    monkeypatch.setattr(watches, "_on_path", lambda state, path: told.append(state.entry.service))
    monkeypatch.setattr(
        watches, "_on_beside", lambda state, path: told.append(f"beside {state.entry.service}")
    )

    calls: list[int] = []
    concerned = Users.concerned

    def counted(self: Users, name: bytes) -> list[User]:
        calls.append(len(concerned(self, name)))
        return concerned(self, name)

    monkeypatch.setattr(Users, "concerned", counted)

    watches._entry_changed(bytes(tmp_path), b"7.log", True)
    watches._entry_changed(bytes(tmp_path), b"8.log.1", True)

    assert told == ["s7", "glob", "s7", "glob", "beside s8", "beside glob"]
    assert calls == [2, 1]


def test_overflows_in_a_row_are_one_sweep_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(10):
        bench.collector._sweeper.overflow()
    settle(20)

    assert len(bench.told.of("inotify_overflow")) == 10
    assert len(bench.told.of("scan_done")) == 1


def test_many_entries_end_in_one_look_for_their_services(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = fill(tmp_path, 10)
    bench.collector.start_entries(entries(paths))
    calls: list[object] = []
    monkeypatch.setattr(bench.collector._sweeper, "rescan_services", calls.append)

    Collector.stop_entries(bench.collector, [entry.id for entry in entries(paths)])

    assert calls == [{f"s{number}" for number in range(10)}]
    assert bench.collector.files == {}


def test_scans_stand_in_line_for_each_other(bench: Bench, tmp_path: Path) -> None:
    """Else a thousand of them, each with its millisecond, would hold everybody up."""
    wanted = entries(fill(tmp_path, 5))
    scanner = bench.collector._scanner
    Pace(bench, lambda: gevent.sleep(1e-6))
    active: list[str] = []
    most: list[int] = []
    steps = scanner._steps

    def counted(state: EntryFiles, places: Places) -> Iterator[None]:
        active.append(state.entry.service)
        for _ in steps(state, places):
            most.append(len(active))
            yield
        active.remove(state.entry.service)

    scanner._steps = counted
    gevent.joinall([gevent.spawn(bench.collector.start_entry, entry) for entry in wanted])

    assert len(bench.collector.files) == 5
    assert max(most) == 1
