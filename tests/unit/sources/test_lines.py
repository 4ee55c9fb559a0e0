# SPDX-License-Identifier: Apache-2.0
"""What operators may say about lines, from real files to the sender: offsets stay those of the file."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from logagent.pacing.limiter import Limiter
from logagent.sources.framing import Oversize
from tests.unit.sources.twins import Bench, settle, until

MakeBench = Callable[..., Bench]
POLICIES: tuple[Oversize, ...] = ("cut", "split", "dead_letter")
OLD_S = 3600.0


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - OLD_S, time.time() - OLD_S))


def placed(bench: Bench) -> list[tuple[int, bytes]]:
    return [(offset, value) for _, _, offset, value in bench.outlet.delivered]


# -- length ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("oversize", "kept"),
    [("cut", [b"x" * 10]), ("split", [b"x" * 10] * 2 + [b"x" * 5]), ("dead_letter", [])],
)
def test_each_policy_leaves_the_neighbours_of_a_long_line_intact(
    make_bench: MakeBench, tmp_path: Path, oversize: Oversize, kept: list[bytes]
) -> None:
    """Case 28: lines of 9, 10 and 25 bytes at a limit of 10."""
    bench, log = make_bench(max_line_bytes=10, oversize=oversize), tmp_path / "a.log"
    append(log, b"n" * 9 + b"\n" + b"t" * 10 + b"\r\n" + b"x" * 25 + b"\nafter\n")

    bench.read(log)

    bench.until_lines(b"n" * 9, b"t" * 10, *kept, b"after")
    assert bench.outlet.buried == ([(22, b"x" * 10, 25)] if oversize == "dead_letter" else [])
    assert bench.told.of("lines_cut") == (
        [{"service": "web", "path": bytes(log), "lines": 1, "cut_bytes": 15}] if oversize == "cut" else []
    )
    assert bench.file(log).acks.acked_offset == log.stat().st_size


@pytest.mark.parametrize("oversize", POLICIES)
@pytest.mark.parametrize("line_bytes", [300_000, 1_000_000])
def test_a_line_longer_than_a_read_obeys_the_policy_too(
    make_bench: MakeBench, tmp_path: Path, oversize: Oversize, line_bytes: int
) -> None:
    """Cases 30, 129: above and below the limit, and written in parts."""
    bench, log = make_bench(max_line_bytes=400_000, oversize=oversize), tmp_path / "a.log"
    append(log, b"a\n" + b"x" * (line_bytes // 2))
    bench.read(log)
    bench.until_lines(*placed_values(bench, b"a", oversize, line_bytes // 2))
    bench.until_idle()

    append(log, b"x" * (line_bytes - line_bytes // 2) + b"\nb\n")

    until(lambda: placed(bench)[-1:] == [(line_bytes + 3, b"b")])
    middle = b"".join(bench.outlet.lines()[1:-1])
    whole = line_bytes <= 400_000 or oversize == "split"
    assert middle == (b"x" * (line_bytes if whole else 0 if oversize == "dead_letter" else 400_000))
    dead = oversize == "dead_letter" and not whole
    assert bench.outlet.buried == ([(2, b"x" * 400_000, line_bytes)] if dead else [])


def placed_values(bench: Bench, first: bytes, oversize: Oversize, written_bytes: int) -> list[bytes]:
    return [first, b"x" * 400_000] if oversize == "split" and written_bytes > 400_001 else [first]


def test_a_dead_letter_that_is_not_written_keeps_the_position_before_it(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench, log = make_bench(max_line_bytes=10, oversize="dead_letter"), tmp_path / "a.log"
    bench.outlet.holding = True
    append(log, b"one\n" + b"x" * 25 + b"\ntwo\n")
    bench.read(log)
    until(lambda: len(bench.outlet.open) == 3)

    bench.outlet.acknowledge([bench.outlet.open[0], bench.outlet.open[2]])

    assert bench.file(log).acks.acked_offset == 4


def test_a_changed_policy_holds_from_the_next_line_on(make_bench: MakeBench, tmp_path: Path) -> None:
    bench, log = make_bench(max_line_bytes=10), tmp_path / "a.log"
    append(log, b"x" * 25 + b"\n")
    bench.read(log)
    bench.until_lines(b"x" * 10)

    bench.tailer.settings = type(bench.tailer.settings)(20, 10.0, "split")
    append(log, b"y" * 25 + b"\n")

    bench.until_lines(b"x" * 10, b"y" * 20, b"y" * 5)


# -- zeros ----------------------------------------------------------------------------------------------------------


def test_a_writer_that_does_not_append_leaves_no_zeros_in_lines(bench: Bench, tmp_path: Path) -> None:
    """Case 47: after copytruncate it goes on writing where it was, behind a hole."""
    log = tmp_path / "a.log"
    with log.open("wb", buffering=0) as writer:
        writer.write(b"before\n" * 100_000)
        bench.read(log)
        bench.until_lines(*[b"before"] * 100_000)
        bench.until_idle()
        os.truncate(log, 0)
        until(lambda: len(bench.told.of("file_truncated")) == 1)
        writer.write(b"after\n")

    bench.until_lines(*[b"before"] * 100_000, b"after")
    assert placed(bench)[-1] == (700_000, b"after")
    assert bench.told.of("holes_skipped") == [{"service": "web", "path": bytes(log), "hole_bytes": 700_000}]


def test_a_preallocated_file_is_read_as_it_is_filled(bench: Bench, tmp_path: Path) -> None:
    """Case 139."""
    log = tmp_path / "a.log"
    with log.open("wb", buffering=0) as writer:
        os.posix_fallocate(writer.fileno(), 0, 10_000_000)
        writer.write(b"one\ntw")
        bench.read(log)
        bench.until_lines(b"one")
        bench.until_idle()
        assert bench.file(log).reason == "there are zeros up to its end, which are not written yet"

        writer.write(b"o\nthree\n")

        bench.until_lines(b"one", b"two", b"three")
        assert bench.told.of("holes_skipped") == []


def test_a_preallocated_file_of_a_limited_service_is_read_too(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    bench.limiters["web"] = Limiter(1000)
    with log.open("wb", buffering=0) as writer:
        writer.truncate(1_000_000)
        bench.read(log)
        bench.until_idle()

        writer.write(b"one\n")

        bench.until_lines(b"one")


def test_the_zero_tail_of_a_rotated_file_does_not_hold_its_successor_up(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench, log = make_bench(rotate_wait_s=10.0), tmp_path / "a.log"
    append(log, b"one\nhalf" + bytes(100_000))
    bench.read(log)
    bench.until_lines(b"one")

    log.rename(tmp_path / "a.log.1")
    append(log, b"two\n")
    bench.until_lines(b"one", b"two")
    bench.skip(11)
    bench.until_lines(b"one", b"two", b"half")
    bench.skip(11)

    until(lambda: len(bench.told.of("file_closed")) == 1)


# -- encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-16", "utf-16-be"),
        ("utf-16", "utf-16-le"),
        ("utf-8", "utf-8"),
        ("gb18030", "gb18030"),
    ],
)
def test_a_byte_order_mark_is_in_no_record_also_when_reading_goes_on_behind_it(
    make_bench: MakeBench, tmp_path: Path, encoding: str, written: str
) -> None:
    """Case 32."""
    log = tmp_path / "a.log"
    append(log, "\ufeffeins\r\nzwei ☃\n".encode(written))
    first = make_bench()
    first.read(log, encoding=encoding)
    first.until_lines(b"eins", "zwei ☃".encode())
    assert placed(first)[0][0] == len("\ufeff".encode(written))
    size = log.stat().st_size

    second = make_bench(first.stop())
    append(log, "drei \u0a00\n".encode(written))
    second.read(log, encoding=encoding)

    second.until_lines("drei \u0a00".encode())
    assert placed(second)[0][0] == size


@pytest.mark.parametrize(
    "encoding", ["gb18030", "shift_jis", "big5", "euc-jp", "euc-kr", "latin-1", "cp1251"]
)
def test_text_arrives_as_utf8_and_what_is_invalid_as_a_sign(
    bench: Bench, tmp_path: Path, encoding: str
) -> None:
    """Cases 31, 33."""
    texts = {"gb18030": "汉字𠀀", "big5": "漢字", "euc-kr": "한글", "latin-1": "Grüße", "cp1251": "Привет"}
    text = texts.get(encoding, "日本語ソ")
    log = tmp_path / "a.log"
    append(log, text.encode(encoding) + b"\n\x81\nend\n")

    bench.read(log, encoding=encoding)

    valid = encoding in ("latin-1", "cp1251")
    bench.until_lines(text.encode(), b"\x81".decode(encoding, "replace").encode(), b"end")
    assert valid or bench.outlet.lines()[1] == "\ufffd".encode()
    assert placed(bench)[1][0] == len(text.encode(encoding)) + 1


def test_a_reload_changes_the_encoding_from_the_next_line_on(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "é\n".encode())
    entry = bench.read(log)
    bench.until_lines("é".encode())

    bench.collector.change_entry(type(entry)(entry.service, entry.log_path, entry.topic, encoding="latin-1"))
    append(log, b"\xe9\n")

    bench.until_lines("é".encode(), "é".encode())


# -- multiline ------------------------------------------------------------------------------------------------------

TRACE = b"%d Traceback\n  File 1\n\n  File 2\nError\n"
EVENT = b"%d Traceback\n  File 1\n\n  File 2\nError"


def test_stack_traces_are_one_record_each(bench: Bench, tmp_path: Path) -> None:
    """Case 36: the offset of an event is that of its first line, and nothing of it is seen again after a restart."""
    log = tmp_path / "a.log"
    traces = [TRACE % number for number in range(3)]
    append(log, b"".join(traces) + b"3 next\n")

    bench.read(log, multiline_start=r"\d", multiline_timeout_s=1000.0)

    bench.until_lines(*[EVENT % number for number in range(3)])
    assert [offset for offset, _ in placed(bench)] == [0, len(traces[0]), 2 * len(traces[0])]
    bench.until_idle()
    assert bench.file(log).reason == "the last event may go on"
    assert bench.file(log).acks.acked_offset == 3 * len(traces[0])


def test_an_open_event_is_read_again_after_a_stop(make_bench: MakeBench, tmp_path: Path) -> None:
    """Case 37."""
    log = tmp_path / "a.log"
    append(log, TRACE % 1 + b"2 Trace\n")
    first = make_bench()
    first.read(log, multiline_start=r"\d", multiline_timeout_s=1000.0)
    first.until_lines(EVENT % 1)
    first.until_idle()

    second = make_bench(first.stop())
    append(log, b"  File\n3 next\n")
    second.read(log, multiline_start=r"\d", multiline_timeout_s=1000.0)

    second.until_lines(b"2 Trace\n  File")


@pytest.mark.parametrize("limited", [False, True])
def test_an_event_ends_when_nothing_follows_for_the_timeout(
    bench: Bench, tmp_path: Path, limited: bool
) -> None:
    log = tmp_path / "a.log"
    if limited:
        bench.limiters["web"] = Limiter(1000)
    append(log, b"1 Trace\n  File\nhalf")

    bench.read(log, multiline_start=r"\d", multiline_timeout_s=0.05)

    bench.until_lines(b"1 Trace\n  File")
    append(log, b" a line\n2 next\n3 last\n")
    bench.until_lines(b"1 Trace\n  File", b"half a line", b"2 next", b"3 last")
    assert bench.file(log).acks.acked_offset == log.stat().st_size


def test_the_timeout_begins_anew_with_every_line(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"1 Trace\n")
    bench.read(log, multiline_start=r"\d", multiline_timeout_s=100.0)
    bench.until_idle()
    for _ in range(3):
        bench.skip(60)
        append(log, b"  File\n")
        until(lambda: bench.file(log).scanned_offset == log.stat().st_size)
    assert bench.outlet.lines() == []

    bench.skip(101)
    append(log, b"2 next\n")

    bench.until_lines(b"1 Trace\n  File\n  File\n  File")


def test_an_event_longer_than_the_limit_ends_before_the_line_that_does_not_fit(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench, log = make_bench(max_line_bytes=20), tmp_path / "a.log"
    append(log, b"1 first\n second\n third\n fourth\n2 next\n3 last\n")

    bench.read(log, multiline_start=r"\d", multiline_timeout_s=1000.0)

    bench.until_lines(b"1 first\n second", b" third\n fourth", b"2 next")


def test_events_longer_than_a_read_are_whole(make_bench: MakeBench, tmp_path: Path) -> None:
    log, bench = tmp_path / "a.log", make_bench()
    rest = b"".join(b"  line %d %s\n" % (number, b"x" * 100) for number in range(6000))
    append(log, b"1 first\n" + rest + b"2 next\n")

    bench.read(log, multiline_start=r"\d", multiline_timeout_s=1000.0)

    bench.until_lines(b"1 first\n" + rest[:-1])


def test_the_open_event_of_a_rotated_file_comes_before_its_successor(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 49 with events: the last one is over after its timeout, or when the file is let go."""
    bench, log = make_bench(rotate_wait_s=1000.0), tmp_path / "a.log"
    append(log, b"1 old\n  rest\n")
    bench.read(log, multiline_start=r"\d", multiline_timeout_s=0.2)
    until(lambda: bench.file(log).lines.open_since_s is not None)

    log.rename(tmp_path / "a.log.1")
    append(log, b"2 new\n3 newer\n4 newest\n")

    bench.until_lines(b"1 old\n  rest", b"2 new", b"3 newer", b"4 newest")


