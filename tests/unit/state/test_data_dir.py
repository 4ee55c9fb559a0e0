# SPDX-License-Identifier: Apache-2.0

import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from logagent.errors import DataDirLocked, DataDirUnusable
from logagent.state import data_dir as data_dir_module
from logagent.state.data_dir import DataDir, primary_address
from tests.support import ROOT

LOCK = """
import sys
from pathlib import Path
from logagent.errors import DataDirLocked
from logagent.state.data_dir import DataDir
try:
    DataDir(Path(sys.argv[1]))
except DataDirLocked as error:
    print(error)
"""


def in_another_process(path: Path) -> str:
    command = [sys.executable, "-c", LOCK, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "a" / "data")

    assert (tmp_path / "a" / "data").stat().st_mode & 0o777 == 0o700
    directory.release()


def test_a_second_agent_is_refused_and_told_who_works_there(tmp_path: Path) -> None:
    first = DataDir(tmp_path)

    assert in_another_process(tmp_path) == (
        f"data_dir {tmp_path} is in use by another agent (process {os.getpid()}); "
        "stop it or give this one another data_dir\n"
    )
    with pytest.raises(DataDirLocked):
        DataDir(tmp_path)
    first.release()


def test_after_release_the_next_agent_gets_in(tmp_path: Path) -> None:
    DataDir(tmp_path).release()

    assert in_another_process(tmp_path) == ""
    DataDir(tmp_path).release()  # the other process has ended, and its lock with it


def test_who_was_refused_leaves_no_descriptor(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DataDirLocked):
        DataDir(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before
    first.release()


def test_the_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)

    assert not os.get_inheritable(directory._lock)
    directory.release()


def test_a_path_that_cannot_be_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(DataDirUnusable, match="cannot be used"):
        DataDir(tmp_path / "file")
    with pytest.raises(DataDirUnusable, match="cannot be used"):
        DataDir(tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_directory_of_somebody_else_is_an_error() -> None:
    place = tempfile.mkdtemp()
    os.chmod(place, 0o755)
    try:
        os.seteuid(65534)
        with pytest.raises(DataDirUnusable, match="Permission denied"):
            DataDir(Path(place, "data"))
    finally:
        os.seteuid(0)
        shutil.rmtree(place)


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path)
    made.release()
    return made


def test_the_configured_host_id_wins_and_is_not_kept(directory: DataDir) -> None:
    assert directory.host_id("db-1") == "db-1"
    assert not (directory.path / "host_id").exists()


def test_the_first_address_is_kept_for_ever(directory: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_dir_module, "primary_address", lambda: "10.0.0.1")
    assert directory.host_id(None) == "10.0.0.1"

    monkeypatch.setattr(data_dir_module, "primary_address", lambda: "10.0.0.2")

    assert directory.host_id(None) == "10.0.0.1"
    assert (directory.path / "host_id").read_text() == "10.0.0.1\n"


def test_an_empty_host_id_file_is_written_anew(directory: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory.path / "host_id").write_text("\n")
    monkeypatch.setattr(data_dir_module, "primary_address", lambda: "10.0.0.1")

    assert directory.host_id(None) == "10.0.0.1"


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_host_id_that_cannot_be_read_is_an_error(directory: DataDir, content: bytes | None) -> None:
    file = directory.path / "host_id"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)

    with pytest.raises(DataDirUnusable, match="host_id cannot be read"):
        directory.host_id(None)


def test_a_host_id_that_cannot_be_kept_is_an_error(directory: DataDir) -> None:
    (directory.path / "host_id.new").mkdir()

    with pytest.raises(DataDirUnusable, match="host_id cannot be written"):
        directory.host_id(None)


def test_the_primary_address_is_an_address_or_the_name_of_the_host() -> None:
    address = primary_address()

    assert address
    if address[0].isdigit():
        ipaddress.ip_address(address)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("locked_before", [True, False])
def test_case_78_and_86_a_directory_without_writing_is_locked_all_the_same(locked_before: bool) -> None:
    place = Path(tempfile.mkdtemp())
    if locked_before:
        DataDir(place).release()
        (place / "lock").chmod(0o444)
    place.chmod(0o555)
    try:
        os.seteuid(65534)
        first = DataDir(place)
        with pytest.raises(DataDirLocked):
            DataDir(place)
        assert first.host_id(None) == primary_address()
        first.release()
    finally:
        os.seteuid(0)
        shutil.rmtree(place)
