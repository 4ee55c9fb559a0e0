# SPDX-License-Identifier: Apache-2.0

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logagent.config.services import PathRules
from logagent.errors import FileRefused
from logagent.sources.opening import key_of, open_log
from logagent.sources.rotation import FileKey

RULES = PathRules(allowed=(), denied=("/etc", "/root", ".ssh"), own_log=None, data_dir="/var/lib/logagent")


def anything(_path: str) -> None:
    return None


def refusal(path: Path) -> str:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileRefused) as caught:
        open_log(os.fsencode(path), RULES.refusal)
    assert len(os.listdir("/proc/self/fd")) == before, "a refused file left a descriptor open"
    return str(caught.value)


@contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory into which everybody may look."""
    made = tempfile.mkdtemp()
    os.chmod(made, 0o755)
    yield Path(made)
    shutil.rmtree(made)


def test_a_regular_file_is_opened_with_its_key_its_place_and_its_size(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"12345")

    opened = open_log(os.fsencode(log), anything)

    try:
        status = log.stat()
        assert opened.key == FileKey(status.st_dev, status.st_ino) == key_of(os.fsencode(log))
        assert opened.real_path == os.fsencode(log.resolve())
        assert opened.size_bytes == 5
        assert os.pread(opened.descriptor, 9, 0) == b"12345"
        assert not os.get_inheritable(opened.descriptor)
    finally:
        os.close(opened.descriptor)


def test_a_link_is_opened_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    opened = open_log(os.fsencode(tmp_path / "link"), anything)

    os.close(opened.descriptor)
    assert opened.real_path == os.fsencode(tmp_path.resolve() / "real")


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")

    assert refusal(tmp_path / "a.log") == "it is a FIFO; only regular files are read"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "it is a directory; only regular files are read"


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert refusal(tmp_path / "s") == "it is a socket; only regular files are read"


def test_a_device_is_refused() -> None:
    assert refusal(Path("/dev/zero")) == "it is a character device; only regular files are read"


def test_a_link_to_a_denied_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to("/etc/shadow")

    assert refusal(tmp_path / "a.log") == "/etc is in denied_paths"


def test_a_link_to_a_directory_in_a_denied_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to("/etc")

    assert refusal(tmp_path / "logs" / "passwd") == "/etc is in denied_paths"


def test_what_lies_in_the_place_of_a_denied_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id").write_bytes(b"x")

    assert refusal(tmp_path / ".ssh" / "id") == ".ssh is in denied_paths"


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    assert refusal(tmp_path / "a") == "it cannot be opened: Too many levels of symbolic links"


def test_a_file_without_permission_is_refused(open_place: Path) -> None:
    log = open_place / "a.log"
    log.write_bytes(b"secret")
    log.chmod(0o000)

    with as_nobody():
        assert refusal(log) == "it cannot be opened: Permission denied"


def test_a_file_in_a_directory_without_permission_cannot_be_looked_at(open_place: Path) -> None:
    (open_place / "locked").mkdir(mode=0o700)
    (open_place / "locked" / "a.log").write_bytes(b"x")
    (open_place / "locked").chmod(0o000)

    with as_nobody():
        assert refusal(open_place / "locked" / "a.log") == "it cannot be opened: Permission denied"
        with pytest.raises(PermissionError):
            key_of(os.fsencode(open_place / "locked" / "a.log"))


def test_nothing_is_not_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_log(os.fsencode(tmp_path / "missing"), anything)
    assert key_of(os.fsencode(tmp_path / "missing")) is None


def test_a_path_through_a_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    assert key_of(os.fsencode(tmp_path / "file" / "a.log")) is None


def test_a_dangling_link_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "missing")

    assert key_of(os.fsencode(tmp_path / "a.log")) is None
    with pytest.raises(FileNotFoundError):
        open_log(os.fsencode(tmp_path / "a.log"), anything)


def test_any_name_can_be_opened(tmp_path: Path) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"a (deleted)", b" "):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb"):
            pass
        opened = open_log(path, anything)
        os.close(opened.descriptor)
        assert opened.real_path == path