# -- which files ----------------------------------------------------------------------------------------------------


def test_what_is_excluded_is_not_read_and_not_even_looked_into(bench: Bench, tmp_path: Path) -> None:
    """Case 9."""
    for name in ("a.log", "a.log.gz", "old/b.log", "new/c.log", "new/deep/d.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        append(tmp_path / name, name.encode() + b"\n")

    bench.read(tmp_path / "**" / "*.log*", exclude=("*.gz", "old", str(tmp_path / "new" / "d*")))
    until(lambda: len(bench.outlet.lines()) == 2)
    append(tmp_path / "late.log.gz", b"late\n")
    append(tmp_path / "old" / "late.log", b"late\n")
    append(tmp_path / "late.log", b"in time\n")

    until(lambda: len(bench.outlet.lines()) == 3)
    assert sorted(bench.outlet.lines()) == [b"a.log", b"in time", b"new/c.log"]
    (state,) = bench.collector.entries.values()
    assert not any(directory.endswith((b"/old", b"/deep")) for directory in state.directories)


def test_a_reload_excludes_and_takes_in(bench: Bench, tmp_path: Path) -> None:
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    append(log, b"a\n")
    append(other, b"b\n")
    entry = bench.read(tmp_path / "*.log", exclude=("a.*",))
    bench.until_lines(b"b")

    bench.collector.change_entry(type(entry)(entry.service, entry.log_path, entry.topic, exclude=("b.*",)))

    bench.until_lines(b"b", b"a")
    append(other, b"more\n")
    append(log, b"a2\n")
    bench.until_lines(b"b", b"a", b"a2")


def test_an_old_file_is_read_from_what_is_new_when_it_is_written_to(bench: Bench, tmp_path: Path) -> None:
    """Case 11."""
    log = tmp_path / "a.log"
    append(log, b"old\nunfinished")
    make_old(log)
    bench.read(tmp_path / "*.log", ignore_older_s=600.0)
    settle()
    assert bench.outlet.lines() == []
    assert not bench.collector.files

    append(log, b" and new\nmore\n")

    bench.until_lines(b"unfinished and new", b"more")


def test_an_old_file_that_was_read_before_is_read_on(make_bench: MakeBench, tmp_path: Path) -> None:
    """Case 12."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    first = make_bench()
    first.read(log, ignore_older_s=600.0)
    first.until_lines(b"one")
    positions = first.stop()
    append(log, b"two\n")
    make_old(log)

    second = make_bench(positions)
    second.read(log, ignore_older_s=600.0)

    second.until_lines(b"two")


def test_young_files_are_read_whatever_is_ignored(bench: Bench, tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"one\n")

    bench.read(tmp_path / "a.log", ignore_older_s=600.0)

    bench.until_lines(b"one")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be"])
def test_starting_at_the_end_never_begins_in_the_middle_of_a_line(
    make_bench: MakeBench, tmp_path: Path, encoding: str
) -> None:
    """Case 2, with a last line longer than what is looked at backwards in one go."""
    log = tmp_path / "a.log"
    append(log, ("old\n" + "x" * 200_000).encode(encoding))
    bench = make_bench(start_at="end")
    bench.read(log, encoding=encoding)
    bench.until_idle()
    assert bench.outlet.lines() == []

    append(log, "y\n".encode(encoding))

    bench.until_lines(b"x" * 200_000 + b"y")
