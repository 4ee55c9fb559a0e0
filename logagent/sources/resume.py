# SPDX-License-Identifier: Apache-2.0
"""Where reading a file begins, from what is stored of it; and files that were renamed while the agent was off."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from logagent.errors import FileRefused
from logagent.sources import encodings, rotation
from logagent.sources.handles import BOOT_ID
from logagent.sources.identity import (
    HANDLE_KIND,
    HEAD_BYTES,
    TAIL_BYTES,
    Head,
    digest,
    inode_identity,
    without_place,
)
from logagent.sources.opening import Opened, Refusal, open_log
from logagent.sources.rotation import FileKey, Known
from logagent.state.positions import Position, PositionBook

TAIL_BACKWARD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Renamed:
    """A file that was read before, found open-able under another name, with bytes that were not acknowledged."""

    position: Position
    opened: Opened
    path: bytes
    modified_ns: int


class Stored:
    """Finds the stored position of an opened file, also under an older identity."""

    def __init__(self, book: PositionBook) -> None:
        self._book = book
        self._elsewhere: dict[tuple[str, str], list[str]] = {}
        for position in book.all():
            place = position.service, without_place(position.identity)
            self._elsewhere.setdefault(place, []).append(position.identity)

    def find(self, service: str, opened: Opened) -> Position | None:
        """The position of the file. One that is stored under another device number is it only if its bytes prove it."""
        position = self._book.find(service, opened.identity)
        if position is not None:
            return position
        inode = inode_identity(opened.key.device, opened.key.inode)
        for place in {without_place(opened.identity), without_place(inode)}:
            for identity in self._elsewhere.get((service, place), ()):
                found = self._book.find(service, identity)
                if found is not None and self._is(found, opened, certain=identity == inode):
                    return found
        return None

    @staticmethod
    def _is(position: Position, opened: Opened, *, certain: bool) -> bool:
        """`certain`: it is stored under the file's own inode, as releases without markers did."""
        proved = bool(position.marker_digest) or certain
        return proved and examine(position, opened) is Known.SAME


def examine(position: Position, opened: Opened) -> Known:
    """What the opened file is, compared with a position of its identity."""
    data = os.pread(opened.descriptor, HEAD_BYTES, 0)
    return rotation.known(
        by_handle=position.identity.startswith(HANDLE_KIND),
        head_fits=Head(position.head_bytes, position.head_digest).fits(data),
        reaches=position.offset <= opened.size_bytes,
        marker_fits=_marker_fits(position, opened.descriptor),
        same_boot=position.boot_id in ("", BOOT_ID),
    )


def tail_at(descriptor: int, offset: int) -> bytes:
    """The bytes before `offset` that a first read is compared with."""
    begin = max(0, offset - TAIL_BYTES)
    return os.pread(descriptor, offset - begin, begin)


def last_line_end(opened: Opened, encoding: str, size_bytes: int) -> int:
    """Where the last whole line of the first `size_bytes` ends; a line that is there in part is read as a whole."""
    read = encodings.of(encoding, os.pread(opened.descriptor, encodings.MARK_BYTES, 0))
    end = size_bytes
    while end > 0:
        # Two bytes more than are looked at next: a newline may take two.
        begin = max(0, end - TAIL_BACKWARD_BYTES)
        data = os.pread(opened.descriptor, min(size_bytes, end + 2) - begin, begin)
        line_end = read.last_line_end(data, begin)
        if line_end:
            return begin + line_end
        end = begin
    return 0


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


def _marker_fits(position: Position, descriptor: int) -> bool | None:
    if not position.marker_digest:
        return None
    return digest(tail_at(descriptor, position.offset)) == position.marker_digest


def _in_directory(
    directory: bytes, positions: dict[str, Position], here: set[FileKey], refusal: Refusal
) -> Iterator[Renamed]:
    for path, status in _siblings(directory):
        key = FileKey(status.st_dev, status.st_ino)
        if key in here:
            continue
        try:
            opened = open_log(path, refusal)
        except (FileRefused, FileNotFoundError):
            continue
        position = positions.get(opened.identity) or positions.get(inode_identity(key.device, key.inode))
        same = False
        if position is not None and status.st_size > position.offset:
            try:
                same = examine(position, opened) is Known.SAME
            except OSError:
                same = False  # it cannot be read now; its position stays
        if same and position is not None:
            yield Renamed(position, opened, path, status.st_mtime_ns)
        else:
            os.close(opened.descriptor)


def _siblings(directory: bytes) -> list[tuple[bytes, os.stat_result]]:
    try:
        with os.scandir(directory) as entries:
            return [(entry.path, entry.stat()) for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
