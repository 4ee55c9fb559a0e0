# SPDX-License-Identifier: Apache-2.0
"""A file with bytes that nobody reads, for no reason that is known, is opened again (case 114)."""

import os
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from logagent.pacing.limiter import Limiter
from logagent.sources.progress import Look, stalled_since
from logagent.sources.tailed_file import TailedFile
from logagent.sources.tailer import Step
from tests.unit.sources.twins import Bench, settle, until


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def sweep(bench: Bench) -> None:
    bench.collector._sweeper.sweep()


IDLE = Look(100.0, scanned_offset=10, size_bytes=20, waits=False)


@pytest.mark.parametrize(
    ("before_s", "before", "now", "expected"),
    [
        (None, None, IDLE, 100.0),
        (70.0, Look(70.0, 10, 15, waits=False), IDLE, 70.0),
        (70.0, Look(70.0, 9, 15, waits=False), IDLE, 100.0),
        (70.0, Look(70.0, 10, 15, waits=False), Look(100.0, 10, 20, waits=True), None),
        (70.0, Look(70.0, 10, 15, waits=False), Look(100.0, 15, 15, waits=False), None),
        (None, None, Look(100.0, 10, 5, waits=False), None),
    ],
)
def test_nobody_reads_what_stands_unread_without_a_reason(
    before_s: float | None, before: Look | None, now: Look, expected: float | None
) -> None:
    assert stalled_since(before_s, before, now) == expected


@pytest.mark.parametrize("gone", ["in place", "deleted"])
def test_a_file_whose_reader_hangs_is_opened_again_and_read_on_from_where_it_was(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Case 114."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()
    file = bench.file(log)
    hung, step = Event(), bench.tailer._step

    def hang(file: TailedFile) -> Step:
        if not hung.is_set():
            hung.set()
            file.state = "reading"
            Event().wait()
        return step(file)

    monkeypatch.setattr(bench.tailer, "_step", hang)
    monkeypatch.setattr(bench.tailer, "_sip", lambda _file: False)
    append(log, b"two\nthree\n")
    until(hung.is_set)
    if gone == "deleted":
        log.unlink()
        until(lambda: file.left_path_s is not None)
    reader, descriptor = file.greenlet, file.descriptor
    assert reader is not None

    sweep(bench)
    bench.skip(59)
    sweep(bench)
    assert not bench.told.of("file_stalled")
    assert not reader.dead
    bench.skip(2)
    sweep(bench)

    assert [(fact["unread_bytes"], round(fact["stalled_s"])) for fact in bench.told.of("file_stalled")] == [
        (10, 61)
    ]
    bench.until_lines(b"one", b"two", b"three")
    assert reader.dead
    assert file.descriptor != descriptor
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
    bench.skip(100)
    sweep(bench)
    bench.skip(100)
    sweep(bench)
    assert len(bench.told.of("file_stalled")) == 1


def test_a_file_that_is_thought_to_be_read_and_is_not_is_read_again(bench: Bench, tmp_path: Path) -> None:
    """Case 114."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()
    bench.file(log).tailing = True
    append(log, b"two\n")
    settle()
    assert bench.outlet.lines() == [b"one"]

    for _ in range(2):
        sweep(bench)
        bench.skip(61)
    sweep(bench)

    bench.until_lines(b"one", b"two")
    assert len(bench.told.of("file_stalled")) == 1


@pytest.mark.parametrize("wait", ["room", "rate", "unreadable", "nothing"])
def test_a_file_that_waits_for_something_known_is_left_alone(
    bench: Bench, tmp_path: Path, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 114, the other way round."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    if wait == "rate":
        bench.limiters["web"] = Limiter(0.001)
    bench.read(log)
    bench.until_lines(b"one")
    bench.until_idle()
    if wait == "room":
        bench.outlet.block()
    if wait == "unreadable":
        monkeypatch.setattr(bench.tailer, "_checked", lambda *_args, **_kw: os.pread(-1, 1, 0))
        monkeypatch.setattr(bench.tailer, "_sip", lambda _file: False)
    append(log, b"half a line" if wait == "nothing" else b"two\n")
    settle(50)

    for _ in range(4):
        sweep(bench)
        bench.skip(61)
        gevent.sleep(0.005)

    assert not bench.told.of("file_stalled")
    assert bench.outlet.lines() == [b"one"]
