# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest

from logagent.state.machine import NAME, moved_here


@pytest.fixture
def machines(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "machine-a", tmp_path / "machine-b"]
    for path in paths:
        path.write_text(f"{path.name:0<32}\n")
    return paths


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    return place


def test_a_directory_that_stays_is_at_home(data_dir: Path, machines: list[Path]) -> None:
    assert [moved_here(data_dir, machines[0]) for _ in range(3)] == [False] * 3


def test_a_copy_on_another_machine_is_noticed_once(
    data_dir: Path, tmp_path: Path, machines: list[Path]
) -> None:
    moved_here(data_dir, machines[0])
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    assert moved_here(copy, machines[1])
    assert not moved_here(copy, machines[1])
    assert not moved_here(data_dir, machines[0])


def test_the_id_itself_is_not_kept(data_dir: Path, machines: list[Path]) -> None:
    moved_here(data_dir, machines[0])
    assert machines[0].read_text().strip() not in (data_dir / NAME).read_text()
    assert [one.name for one in data_dir.iterdir()] == [NAME]


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_machine_without_an_id_notices_nothing(
    data_dir: Path, tmp_path: Path, machines: list[Path], content: str | None
) -> None:
    moved_here(data_dir, machines[0])
    nameless = tmp_path / "nameless"
    if content is not None:
        nameless.write_text(content)
    assert not moved_here(data_dir, nameless)
    assert not moved_here(data_dir, machines[0])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_what_was_kept_and_cannot_be_read_is_written_anew(
    data_dir: Path, machines: list[Path], content: bytes
) -> None:
    (data_dir / NAME).write_bytes(content)
    assert not moved_here(data_dir, machines[0])
    assert moved_here(data_dir, machines[1])


def test_a_directory_that_cannot_be_written_is_noticed_at_every_start(
    data_dir: Path, machines: list[Path]
) -> None:
    moved_here(data_dir, machines[0])
    (data_dir / f"{NAME}.new").mkdir()
    assert [moved_here(data_dir, machines[1]) for _ in range(2)] == [True, True]
