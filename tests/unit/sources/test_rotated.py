# SPDX-License-Identifier: Apache-2.0
"""Rotations that were not seen one by one: between two looks, and while the agent was off."""

import bz2
import gzip
import lzma
import os
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.sources import explain
from logagent.sources.compressed import is_compressed
from logagent.sources.missed import rotated_name
from logagent.state.positions import Position
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


# -- while the agent was off --------------------------------------------------------------------------------------


def behind(make_bench: MakeBench, log: Path, pattern: str | None = None) -> list[Position]:
    """An agent that read "line 0" and was stopped before "line 1" was written."""
    append(log, b"line 0\n")
    bench = make_bench()
    bench.read(log.with_name(pattern or log.name))
    until(lambda: bench.outlet.lines()[-1:] == [b"line 0"])
    positions = bench.stop()
    append(log, b"line 1\n")
    return positions


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_generations_rotated_while_the_agent_was_off_come_in_order(
    make_bench: MakeBench, tmp_path: Path, pattern: str
) -> None:
    """Case 48, with a generation that nobody ever saw; also when the glob matches the rotated names."""
    log = tmp_path / "a.log"
    positions = behind(make_bench, log, pattern)
    for number in range(2, 4):
        rename_all(log)
        append(log, b"line %d\n" % number)

    after = make_bench(positions)
    after.read(tmp_path / pattern)

    after.until_lines(b"line 1", b"line 2", b"line 3")
    settle()
    assert len(after.outlet.lines()) == 3


