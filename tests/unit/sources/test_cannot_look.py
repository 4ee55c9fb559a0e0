# SPDX-License-Identifier: Apache-2.0
"""What cannot be looked at is not gone; links, names that change while somebody looks, and files beyond 4 GiB."""

import errno
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from logagent.sources import discovery
from logagent.sources.discovery import Found, Pattern
from tests.unit.sources.twins import Bench, settle, until

GIB = 1024**3
TROUBLES = [errno.EMFILE, errno.EACCES, errno.EIO]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def sweep(bench: Bench) -> None:
    bench.collector._sweeper.sweep()


def failing(call: Callable[..., Any], code: int, names: str) -> Callable[..., Any]:
    """The call fails for paths with this in their name."""

    def fail(path: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(path, int) and names in os.fsdecode(path):
            raise OSError(code, os.strerror(code))
        return call(path, *args, **options)

    return fail


def after_listing(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Something happens once between the next listing of directories and the look at what was found."""
    search, left = discovery.search, [do]

    def search_and_do(pattern: Pattern) -> Generator[None, None, Found]:
        found = yield from search(pattern)
        while left:
            left.pop()()
        return found

    monkeypatch.setattr(discovery, "search", search_and_do)


# -- names that change meanwhile ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["b.log", "elsewhere"])
def test_a_file_renamed_between_the_listing_and_the_look_keeps_its_position(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Case 56."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")
    bench.until_idle()

    after_listing(monkeypatch, lambda: log.rename(tmp_path / target))
    sweep(bench)
    append(tmp_path / target, b"two\n")

    bench.until_lines(b"one", b"two")
    sweep(bench)
    settle()
    assert bench.outlet.lines() == [b"one", b"two"]
    bench.stop()
    assert [one.offset for one in bench.saved.values()] == [8]


def test_a_directory_renamed_between_the_listing_and_the_look_keeps_positions(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 57."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    for name in "ab":
        append(before / f"{name}.log", b"one of %s\n" % name.encode())
    bench.read(tmp_path / "*" / "*.log")
    until(lambda: len(bench.outlet.lines()) == 2)
    bench.until_idle()

    after_listing(monkeypatch, lambda: before.rename(after))
    sweep(bench)
    for name in "ab":
        append(after / f"{name}.log", b"two of %s\n" % name.encode())
    sweep(bench)

    until(lambda: len(bench.outlet.lines()) == 4)
    settle()
    assert sorted(bench.outlet.lines()) == [b"one of a", b"one of b", b"two of a", b"two of b"]
    bench.stop()
    assert {one.offset for one in bench.saved.values()} == {18}


# -- what cannot be looked at -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", TROUBLES)
@pytest.mark.parametrize("call", ["scandir", "stat", "lstat"])
def test_a_file_that_cannot_be_looked_at_is_not_gone(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    """Case 58: it stays open and is read on, and is told once."""
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    append(log, b"one\n")
    bench.read(log.parent / ("a.log" if call == "lstat" else "*.log"))
    bench.until_lines(b"one")
    bench.until_idle()
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing(getattr(os, call), code, str(log.parent)))
        sweep(bench)
        sweep(bench)
        append(log, b"two\n")
        bench.until_lines(b"one", b"two")
    file = bench.file(log)
    assert file.left_path_s is None
    assert not file.closed
    assert len(bench.told.of("file_refused")) == 1

    sweep(bench)
    append(log, b"three\n")

    bench.until_lines(b"one", b"two", b"three")
    assert not bench.told.of("file_rotated")


@pytest.mark.parametrize("code", TROUBLES)
def test_files_that_cannot_be_opened_are_tried_again_and_nothing_is_read_twice(
    make_bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Case 58: with positions of all of them, when there are no more descriptors at the start."""
    for number in range(20):
        append(tmp_path / f"{number}.log", b"old %d\n" % number)
    first = make_bench()
    first.read(tmp_path / "*.log")
    until(lambda: len(first.outlet.lines()) == 20)
    positions = first.stop()
    for number in range(20):
        append(tmp_path / f"{number}.log", b"new %d\n" % number)

    after = make_bench(positions)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing(os.open, code, "log"))
        after.read(tmp_path / "*.log")
        sweep(after)
        sweep(after)
        assert len(after.told.of("file_refused")) == 20
        assert len(after.book.all()) == 20
        assert not after.outlet.lines()
    sweep(after)

    until(lambda: len(after.outlet.lines()) == 20)
    settle()
    assert sorted(after.outlet.lines()) == sorted(b"new %d" % number for number in range(20))
    after.stop()
    assert len(after.saved) == 20


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_file_that_cannot_be_read_for_a_while_is_read_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Case 58."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()
    pread = os.pread

    def fail(*_args: int) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pread", fail)
    append(log, b"two\n")
    until(lambda: bench.told.of("read_failed"))
    monkeypatch.setattr(os, "pread", pread)

    bench.until_lines(b"one", b"two")
    assert not bench.told.of("file_truncated")


# -- links --------------------------------------------------------------------------------------------------------


def test_of_two_hard_links_one_goes_and_the_other_is_read_on(bench: Bench, tmp_path: Path) -> None:
    """Case 17: one state entry; without the name under which it was found nothing comes twice."""
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    append(log, b"one\n")
    os.link(log, other)
    bench.read(tmp_path / "*.log")
    bench.until_lines(b"one")
    assert len(bench.book.all()) == 1

    log.unlink()
    until(lambda: bench.file(log).left_path_s is not None)
    sweep(bench)
    append(other, b"two\n")

    bench.until_lines(b"one", b"two")
    sweep(bench)
    settle()
    assert bench.outlet.lines() == [b"one", b"two"]
    assert len(bench.book.all()) == 1


@pytest.mark.parametrize("pattern", ["current.log", "*.log"])
def test_a_link_to_nothing_is_nothing_until_it_leads_somewhere(
    bench: Bench, tmp_path: Path, pattern: str
) -> None:
    """Case 18: no crash, and no storm of messages."""
    target = tmp_path / "real"
    (tmp_path / "current.log").symlink_to(target)
    bench.read(tmp_path / pattern)
    for _ in range(3):
        sweep(bench)
    assert not bench.told.of("file_refused")
    assert len(bench.told.of("file_missing")) <= 1

    append(target, b"one\n")
    sweep(bench)
    bench.until_lines(b"one")
    target.unlink()
    sweep(bench)
    sweep(bench)

    assert bench.file(tmp_path / "current.log").left_path_s is not None
    assert not bench.told.of("file_refused")
    assert len(bench.told.of("file_rotated")) == 1


# -- large files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", [2 * GIB, 4 * GIB])
def test_offsets_are_right_where_a_file_crosses_2_and_4_gib(
    make_bench: Callable[..., Bench], tmp_path: Path, boundary: int
) -> None:
    """Case 66: written over the boundary, read on after a restart, emptied there, and written again."""
    log = tmp_path / "a.log"
    append(log, b"first\n")
    bench = make_bench()
    bench.read(log)
    bench.until_lines(b"first")
    bench.until_idle()
    with log.open("r+b", buffering=0) as file:
        file.seek(boundary - 7)
        file.write(b"before\nbehind\n")
    until(lambda: bench.outlet.delivered[-1][2:] == (boundary, b"behind"))
    assert bench.outlet.lines() == [b"first", b"before", b"behind"]
    positions = bench.stop()
    assert [one.offset for one in positions] == [boundary + 7]
    append(log, b"later\n")

    after = make_bench(positions)
    after.read(log)
    after.until_lines(b"later")
    assert after.outlet.delivered[0][2] == boundary + 7
    after.until_idle()
    os.truncate(log, 0)
    append(log, b"new\n")
    after.until_lines(b"later", b"new")
    assert after.outlet.delivered[-1][2] == 0
