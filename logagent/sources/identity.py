# SPDX-License-Identifier: Apache-2.0
"""By what a file is known again. Pure. Stored identities are opaque text with their kind in front."""

import hashlib
from dataclasses import dataclass

HEAD_BYTES = 1024

TAIL_BYTES = 32
"""So many bytes before an offset prove that the file up to there is the one that was read."""

INODE_KIND = "inode"
HANDLE_KIND = "handle"


def digest(data: bytes) -> bytes:
    """The hash under which bytes of a file are stored."""
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file: how many, and their hash. Grows with the file up to `HEAD_BYTES`."""

    size_bytes: int
    digest: bytes

    @staticmethod
    def of(data: bytes) -> "Head":
        """The head of a file that begins with `data`."""
        data = data[:HEAD_BYTES]
        return Head(len(data), digest(data))

    def fits(self, data: bytes) -> bool:
        """Whether a file that begins with `data` has grown out of this one."""
        return len(data) >= self.size_bytes and Head.of(data[: self.size_bytes]) == self


_START_SIZES = (16, 32, 64, 128, 256, 512)
_START_BYTES = 8


def starts(data: bytes) -> bytes:
    """Short hashes of the first bytes of a file, of more and more of them: by these a file is known that has less than
    a whole head.
    """
    return b"".join(digest(data[:size])[:_START_BYTES] for size in _START_SIZES if size <= len(data))


def starts_alike(known: bytes, data: bytes) -> bool:
    """Whether a file that begins with `data` begins like the one of `known`, as far as can be told."""
    compared = min(len(known), len(starts(data)))
    return compared > 0 and starts(data)[:compared] == known[:compared]


def inode_identity(device: int, inode: int) -> str:
    """The text under which the position of a file without a handle is stored."""
    return f"{INODE_KIND}:{device}:{inode}"


def handle_identity(file_system: int, kind: int, data: bytes) -> str:
    """The text under which the position of a file with a handle is stored."""
    return f"{HANDLE_KIND}:{file_system:x}:{kind}:{data.hex()}"


def handle_parts(identity: str) -> tuple[int, int, bytes] | None:
    """What `handle_identity` was made of; None for an identity of another kind."""
    kind, _, rest = identity.partition(":")
    if kind != HANDLE_KIND:
        return None
    file_system, handle_kind, data = rest.split(":")
    return int(file_system, 16), int(handle_kind), bytes.fromhex(data)


def without_place(identity: str) -> str:
    """The identity without its file system or device, of which the number may change when the machine boots."""
    kind, _, rest = identity.partition(":")
    return f"{kind}:{rest.partition(':')[2]}"


class Tails:
    """What stood before some offsets of a file when it was handed on, from the position to the end of what was read.

    Every read is compared with the newest one: if the file was emptied and grew again past the offset, other bytes
    stand there. Sparse, because thousands of pieces of one file may be on their way.
    """

    __slots__ = ("_older", "newest")

    SPACING_BYTES = 16 * 1024

    def __init__(self, offset: int, tail: bytes) -> None:
        self.newest = (offset, tail[-TAIL_BYTES:])
        """The offset furthest on, and the bytes before it."""

        self._older: list[tuple[int, bytes]] | None = None
        """At most one of them at or before the position. None for most files: there may be very many."""

    def add(self, offset: int, tail: bytes, acked_offset: int) -> None:
        """`tail` ends at `offset`, up to where the file was handed on; nothing before `acked_offset` is asked again."""
        older, newest = self._older, self.newest
        if older is None or newest[0] <= acked_offset:
            self._older = [newest]
        else:
            while len(older) > 1 and older[1][0] <= acked_offset:
                del older[0]
            if offset - older[-1][0] >= self.SPACING_BYTES:
                older.append(newest)
        self.newest = (offset, tail)

    def settle(self, acked_offset: int) -> None:
        """Nothing before `acked_offset` is asked again."""
        if self.newest[0] <= acked_offset:
            self._older = None

    def back_to(self, offset: int) -> None:
        """What was handed on from `offset` on will be read again."""
        while self._older and self.newest[0] > offset:
            self.newest = self._older.pop()
        self._older = self._older or None

    def at(self, offset: int) -> bytes | None:
        """The bytes before `offset`; None when they are not known."""
        for known, tail in (self.newest, *reversed(self._older or ())):
            if known <= offset:
                return tail if known == offset and len(tail) == min(offset, TAIL_BYTES) else None
        return None
