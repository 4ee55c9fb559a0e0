# SPDX-License-Identifier: Apache-2.0
"""File handles of the file system below the temporary directory."""

import os
from pathlib import Path

import pytest

from logagent.sources.handles import BOOT_ID, Handle, handle_of, open_handle


def handle(path: Path) -> Handle:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = handle_of(descriptor)
    finally:
        os.close(descriptor)
    if found is None:
        pytest.skip("this file system has no handles")
    return found


def opened(directory: Path, wanted: Handle) -> int:
    descriptor = open_handle(os.fsencode(directory), wanted)
    if descriptor is None:
        pytest.skip("this process may not open handles")
    return descriptor


def test_a_file_keeps_its_handle_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    before = handle(tmp_path / "a")

    (tmp_path / "a").rename(tmp_path / "b")

    assert handle(tmp_path / "b") == before


def test_a_file_with_the_inode_of_a_deleted_one_has_another_handle(tmp_path: Path) -> None:
    """Case 54."""
    log = tmp_path / "a"
    log.write_bytes(b"x")
    before, inode = handle(log), log.stat().st_ino
    log.unlink()
    for number in range(50):
        other = tmp_path / f"try{number}"
        other.write_bytes(b"x")
        if other.stat().st_ino == inode:
            assert handle(other) != before
            return
    pytest.skip("this file system does not use inodes again at once")


def test_a_file_is_opened_by_its_handle_wherever_it_went(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "a").write_bytes(b"x")
    wanted = handle(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "old" / "a.1")

    descriptor = opened(tmp_path, wanted)

    try:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / "old" / "a.1")
    finally:
        os.close(descriptor)


def test_a_deleted_file_has_no_handle_that_opens(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    wanted = handle(tmp_path / "a")
    os.close(opened(tmp_path, wanted))
    (tmp_path / "a").unlink()

    assert open_handle(os.fsencode(tmp_path), wanted) is None


def test_what_is_no_file_has_no_handle() -> None:
    reader, writer = os.pipe()
    try:
        assert handle_of(reader) is None
    finally:
        os.close(reader)
        os.close(writer)


def test_the_boot_has_a_name() -> None:
    assert len(BOOT_ID) == 36