def test_a_file_moved_to_another_directory_while_the_agent_was_off_is_read_to_its_end(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """Case 142."""
    log = tmp_path / "a.log"
    positions = behind(make_bench, log)
    (tmp_path / "old").mkdir()
    log.rename(tmp_path / "old" / "a.log.1")
    append(log, b"line 2\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"line 1", b"line 2")


def test_a_file_moved_where_it_must_not_be_read_is_not_read(make_bench: MakeBench, tmp_path: Path) -> None:
    """Case 142, under the rules for paths."""
    log = tmp_path / "a.log"
    positions = behind(make_bench, log)
    (tmp_path / "secret").mkdir()
    log.rename(tmp_path / "secret" / "a.log.1")
    append(log, b"line 2\n")

    after = make_bench(positions, refusal=lambda path: "secret" if "secret" in path else None)
    after.read(log)

    after.until_lines(b"line 2")


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_a_file_copied_and_emptied_while_the_agent_was_off_is_read_in_its_copy(
    make_bench: MakeBench, tmp_path: Path, pattern: str
) -> None:
    log = tmp_path / "a.log"
    positions = behind(make_bench, log, pattern)
    shutil.copyfile(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    append(log, b"line 2\n")

    after = make_bench(positions)
    after.read(tmp_path / pattern)

    after.until_lines(b"line 1", b"line 2")
    settle()
    assert len(after.outlet.lines()) == 2


@pytest.mark.parametrize("name", ["a.log.1.gz", "a.log-20261122.gz", "a.log.1.bz2", "a.log.1.xz"])
@pytest.mark.parametrize("lines", [1, 100_000])
def test_the_rest_of_a_file_compressed_while_the_agent_was_off_is_read_once(
    make_bench: MakeBench, tmp_path: Path, name: str, lines: int
) -> None:
    """Case 143."""
    log = tmp_path / "a.log"
    positions = behind(make_bench, log)
    append(log, b"".join(b"rest %d\n" % number for number in range(lines)))
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[Path(name).suffix]
    with opener(tmp_path / name, "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()
    append(log, b"new\n")
    expected = [b"line 1", *(b"rest %d" % number for number in range(lines))]

    after = make_bench(positions)
    after.read(log)
    after.until_lines(*expected, b"new")
    after.skip(11)
    until(lambda: after.told.of("file_closed"))
    positions = after.stop()

    again = make_bench(positions)
    again.read(log)
    settle()
    assert again.outlet.lines() == []


def test_a_compressed_file_of_another_generation_is_not_read(make_bench: MakeBench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    positions = behind(make_bench, log)
    with gzip.open(tmp_path / "a.log.2.gz", "wb") as packed:
        packed.write(b"another generation\nline 1\n")
    (tmp_path / "a.log.3.gz").write_bytes(b"no gzip at all")
    log.unlink()
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"new")
    assert len(after.told.of("file_refused")) == 1


def test_a_compressed_file_with_the_same_head_and_another_middle_is_not_read(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    append(log, b"the same first line %s\n" % (b"." * 2000))
    positions = behind(make_bench, log)[:1]
    with gzip.open(tmp_path / "a.log.1.gz", "wb") as packed:
        packed.write(log.read_bytes().replace(b"line 0", b"line X"))
    log.unlink()
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"new")


@pytest.mark.parametrize(
    ("name", "first", "expected"),
    [
        (b"a.log.1.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3", True),
        (b"a.log.1.gz", b"", True),
        (b"a.log.1.zst", b"\x28\xb5", True),
        (b"a.log.1.gz", b"plain text", False),
        (b"a.log.1", b"", False),
        (b"a.log.1", b"\x1f\x8b\x08\0\0\0\0\0\0\3", True),
        (b"a.log.1", b"BZh91AY&SY", True),
        (b"a.log.1", b"BZh is how this line begins", False),
        (b"a.log.1", b"\xfd7zXZ\0\0\4\xe6\xd6", True),
        (b"a.log.1", b"\x04\x22\x4d\x18dA", True),
        (b"a.log.1", b"\x28\xb5\x2f\xfd\4", True),
    ],
)
def test_a_compressed_file_is_known_by_its_name_and_its_beginning(
    name: bytes, first: bytes, expected: bool
) -> None:
    assert is_compressed(name, first) is expected


@pytest.mark.parametrize("name", ["a.log.1.gz", "a.log.1"])
def test_a_file_that_was_read_and_then_compressed_under_a_name_that_matches_is_not_read_again(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    """Cases 39 and 60."""
    log = tmp_path / "a.log"
    append(log, b"line 1\n")
    bench.read(tmp_path / "a.log*")
    bench.until_lines(b"line 1")
    log.rename(tmp_path / "a.log.1")
    append(log, b"line 2\n")
    bench.until_lines(b"line 1", b"line 2")

    draft = tmp_path / "draft"
    with gzip.open(draft, "wb") as packed:
        packed.write(b"line 1\n")
    (tmp_path / "a.log.1").unlink()
    draft.rename(tmp_path / name)
    until(lambda: bench.told.of("file_compressed"))
    bench.collector._sweeper.sweep()
    settle()

    assert bench.outlet.lines() == [b"line 1", b"line 2"]
    assert len(bench.told.of("file_compressed")) == 1
    assert not bench.told.of("file_refused")
    place = explain.look(bytes(tmp_path / name), bench.collector.settings.refusal)
    assert place.problem == "compressed; it is read only as the missing rest of a file known before"


def test_a_file_that_is_being_compressed_is_not_read(bench: Bench, tmp_path: Path) -> None:
    packed = tmp_path / "a.log.1.gz"
    append(packed, b"")
    bench.read(tmp_path / "a.log*")
    until(lambda: bench.told.of("file_compressed"))
    append(packed, gzip.compress(b"line 1\n"))

    bench.collector._sweeper.sweep()
    settle()

    assert bench.outlet.lines() == []


@pytest.mark.parametrize("lost_bytes", [0, 7])
def test_a_rest_for_which_there_is_no_library_is_told(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_bytes: int
) -> None:
    """Only if something of the file is known not to be delivered."""
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    log = tmp_path / "a.log"
    positions = [replace(one, size_bytes=one.offset + lost_bytes) for one in behind(make_bench, log)]
    (tmp_path / "a.log.1.zst").write_bytes(b"\x28\xb5\x2f\xfdwhatever")
    log.unlink()
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"new")
    sentence = f"it may be the rest of {log}, and no library for .zst is installed"
    assert [fact["reason"] for fact in after.told.of("file_refused")] == [sentence] * bool(lost_bytes)


def test_a_library_for_the_rest_is_used_where_it_is_installed(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = types.ModuleType("compression.zstd")
    library.open, library.ZstdError = gzip.open, ValueError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compression.zstd", library)
    log = tmp_path / "a.log"
    positions = behind(make_bench, log)
    with gzip.open(tmp_path / "a.log.1.zst", "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()
    append(log, b"new\n")

    after = make_bench(positions)
    after.read(log)

    after.until_lines(b"line 1", b"new")
