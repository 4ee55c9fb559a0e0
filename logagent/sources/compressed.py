# SPDX-License-Identifier: Apache-2.0
"""The rest of a generation that was compressed before all of it was read."""

import bz2
import gzip
import lzma
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from logagent.sources.identity import HEAD_BYTES, TAIL_BYTES, Head, digest
from logagent.state.positions import Position

PIECE_BYTES = 256 * 1024
MOST_BYTES = 4 * 1024**3
"""The rest of a file takes this much room in data_dir at most."""

_OPEN: Mapping[bytes, Callable[[bytes], object]] = {b".gz": gzip.open, b".bz2": bz2.open, b".xz": lzma.open}
NAMES = (*_OPEN, b".zst")
"""How names of compressed files end; for .zst there is no library."""

BROKEN = (OSError, EOFError, lzma.LZMAError)


def extract(path: bytes, position: Position, directory: Path | None) -> int | None:
    """A descriptor of a file without a name that has all bytes from `position` on at their own offsets, in place of the
    compressed one; None if that is another file, or has nothing more. Raises BROKEN. Blocks: for a thread.
    """
    opener = _OPEN.get(os.path.splitext(path)[1])
    if opener is None:
        return None
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
