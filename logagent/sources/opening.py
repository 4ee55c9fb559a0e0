# SPDX-License-Identifier: Apache-2.0
"""Opens log files without side effects: what is checked is what is read, and nothing but a regular file is touched."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from logagent.errors import FileCompressed, FileRefused
from logagent.sources import compressed
from logagent.sources.handles import handle_of
from logagent.sources.identity import handle_identity, inode_identity
from logagent.sources.rotation import FileKey

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A descriptor for reading, the file it is, and where it really lies. `identity` is how it is stored."""

    descriptor: int
    key: FileKey
    identity: str
    real_path: bytes
    size_bytes: int


Refusal = Callable[[str], str | None]
"""Why the file at a real path must not be read; None when it may."""


def open_log(path: bytes, refusal: Refusal) -> Opened:
    """Open a regular file for reading. Raises FileRefused with the reason, FileCompressed if that is the reason;
    FileNotFoundError when nothing is there.

    The path is opened as a mere handle first (O_PATH reads nothing, cannot hang on a FIFO, wakes no device); type and
    place are judged on it, and then the very same file is opened for reading through /proc/self/fd.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileRefused(_sentence(error)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
            raise FileRefused(f"it is {kind}; only regular files are read")
        link = f"/proc/self/fd/{handle}"
        real_path = os.readlink(os.fsencode(link))
        refused = refusal(os.fsdecode(real_path.removesuffix(b" (deleted)")))
        if refused:
            raise FileRefused(refused)
        try:
            descriptor = os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise FileRefused(_sentence(error)) from error
    finally:
        os.close(handle)
    try:
        packed = compressed.is_compressed(path, os.pread(descriptor, compressed.LOOK_BYTES, 0))
    except OSError as error:
        os.close(descriptor)
        raise FileRefused(f"it cannot be read: {error.strerror}") from error
    if packed:
        os.close(descriptor)
        raise FileCompressed(compressed.REFUSED)
    key = FileKey(status.st_dev, status.st_ino)
    if real_path == path:
        real_path = path  # one object; there may be thousands of files
    return Opened(descriptor, key, _identity(descriptor, key), real_path, status.st_size)


def open_if_log(path: bytes, refusal: Refusal) -> Opened | None:
    """The same where it does not matter why a file cannot be opened; compressed ones, by their names, are not tried."""
    if path.endswith(compressed.NAMES):
        return None
    try:
        return open_log(path, refusal)
    except (FileRefused, FileNotFoundError):
        return None


def key_of(path: bytes) -> FileKey | None:
    """Which file lies at the path now; None when there is none. Raises OSError when that cannot be seen."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileKey(status.st_dev, status.st_ino)


def _identity(descriptor: int, key: FileKey) -> str:
    handle = handle_of(descriptor)
    if handle is None:
        return inode_identity(key.device, key.inode)
    return handle_identity(handle.file_system, handle.kind, handle.data)


def _sentence(error: OSError) -> str:
    return f"it cannot be opened: {error.strerror}"
