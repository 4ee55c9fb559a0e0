# SPDX-License-Identifier: Apache-2.0
"""Many files, many entries, and where the kernel does not tell (case 21)."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import gevent
import pytest

from logagent.sources import discovery, file_systems, scanner
from logagent.sources.discovery import Pattern
from logagent.sources.settled import SPARED_SCANS
from logagent.sources.watcher import Watcher
from tests.unit.sources.test_tailing import MakeBench
from tests.unit.sources.twins import Bench, settle, until

MOUNTS = """\
22 27 0:21 / /proc rw,nosuid - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:45 / /mnt/a rw - nfs4 server:/a rw,vers=4.2
41 27 0:46 / /mnt/b rw shared:7 master:1 - fuse.sshfs host:/ rw
42 27 0:47 / /mnt/c rw - cifs //host/c rw
43 27 0:48 / /sys/fs/fuse/connections rw - fusectl fusectl rw
44 27 0:49 / /var/lib/c rw - overlay overlay rw
"""


def many(directory: Path, count: int) -> None:
    for number in range(count):
        (directory / f"{number:05d}.log").write_bytes(b"line %d\n" % number)


def test_while_many_files_are_taken_in_others_are_read(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "PASS_BUDGET_S", 0.0)  # a pause after each step
    many(tmp_path, 200)

    taking_in = gevent.spawn(bench.read, tmp_path / "*.log")

    until(lambda: bench.outlet.lines())
    assert len(bench.collector.files) < 200
    until(lambda: len(bench.outlet.lines()) == 200)
    taking_in.join()
    assert sorted(bench.outlet.lines()) == sorted(b"line %d" % number for number in range(200))
    assert [fact["files"] for fact in bench.told.of("files_found")] == [100]
    assert len(bench.told.of("file_found")) == len(bench.told.of("file_found_too")) == 100


def test_a_file_that_comes_while_others_are_taken_in_is_new(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "PASS_BUDGET_S", 0.0)
    bench = make_bench(start_at="end")
    many(tmp_path, 100)

    gevent.spawn(bench.read, tmp_path / "*.log")
    until(lambda: bench.collector.files)
    (tmp_path / "new.log").write_bytes(b"new\n")

    bench.until_lines(b"new")
    until(lambda: len(bench.collector.files) == 101)
    settle()
    assert bench.outlet.lines() == [b"new"]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory changed long ago."""
    monkeypatch.setattr(discovery, "wall", lambda: time.time() + 10)


def let_the_clock_tick(directory: Path) -> None:
    """What changes from now on gets another time stamp."""
    probe = directory.parent / "clock"
    probe.touch()
    begun_ns = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == begun_ns:
        probe.touch()


