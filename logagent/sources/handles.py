# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of itself and of files: the boot, and handles (inode and generation, which no later file has).

The only user of ctypes.
"""

import ctypes
import errno
import os
from dataclasses import dataclass

_AT_EMPTY_PATH = 0x1000
_MAX_HANDLE_BYTES = 128
_LIBC = ctypes.CDLL(None, use_errno=True)


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


BOOT_ID = _boot_id()
"""Another one after every boot of the machine; empty when the system does not say."""


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * _MAX_HANDLE_BYTES),
    )


@dataclass(frozen=True, slots=True)
class Handle:
    """`file_system` is the id that statfs gives; `data` is opaque."""

    file_system: int
    kind: int
    data: bytes


def handle_of(descriptor: int) -> Handle | None:
    """The handle of an open file; None where the file system has none (overlay, FUSE) or the kernel forbids it."""
    raw = _FileHandle(handle_bytes=_MAX_HANDLE_BYTES)
    mount = ctypes.c_int()
    failed = _LIBC.name_to_handle_at(descriptor, b"", ctypes.byref(raw), ctypes.byref(mount), _AT_EMPTY_PATH)
    if failed:
        return None
    try:
        file_system = os.fstatvfs(descriptor).f_fsid
    except OSError:
        return None
    return Handle(file_system, raw.handle_type, bytes(raw.f_handle[: raw.handle_bytes]))


def open_handle(directory: bytes, handle: Handle) -> int | None:
    """An O_PATH descriptor of the file, wherever it lies in the file system of `directory`.

    None when it is gone, or when the process lacks CAP_DAC_READ_SEARCH. OSError when it cannot be seen whether it is.
    """
    raw = _FileHandle(handle_bytes=len(handle.data), handle_type=handle.kind)
    ctypes.memmove(raw.f_handle, handle.data, len(handle.data))
    mount = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor: int = _LIBC.open_by_handle_at(mount, ctypes.byref(raw), os.O_PATH | os.O_CLOEXEC)
        code = ctypes.get_errno()
    finally:
        os.close(mount)
    if descriptor >= 0:
        return descriptor
    if code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
        raise OSError(code, os.strerror(code))
    return None
