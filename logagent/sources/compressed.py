# SPDX-License-Identifier: Apache-2.0
"""Compressed files: what they are known by, and the rest of a generation that was compressed before all was read."""

import bz2
import gzip
import importlib
import lzma
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from logagent.sources.identity import HEAD_BYTES, TAIL_BYTES, Head, digest
from logagent.state.positions import Position

PIECE_BYTES = 256 * 1024
MOST_BYTES = 4 * 1024**3
"""The rest of a file takes this much room in data_dir at most."""

REFUSED = "compressed; it is read only as the missing rest of a file known before"

Opener = Callable[[bytes], object]

_OPEN: Mapping[bytes, Opener] = {b".gz": gzip.open, b".bz2": bz2.open, b".xz": lzma.open}
_BEGINNINGS = {
    b".gz": b"\x1f\x8b\x08",
    b".bz2": b"BZh",
    b".xz": b"\xfd7zXZ\0",
    b".zst": b"\x28\xb5\x2f\xfd",
    b".lz4": b"\x04\x22\x4d\x18",
}
_CERTAINLY = re.compile(rb"\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18")
"""No text begins like this."""

_ZSTD = "compression.zstd"
"""Comes with Python 3.14. Packages for older ones do not tell a file that ends too early from a whole one."""

LOOK_BYTES = 10
NAMES = tuple(_BEGINNINGS)
"""How names of compressed files end."""

BROKEN = (OSError, EOFError, lzma.LZMAError)


def is_compressed(name: bytes, first: bytes) -> bool:
    """Whether a file that begins with `first` (`LOOK_BYTES`, fewer if it is shorter) is compressed.

    One that is named so and has nothing in it yet is about to be.
    """
    beginning = _BEGINNINGS.get(os.path.splitext(name)[1])
    named = beginning is not None and beginning.startswith(first[: len(beginning)])
    return named or _CERTAINLY.match(first) is not None


def opener_of(path: bytes) -> Opener | None:
    """What opens a file with such a name; None if no library for it is installed."""
    ending = os.path.splitext(path)[1]
    return _zstd() if ending == b".zst" else _OPEN.get(ending)


def _zstd() -> Opener | None:
    try:
        return cast("Opener", importlib.import_module(_ZSTD).open)
    except ImportError:
        return None


def extract(path: bytes, position: Position, directory: Path | None) -> int | None:
    """A descriptor of a file without a name that has all bytes from `position` on at their own offsets, in place of the
    compressed one; None if that is another file, or has nothing more. Raises BROKEN. Blocks: for a thread.
    """
    opener = opener_of(path)
    if opener is None:
        return None
    try:
        return _extract(opener, path, position, directory)
    except _zstd_errors() as error:
        raise OSError(str(error)) from error


def _zstd_errors() -> tuple[type[Exception], ...]:
    return (sys.modules[_ZSTD].ZstdError,) if _ZSTD in sys.modules else ()


def _extract(opener: Opener, path: bytes, position: Position, directory: Path | None) -> int | None:
    with cast("BinaryIO", opener(path)) as packed:
        head = packed.read(HEAD_BYTES)
        if not position.head_bytes or not Head(position.head_bytes, position.head_digest).fits(head):
            return None
        tail = _skip(packed, head, position.offset)
        if tail is None or (position.marker_digest and digest(tail) != position.marker_digest):
            return None
        # What was read ahead of the position while the head was compared.
        rest = head[position.offset :] or packed.read(PIECE_BYTES)
        if not rest:
            return None
        with tempfile.TemporaryFile(dir=directory) as room:
            os.pwrite(room.fileno(), head[: position.offset], 0)
            os.pwrite(room.fileno(), tail, position.offset - len(tail))
            offset = position.offset
            while rest:
                offset += os.pwrite(room.fileno(), rest, offset)
                if offset - position.offset > MOST_BYTES:
                    raise OSError(f"more than {MOST_BYTES >> 30} GiB of it are not read yet")
                rest = packed.read(PIECE_BYTES)
            return os.dup(room.fileno())


def _skip(packed: BinaryIO, head: bytes, offset: int) -> bytes | None:
    """The bytes before `offset`, with the reader behind them, or behind the head; None if it ends before."""
    seen, tail = len(head), head[:offset][-TAIL_BYTES:]
    while seen < offset:
        piece = packed.read(min(PIECE_BYTES, offset - seen))
        if not piece:
            return None
        seen += len(piece)
        tail = (tail + piece)[-TAIL_BYTES:]
    return tail if min(seen, offset) == offset else None
