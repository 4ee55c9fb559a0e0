# SPDX-License-Identifier: Apache-2.0
"""How files are found, first seen, and read side by side."""

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.pacing.limiter import Limiter
from logagent.sources import line_reader, reader, resume
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def test_a_missing_file_is_told_once_however_often_it_is_looked_for(bench: Bench, tmp_path: Path) -> None:
    """Case 6."""
    log = tmp_path / "a.log"
    bench.read(log)
    for _ in range(5):
        bench.collector._sweeper.sweep()
    assert len(bench.told.of("file_missing")) == 1

    append(log, b"one\ntwo\n")

    bench.until_lines(b"one", b"two")


def test_a_file_without_permission_is_read_when_it_gets_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 7: no restart, not even a sweep is needed; told once."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    log.chmod(0)
    real_open = os.open

    def like_a_user(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if not flags & os.O_PATH and not os.stat(path).st_mode & 0o444:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return real_open(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", like_a_user)  # root may read everything
    bench.read(tmp_path / "*.log")
    for _ in range(3):
        bench.collector._sweeper.sweep()
    assert [fact["reason"] for fact in bench.told.of("file_refused")] == [
        "it cannot be opened: Permission denied"
    ]

    log.chmod(0o644)

    bench.until_lines(b"one")
    assert len(bench.told.of("file_readable_again")) == 1


def test_files_of_two_globs_of_a_service_bear_their_own_paths(bench: Bench, tmp_path: Path) -> None:
    """Case 8."""
    for name in "ab":
        (tmp_path / name).mkdir()
        bench.read(tmp_path / name / "*.log")
    for name in "ab":
        append(tmp_path / name / "x.log", name.encode() + b"\n")

    until(lambda: len(bench.outlet.lines()) == 2)
    assert {(label, value) for _, label, _, value in bench.outlet.delivered} == {
        (os.fsencode(tmp_path / name / "x.log"), name.encode()) for name in "ab"
    }


def test_directories_below_a_wildcard_that_come_and_go_leave_no_watch(bench: Bench, tmp_path: Path) -> None:
    """Case 10."""
    bench.read(tmp_path / "*" / "*.log")
    watcher = bench.collector._watches._watcher
    watched = watcher.watched
    expected = []
    for number in range(10):
        for name in "ab":
            line = b"%s %d" % (name.encode(), number)
            (tmp_path / name).mkdir()
            append(tmp_path / name / "x.log", line + b"\n")
            expected.append(line)
        until(lambda expected=expected: len(bench.outlet.lines()) == len(expected))  # type: ignore[misc]
        for name in "ab":
            (tmp_path / name / "x.log").unlink()
            (tmp_path / name).rmdir()
        until(lambda: all(file.left_path_s is not None for file in bench.collector.files.values()))
        bench.skip(60)
        until(lambda: not bench.collector.files)
    until(lambda: watcher.watched == watched)

    assert sorted(bench.outlet.lines()) == sorted(expected)
    assert len(watcher._directories) == len(watched)
    assert not [users for users in bench.collector._watches._users.values() if not len(users)]


def test_the_rest_behind_a_link_comes_before_what_it_is_pointed_to(bench: Bench, tmp_path: Path) -> None:
    """Case 16."""
    append(tmp_path / "day1", b"one\ntwo\n")
    append(tmp_path / "day2", b"three\n")
    link = tmp_path / "current.log"
    link.symlink_to(tmp_path / "day1")
    bench.outlet.block()
    bench.read(link)
    settle()

    (tmp_path / "next").symlink_to(tmp_path / "day2")
    (tmp_path / "next").replace(link)
    until(lambda: len(bench.collector.files) == 2)
    settle()
    bench.outlet.unblock()

    bench.until_lines(b"one", b"two", b"three")


def test_files_with_much_to_read_take_turns(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 20: with a limit each slice of one is followed by a slice of the other."""
    monkeypatch.setattr(reader, "READ_BYTES", 64)
    bench.limiters["web"] = Limiter(2000.0)
    for name in "ab":
        append(tmp_path / f"{name}.log", b"".join(b"%s%03d\n" % (name.encode(), n) for n in range(200)))

    bench.outlet.block()
    bench.read(tmp_path / "*.log")
    settle()
    bench.outlet.unblock()

    until(lambda: len(bench.outlet.lines()) == 400)
    lines = [line[:1] for line in bench.outlet.lines()]
    longest = max(len(list(run)) for _, run in itertools.groupby(lines))
    assert longest <= 60  # of 200
    for name in (b"a", b"b"):
        own = [line for line in bench.outlet.lines() if line.startswith(name)]
        assert own == sorted(own)


def test_ten_megabytes_written_while_the_agent_was_off_come_once(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 71."""
    log = tmp_path / "a.log"
    append(log, b"short\n")
    first = make_bench()
    first.read(log)
    first.until_lines(b"short")
    positions = first.stop()
    lines = [b"%07d " % number + b"x" * 1015 for number in range(10_240)]
    append(log, b"\n".join(lines) + b"\n")

    second = make_bench(positions)
    second.read(log)

    until(lambda: len(second.outlet.lines()) >= len(lines))
    assert second.outlet.lines() == lines


@pytest.mark.parametrize("stops", [1, 5])
def test_stopped_in_the_middle_and_started_again_no_line_comes_twice(
    make_bench: MakeBench, tmp_path: Path, stops: int
) -> None:
    """Case 73."""
    log = tmp_path / "a.log"
    lines = [b"line %d" % number for number in range(4000)]
    append(log, b"\n".join(lines) + b"\n")
    positions = []
    delivered: list[bytes] = []
    for number in range(stops + 1):
        bench = make_bench(positions)
        wanted = len(lines) * (number + 1) // (stops + 1) - len(delivered)
        if number < stops:
            bench.limiters["web"] = Limiter(20_000.0)
        bench.read(log)
        until(lambda bench=bench, wanted=wanted: len(bench.outlet.lines()) >= wanted)  # type: ignore[misc]
        positions = bench.stop()
        assert number == stops or len(delivered) + len(bench.outlet.lines()) < len(lines)
        delivered += bench.outlet.lines()

    assert delivered == lines


# -- what takes long is done in pieces ------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_the_begin_of_a_very_long_last_line_is_looked_for_in_a_thread(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Case 2: start at the end of a file whose last line is longer than any line should be."""
    monkeypatch.setattr(resume, "NEAR_BYTES", 100_001)
    threads = []
    in_thread = resume.in_thread
    monkeypatch.setattr(resume, "in_thread", lambda *args: threads.append(args) or in_thread(*args))
    append(tmp_path / "a.log", "old\n".encode(encoding) + ("x" * 300_000).encode(encoding))
    append(tmp_path / "b.log", "old\n".encode(encoding))
    bench = make_bench(start_at="end")
    bench.read(tmp_path / "*.log", encoding=encoding)
    bench.until_idle()
    assert len(threads) == 1

    append(tmp_path / "a.log", "y\n".encode(encoding))

    bench.until_lines(b"x" * 300_000 + b"y")


@pytest.mark.parametrize(
    "fields", [{"encoding": "utf-16-le"}, {"encoding": "gb18030"}, {"multiline_start": "line"}]
)
def test_lines_with_a_form_of_their_own_are_taken_in_smaller_pieces(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    """So that a read of short ones does not hold up everybody."""
    pieces = []
    frame = line_reader.frame
    monkeypatch.setattr(
        line_reader, "frame", lambda data, *args: pieces.append(len(data)) or frame(data, *args)
    )
    lines = [b"line %d" % number for number in range(20_000)]
    text = b"".join(line + b"\n" for line in lines) + b"line\n"
    append(tmp_path / "a.log", text.decode().encode(fields.get("encoding", "utf-8")))

    bench.read(tmp_path / "a.log", **fields)

    until(lambda: len(bench.outlet.lines()) >= len(lines))
    assert bench.outlet.lines()[: len(lines)] == lines
    assert max(pieces) <= reader.READ_BYTES // 4


def test_a_long_event_is_not_looked_at_too_often(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = []
    frame = line_reader.frame
    monkeypatch.setattr(
        line_reader, "frame", lambda data, *args: pieces.append(len(data)) or frame(data, *args)
    )
    event = b"line\n" + b" more of it that is no beginning\n" * 25_000
    append(tmp_path / "a.log", event + b"line\n")

    bench.read(tmp_path / "a.log", multiline_start="line")

    until(lambda: bench.outlet.lines())
    assert bench.outlet.lines()[0] == event[:-1]
    assert sum(pieces) <= 4 * len(event)


# -- the same file, or another one: every order of what happens to it at first -----------------------------------


def create_empty(path: Path, _: bytes) -> None:
    path.touch()


def create_full(path: Path, data: bytes) -> None:
    append(path, data)


def modify(path: Path, data: bytes) -> None:
    append(path, data)


def replace_by_another(path: Path, data: bytes) -> None:
    draft = path.with_name("draft")
    draft.write_bytes(data)
    draft.replace(path)


STEPS = {
    "empty": create_empty,
    "full": create_full,
    "modify": modify,
    "change": replace_by_another,
}
ORDERS = [
    ("empty", "modify", "change", "modify"),
    ("empty", "change", "modify", "modify"),
    ("full", "modify", "change", "modify"),
    ("full", "change", "modify", "change"),
    ("empty", "modify", "modify", "change"),
    ("full", "change", "change", "modify"),
]


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_whatever_happens_first_to_a_file_each_line_comes_once_in_order(
    bench: Bench, tmp_path: Path, order: tuple[str, ...], link: bool, alike: bool, paused: bool
) -> None:
    """Case 59, sampled. Without a pause what was replaced before anybody looked is gone."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "real").mkdir()
    log = tmp_path / "real" / "a.log"
    watched = tmp_path / "logs" / "a.log"
    if link:
        watched.symlink_to(log)
    else:
        log = watched
    bench.read(tmp_path / "logs" / "*.log")
    expected: list[bytes] = []
    for number, step in enumerate(order):
        lines = [b"the same" if alike else b"first of %d" % number, b"line %d" % number]
        if step != "empty":
            expected += lines
        STEPS[step](log, b"".join(line + b"\n" for line in lines))
        if link and paused:
            bench.collector._sweeper.sweep()  # where a link to nothing leads to nobody watches
        if paused:
            bench.until_lines(*expected)
            bench.until_idle()

    if paused:
        return
    bench.collector._sweeper.sweep()
    last = expected[-2 * (len(order) - max(n for n, step in enumerate(order) if step == "change")) :]
    until(lambda: bench.outlet.lines()[-len(last) :] == last)
    settle()
    came = iter(expected)
    assert all(line in came for line in bench.outlet.lines())
