# SPDX-License-Identifier: Apache-2.0
"""The agent's own directory: made, locked against a second agent, and the host's id kept in it."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from logagent.errors import DataDirLocked, DataDirUnusable

PROBE_ADDRESS = ("192.0.2.1", 9)
"""Documentation range: nothing is sent, the kernel only says which address it would send from."""


_NO_WRITING = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO})
"""The disk is full, read-only or broken: no reason not to ship lines."""


class DataDir:
    """Holds the lock as long as it lives. A directory in which nothing can be written is good enough."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _open_lock(path)
        except OSError as error:
            raise DataDirUnusable(f"data_dir {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(self._lock)
            os.close(self._lock)
            who = f" (process {owner})" if owner else ""
            raise DataDirLocked(
                f"data_dir {path} is in use by another agent{who}; stop it or give this one another data_dir"
            ) from error
        with suppress(OSError):  # the number only helps the person who is told of the lock
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def host_id(self, configured: str | None) -> str:
        """The name of this host in messages and keys: as configured, else as persisted, else its primary address."""
        if configured:
            return configured
        file = self.path / "host_id"
        try:
            kept = file.read_text("utf-8").strip()
            if kept:
                return kept
        except FileNotFoundError:
            kept = ""
        except (OSError, UnicodeDecodeError) as error:
            raise DataDirUnusable(f"{file} cannot be read: {error}") from error
        kept = primary_address()
        try:
            temporary = file.with_suffix(".new")
            temporary.write_text(kept + "\n", "utf-8")
            temporary.replace(file)
        except OSError as error:
            # The address is as good as what would be kept, until it changes.
            if error.errno not in _NO_WRITING:
                raise DataDirUnusable(f"{file} cannot be written: {error.strerror}") from error
        return kept

    def release(self) -> None:
        """Let a next agent in."""
        os.close(self._lock)


def _open_lock(path: Path) -> int:
    """What the lock is taken on: the file, also where it cannot be written, or else the directory."""
    try:
        return os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_WRITING:
            raise
    try:
        return os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _owner(lock: int) -> str:
    try:
        return os.pread(lock, 64, 0).decode("ascii", "replace").strip()
    except IsADirectoryError:
        return ""


def primary_address() -> str:
    """The IPv4 address that this host would use towards others; its name when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(PROBE_ADDRESS)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
