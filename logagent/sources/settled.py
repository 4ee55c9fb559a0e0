# SPDX-License-Identifier: Apache-2.0
"""Whether names can have come or gone in a directory since it was looked into: if not, it need not be listed again."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

SETTLED_S = 3.0
"""Time stamps are coarse (two seconds at most): a directory that was changed so shortly before it was looked into may
change again without its time stamp telling.
"""

SPARED_SCANS = 10
"""Then it is looked again though nothing seems to have changed."""


class Stamp(NamedTuple):
    """Which directory lies at a path, and when a name came or went there last, or its mode changed."""

    device: int
    inode: int
    changed_ns: int

    def is_older(self, now_s: float) -> bool:
        """Whether whatever changes from now on (wall clock) gives another stamp."""
        return now_s - self.changed_ns / 1e9 > SETTLED_S


def stamp_of(directory: bytes) -> Stamp | None:
    """The stamp of what lies at a path now; None if that cannot be seen."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return Stamp(status.st_dev, status.st_ino, status.st_ctime_ns)


@dataclass(slots=True)
class Settled:
    """What a scan saw that everything can be told from: each directory, stamped before it was looked into, and how many
    files are read.
    """

    stamps: Mapping[bytes, Stamp | None]
    files: int
    spared: int = 0
    """Scans that were not made since."""
