# SPDX-License-Identifier: Apache-2.0
"""Where reading a file begins, from what is stored of it; and files that were renamed while the agent was off."""

import os

from logagent.sources import encodings, rotation
from logagent.sources.encodings import Encoding
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
from logagent.sources.opening import Opened
from logagent.sources.rotation import Known
from logagent.spawn import in_thread
from logagent.state.positions import Mark, Position, PositionBook

TAIL_BACKWARD_BYTES = 64 * 1024

NEAR_BYTES = 1024 * 1024
"""So much of the end of a file is looked at without more ado."""


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
    """Where the last whole line of the first `size_bytes` ends; a line that is there in part is read as a whole.

    A line that is longer than all lines should be is looked through in a thread: other greenlets may run.
    """
    read = encodings.of(encoding, os.pread(opened.descriptor, encodings.MARK_BYTES, 0))
    near = max(0, size_bytes - NEAR_BYTES)
    found = _line_end_between(near, size_bytes, size_bytes, opened.descriptor, read)
    if found or not near:
        return found
    return in_thread(_line_end_between, 0, near, size_bytes, opened.descriptor, read)


def _line_end_between(lowest: int, end: int, size_bytes: int, descriptor: int, read: Encoding) -> int:
    """The last end of a line that begins its newline between the two; 0 if there is none."""
    while end > lowest:
        # Two bytes more than are looked at next: a newline may take two.
        begin = max(lowest, end - TAIL_BACKWARD_BYTES)
        data = os.pread(descriptor, min(size_bytes, end + 2) - begin, begin)
        line_end = read.last_line_end(data, begin)
        if line_end:
            return begin + line_end
        end = begin
    return 0


def after_crash(position: Position, opened: Opened, marks: list[Mark], encoding: str) -> int:
    """Where to go on in a file that lost its end when the machine went down: behind the last line end that is proved.

    0 if the marks say that it is another file than the one that was read. Raises OSError.
    """
    looks = [
        (mark.offset, digest(tail_at(opened.descriptor, mark.offset)) == mark.digest)
        for mark in marks
        if mark.offset <= min(position.offset, opened.size_bytes)
    ]
    end = proved(looks, position.head_bytes)
    return last_line_end(opened, encoding, min(end, position.offset))


def proved(marks: list[tuple[int, bool]], head_bytes: int) -> int:
    """How much of a file is what was read of it, when its head fits and each mark (by offset) does or not.

    Pure. What is behind the last mark in a row that fits may have been lost and written anew.
    """
    end = 0 if marks else head_bytes
    for offset, fits in marks:
        if not fits:
            break
        end = offset
    return end


def _marker_fits(position: Position, descriptor: int) -> bool | None:
    if not position.marker_digest:
        return None
    return digest(tail_at(descriptor, position.offset)) == position.marker_digest
