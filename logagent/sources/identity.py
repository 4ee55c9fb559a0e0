# SPDX-License-Identifier: Apache-2.0
"""By what a file is known again. Pure. Stored identities are opaque text with their kind in front."""

import hashlib
from dataclasses import dataclass

HEAD_BYTES = 1024

INODE_KIND = "inode"


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file: how many, and their hash. Grows with the file up to `HEAD_BYTES`."""

    size_bytes: int
    digest: bytes

    @staticmethod
    def of(data: bytes) -> "Head":
        """The head of a file that begins with `data`."""
        data = data[:HEAD_BYTES]
        return Head(len(data), hashlib.blake2b(data, digest_size=16).digest())

    def fits(self, data: bytes) -> bool:
        """Whether a file that begins with `data` has grown out of this one."""
        return len(data) >= self.size_bytes and Head.of(data[: self.size_bytes]) == self


def inode_identity(device: int, inode: int) -> str:
    """The text under which a file's position is stored."""
    return f"{INODE_KIND}:{device}:{inode}"
