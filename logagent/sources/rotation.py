# SPDX-License-Identifier: Apache-2.0
"""What has become of a file: a function of two observations. Pure."""

import enum
from dataclasses import dataclass


class Fate(enum.Enum):
    """What a path's file is now, compared with the descriptor that is held."""

    SAME = "same"
    ROTATED = "another file is at its path"
    GONE = "nothing is at its path"


@dataclass(frozen=True, slots=True)
class FileKey:
    """A file while the agent runs."""

    device: int
    inode: int


def fate(held: FileKey, at_path: FileKey | None) -> Fate:
    """What the held file is, given what lies at its path now (None = nothing)."""
    if at_path is None:
        return Fate.GONE
    return Fate.SAME if at_path == held else Fate.ROTATED


class Known(enum.Enum):
    """What a file is, compared with a stored position of its identity."""

    SAME = "it goes on from the position"
    TRUNCATED = "it was emptied and written again"
    REPLACED = "it is another file under a number that is used again"
    SHRUNK = "it lost its end when the machine went down"


def known(
    *, by_handle: bool, head_fits: bool, reaches: bool, marker_fits: bool | None, same_boot: bool
) -> Known:
    """What the file is. `reaches`: it is as long as the position; `marker_fits`: None when no marker was stored.

    A handle is never used again, so a file with it that begins differently is the same file, written anew.
    """
    if not head_fits:
        return Known.TRUNCATED if by_handle else Known.REPLACED
    if reaches and marker_fits is not False:
        return Known.SAME
    return Known.TRUNCATED if same_boot else Known.SHRUNK


class CopyFate(enum.Enum):
    """What a new file is that begins like one that is being read."""

    HELD = "it may become a copy of it"
    COMPLETE = "the other one was emptied: it is its copy"
    OWN = "it is a file of its own"


def copy_fate(*, same: bool, original_intact: bool, waited_s: float, copy_wait_s: float) -> CopyFate:
    """`same`: the original has all its bytes, as far as was looked; `waited_s`: since it last grew."""
    if not original_intact:
        return CopyFate.COMPLETE
    if not same or waited_s >= copy_wait_s:
        return CopyFate.OWN
    return CopyFate.HELD


class Kinship(enum.Enum):
    """What a file beside an emptied one is to it."""

    REST = "it has all that was read of it, and perhaps more"
    DONE = "it is a copy, and all of it was read in the original"
    OTHER = "it has nothing to do with it"


def kinship(*, begins_alike: bool, reaches: bool, marker_fits: bool) -> Kinship:
    """`reaches`: it is as long as what was read of the emptied file; `marker_fits`: the last of that stands in it.

    Lines that were written after the copy was made, and read before the original was emptied, make a copy too short.
    """
    if not begins_alike or (reaches and not marker_fits):
        return Kinship.OTHER
    return Kinship.REST if reaches else Kinship.DONE


def truncated(position: int, size_bytes: int) -> bool:
    """Whether the file lost bytes that had been read."""
    return size_bytes < position


def finished(
    *,
    read_offset: int,
    size_bytes: int,
    unacked: bool,
    quiet_s: float,
    rotate_wait_s: float,
    unfinished_line: bool,
) -> bool:
    """Whether a file that left its path can be let go: all read and acknowledged, and quiet for `rotate_wait_s`.

    `quiet_s` is the time since it last grew or was moved away, whichever came later. A last line without its newline is
    read as a line first (`unfinished_line` says that one is still there).
    """
    return read_offset >= size_bytes and not unacked and not unfinished_line and quiet_s >= rotate_wait_s
