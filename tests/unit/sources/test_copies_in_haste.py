# SPDX-License-Identifier: Apache-2.0
"""copytruncate faster than the agent looks: what it has read is known again in the copy by its bytes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.sources.missed import Missed
from logagent.sources.tailed_file import TailedFile
from tests.unit.sources.test_copies import append, numbered, text
from tests.unit.sources.twins import Bench, settle

MakeBench = Callable[..., Bench]


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_a_file_that_is_emptied_while_its_first_bytes_are_read_is_known_in_its_copy(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """Its head was to be read from it after the first lines, when it was empty already."""
    log, lines = tmp_path / "a.log", numbered(0, 5)
    log.touch()
    bench.read(tmp_path / pattern)
    settle()
    real = TailedFile.read

    def read(self: TailedFile, count: int, offset: int, together: bool) -> bytes | None:
        data = real(self, count, offset, together)
        if data and log.stat().st_size:
            shutil.copyfile(log, tmp_path / "a.log.1")
            os.truncate(log, 0)
        return data

    monkeypatch.setattr(TailedFile, "read", read)
    append(log, text(lines))

    bench.until_lines(*lines)
    monkeypatch.undo()
    settle()
    append(log, text(numbered(5, 6)))
    bench.until_lines(*numbered(0, 6))
    bench.skip(100)
    settle()
    assert bench.outlet.lines() == numbered(0, 6)


@pytest.mark.parametrize("found", ["by its name", "as a missed generation"])
def test_a_copy_is_known_when_its_original_was_rotated_twice_since(
    bench: Bench, tmp_path: Path, found: str
) -> None:
    """It is compared with every file that was at the path and is still open, not with the last two."""
    log = tmp_path / "a.log"
    append(log, text(numbered(0, 5)))
    bench.read(tmp_path / "a.log*")
    bench.until_lines(*numbered(0, 5))
    bench.until_idle()
    (state,) = bench.collector.entries.values()
    append(log, text(numbered(5, 40)))
    shutil.copyfile(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    if found == "by its name":
        bench.collector._check(state, os.fsencode(tmp_path / "a.log.1"))
    for number in (2, 3):
        # Nobody reads meanwhile.
        append(log, text(numbered(38 + number, 39 + number)))
        log.rename(tmp_path / f"a.log.{number}")
        log.touch()
        bench.collector._check(state, os.fsencode(log))

    bench.until_lines(*numbered(0, 42))
    bench.skip(100)
    settle()
    assert len(bench.outlet.lines()) == 42


def test_a_file_does_not_wait_for_its_own_copy(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy, taken for a missed generation, waits until it is noticed that the file was emptied."""
    log = tmp_path / "a.log"
    append(log, text(numbered(0, 5)))
    bench.read(tmp_path / "a.log*")
    bench.until_lines(*numbered(0, 5))
    bench.until_idle()
    real = Missed.adopt

    def adopt(*args: Any, **more: Any) -> list[TailedFile]:
        if not (tmp_path / "a.log.2").exists():
            shutil.copyfile(log, tmp_path / "a.log.2")
            log.write_bytes(text(numbered(10, 30)))
        return real(*args, **more)

    monkeypatch.setattr(Missed, "adopt", adopt)
    log.rename(tmp_path / "a.log.1")
    append(log, text(numbered(5, 10)))

    bench.until_lines(*numbered(0, 30))
