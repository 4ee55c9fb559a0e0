# SPDX-License-Identifier: Apache-2.0
"""Where reading a file begins, from what is stored of it; and files that were renamed while the agent was off."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from logagent.errors import FileRefused
from logagent.sources.identity import HEAD_BYTES, Head, inode_identity
from logagent.sources.opening import Opened, Refusal, open_log
from logagent.sources.rotation import FileKey
from logagent.state.positions import Position

TAIL_BACKWARD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Renamed:
    """A file that was read before, found open-able under another name, with bytes that were not acknowledged."""

    position: Position
    opened: Opened
    path: bytes
    modified_ns: int


def same_file(position: Position, opened: Opened) -> bool:
    """Whether the opened file is the one of the position, grown: the inode number alone may have been used again."""
    data = os.pread(opened.descriptor, HEAD_BYTES, 0)
    return Head(position.head_bytes, position.head_digest).fits(data)


def last_line_end(opened: Opened) -> int:
    """Where the last whole line ends: a line of which a part is there already will be read as a whole."""
    begin = max(0, opened.size_bytes - TAIL_BACKWARD_BYTES)
    data = os.pread(opened.descriptor, opened.size_bytes - begin, begin)
    newline = data.rfind(b"\n")
    return begin + newline + 1 if newline >= 0 else begin


def find_renamed(positions: Iterable[Position], here: set[FileKey], refusal: Refusal) -> list[Renamed]:
    """Files of `positions` that lie beside their old path now, the one written longest ago first.

    `here` are files that are found through their paths anyway.
    """
    wanted: dict[bytes, dict[str, Position]] = {}
    for position in positions:
        wanted.setdefault(os.path.dirname(position.path), {})[position.identity] = position
    found = [
        renamed
        for directory, by_identity in wanted.items()
        for renamed in _in_directory(directory, by_identity, here, refusal)
    ]
    return sorted(found, key=lambda renamed: renamed.modified_ns)


def _in_directory(
    directory: bytes, positions: dict[str, Position], here: set[FileKey], refusal: Refusal
) -> Iterator[Renamed]:
    for path, status in _siblings(directory):
        key = FileKey(status.st_dev, status.st_ino)
        position = positions.get(inode_identity(key.device, key.inode))
        if position is None or key in here or status.st_size <= position.offset:
            continue
        try:
            opened = open_log(path, refusal)
        except (FileRefused, FileNotFoundError):
            continue
        try:
            same = same_file(position, opened)
        except OSError:
            same = False  # it cannot be read now; its position stays
        if same:
            yield Renamed(position, opened, path, status.st_mtime_ns)
        else:
            os.close(opened.descriptor)


def _siblings(directory: bytes) -> list[tuple[bytes, os.stat_result]]:
    try:
        with os.scandir(directory) as entries:
            return [(entry.path, entry.stat()) for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