@pytest.mark.usefixtures("settled")
def test_a_sweep_does_not_list_directories_that_have_not_changed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 21."""
    many(tmp_path, 3)
    for number in range(50):
        (tmp_path / f"{number}.other").touch()
    bench.read(tmp_path / "*.log")
    until(lambda: len(bench.outlet.lines()) == 3)
    listed: list[Pattern] = []
    search = discovery.search
    monkeypatch.setattr(discovery, "search", lambda pattern: listed.append(pattern) or search(pattern))
    sweeper = bench.collector._sweeper

    for _ in range(SPARED_SCANS):
        sweeper.sweep(sweeper._check)
    assert not listed
    sweeper.sweep(sweeper._check)
    assert len(listed) == 1

    monkeypatch.setattr(Watcher, "_tell", lambda *_: None)  # no event says so
    let_the_clock_tick(tmp_path)
    (tmp_path / "new.log").write_bytes(b"new\n")
    sweeper.sweep(sweeper._check)
    until(lambda: b"new" in bench.outlet.lines())


@pytest.mark.usefixtures("settled")
def test_where_a_link_was_found_every_sweep_looks(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "real").write_bytes(b"one\n")
    (tmp_path / "logs" / "a.log").symlink_to(tmp_path / "real")
    bench.read(tmp_path / "logs" / "*.log")
    bench.until_lines(b"one")

    state = next(iter(bench.collector.entries.values()))
    assert state.settled is None


@pytest.mark.usefixtures("settled")
def test_where_a_path_leads_to_a_file_that_is_read_under_another_every_sweep_looks(
    bench: Bench, tmp_path: Path
) -> None:
    """Its first name may go in a directory of another entry."""
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "one.log").write_bytes(b"one\n")
    (tmp_path / "b" / "two.log").hardlink_to(tmp_path / "a" / "one.log")
    bench.read(tmp_path / "a" / "*.log")
    bench.read(tmp_path / "b" / "*.log")

    first, second = bench.collector.entries.values()
    assert first.settled is not None
    assert second.settled is None


@pytest.mark.usefixtures("settled")
def test_an_entry_of_which_a_file_was_let_go_is_looked_at(bench: Bench, tmp_path: Path) -> None:
    many(tmp_path, 2)
    bench.read(tmp_path / "*.log")
    bench.collector._shelf.drop(bench.file(os.fsencode(tmp_path / "00000.log")))

    bench.collector._sweeper.sweep(bench.collector._sweeper._check)

    assert len(bench.collector.files) == 2


def test_a_directory_that_was_just_changed_is_listed_again(bench: Bench, tmp_path: Path) -> None:
    many(tmp_path, 1)
    bench.read(tmp_path / "*.log")

    assert next(iter(bench.collector.entries.values())).settled is None


def test_lost_events_are_made_up_for_by_looking_at_everything(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue of the kernel overflows."""
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")
    tell = Watcher._tell_all
    monkeypatch.setattr(Watcher, "_tell_all", lambda *_: 0)
    with log.open("ab") as file:
        file.write(b"two\n")
    (tmp_path / "b.log").write_bytes(b"three\n")
    settle()
    assert bench.outlet.lines() == [b"one"]
    monkeypatch.setattr(Watcher, "_tell_all", tell)

    bench.collector._sweeper.overflow()

    until(lambda: sorted(bench.outlet.lines()) == [b"one", b"three", b"two"])
    assert bench.told.of("inotify_overflow") == [{}]


def test_what_cannot_be_watched_is_looked_at_and_told_once(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No watches are left (fs.inotify.max_user_watches)."""

    def refuse(_watcher: Any, _directory: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Watcher, "watch", refuse)
    bench = make_bench(rescan_s=0.01)
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")

    with log.open("ab") as file:
        file.write(b"two\n")
    (tmp_path / "b.log").write_bytes(b"three\n")

    until(lambda: sorted(bench.outlet.lines()) == [b"one", b"three", b"two"])
    assert len(bench.told.of("inotify_failed")) == 1


def test_a_file_system_of_others_is_looked_at_though_it_is_watched(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_systems, "remote_kind", lambda _directory: "nfs4")

    bench.read(tmp_path / "*.log")
    gevent.sleep(0)

    assert [fact["kind"] for fact in bench.told.of("files_polled")] == ["nfs4"]
    assert next(iter(bench.collector.entries.values())).polled


def test_kinds_are_read_from_the_mounts() -> None:
    assert file_systems.remote_kinds(MOUNTS) == {"0:45": "nfs4", "0:46": "fuse.sshfs", "0:47": "cifs"}


def test_a_local_disk_is_not_remote(tmp_path: Path) -> None:
    assert file_systems.remote_kind(os.fsencode(tmp_path)) == ""
    assert file_systems.remote_kind(b"/no/such/place") == ""


def test_without_descriptors_files_wait_and_are_told_once_each(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMFILE is "cannot look", never "gone"."""
    bench = make_bench(rescan_s=0.01)
    many(tmp_path, 2)
    full = True
    real_open = os.open

    def scarce(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if full and isinstance(path, bytes) and path.endswith(b".log"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real_open(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", scarce)
    bench.read(tmp_path / "*.log")
    settle()
    assert len(bench.told.of("file_refused")) == 2
    full = False

    until(lambda: len(bench.outlet.lines()) == 2)
