# SPDX-License-Identifier: Apache-2.0
"""Deleted files are held as long as lines of them are not delivered, within bounds: the oldest are given up first."""

import enum
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from logagent.clock import MonotonicClock
from logagent.config.values import FreeSpace
from logagent.ops.events import Events
from logagent.sources.rotation import FileKey
from logagent.sources.shelf import Shelf
from logagent.sources.tailed_file import TailedFile

NEAR = 0.8
"""From this part of a bound on it is told that files will be given up."""


class Bound(enum.Enum):
    """What files are given up for, by the name of its key."""

    BYTES = "hold_deleted_bytes"
    FREE = "hold_deleted_min_free"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator allows."""

    most_bytes: int
    min_free: FreeSpace


DEFAULT_BOUNDS = Bounds(1024**3, FreeSpace(5, percent=True))


@dataclass(frozen=True, slots=True)
class Deleted:
    """A file without a name: what it takes on its disk, and since when it is gone from its path."""

    key: FileKey
    disk_bytes: int
    since_s: float


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system as it is now."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`given_up` in this order, with the bound that wants it; `near` are the bounds that are reached soon, or are."""

    given_up: dict[FileKey, Bound] = field(default_factory=dict)
    near: frozenset[Bound] = frozenset()


def judge(files: Iterable[Deleted], disks: Mapping[int, Disk], bounds: Bounds) -> Verdict:
    """Which deleted files are given up. Pure. A device that is not in `disks` could not be looked at."""
    held = sorted(files, key=lambda file: file.since_s)
    given_up: dict[FileKey, Bound] = {}
    near = set()
    for device, disk in disks.items():
        wanted_bytes, free_bytes = bounds.min_free.of(disk.total_bytes), disk.free_bytes
        here = [file for file in held if file.key.device == device]
        if here and free_bytes * NEAR <= wanted_bytes:
            near.add(Bound.FREE)
        for file in here:
            if free_bytes >= wanted_bytes:
                break
            given_up[file.key] = Bound.FREE
            free_bytes += file.disk_bytes
    if held and sum(file.disk_bytes for file in held) >= NEAR * bounds.most_bytes:
        near.add(Bound.BYTES)
    left = [file for file in held if file.key not in given_up]
    held_bytes = sum(file.disk_bytes for file in left)
    for file in left:
        if held_bytes <= bounds.most_bytes:
            break
        given_up[file.key] = Bound.BYTES
        held_bytes -= file.disk_bytes
    return Verdict(given_up, frozenset(near))


class DeletedFiles:
    """Looks at them now and then. `reasons` say what is about to be given up; `held_bytes` is what they take."""

    def __init__(
        self, shelf: Shelf, bounds: Callable[[], Bounds], events: Events, clock: MonotonicClock
    ) -> None:
        self._shelf = shelf
        self._bounds = bounds
        self._events = events
        self._clock = clock
        self.reasons: list[str] = []
        self.held_bytes = 0

    def look(self) -> None:
        """Give up what is beyond the bounds."""
        bounds = self._bounds()
        held: dict[FileKey, list[TailedFile]] = {}
        facts: dict[FileKey, Deleted] = {}
        disks: dict[int, Disk] = {}
        for file in list(self._shelf.files.values()):
            if file.left_path_s is not None and not (file.closed or file.retired or file.unpacked):
                self._note(file, held, facts, disks)
        self.held_bytes = sum(fact.disk_bytes for fact in facts.values())
        verdict = judge(facts.values(), disks, bounds)
        self._tell(verdict.near, bounds)
        for key, bound in verdict.given_up.items():
            for file in held[key]:
                self._give_up(file, bound)

    def _note(
        self,
        file: TailedFile,
        held: dict[FileKey, list[TailedFile]],
        facts: dict[FileKey, Deleted],
        disks: dict[int, Disk],
    ) -> None:
        try:
            status = os.fstat(file.descriptor)
            if status.st_nlink:
                return
            if file.key.device not in disks:
                room = os.fstatvfs(file.descriptor)
                disks[file.key.device] = Disk(room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)
        except OSError:
            return  # it cannot be looked at now
        since_s = self._clock() if file.left_path_s is None else file.left_path_s
        known = facts.get(file.key)
        since_s = since_s if known is None else min(since_s, known.since_s)
        facts[file.key] = Deleted(file.key, status.st_blocks * 512, since_s)
        held.setdefault(file.key, []).append(file)

    def _tell(self, near: frozenset[Bound], bounds: Bounds) -> None:
        values = {Bound.BYTES: bounds.most_bytes, Bound.FREE: bounds.min_free}
        self.reasons = []
        for bound in Bound:
            if bound in near:
                self._events.deleted_near_bound(
                    held_bytes=self.held_bytes, key=bound.value, value=str(values[bound])
                )
                self.reasons.append(
                    f"deleted files hold {self.held_bytes} bytes that are not all delivered; beyond"
                    f" {bound.value} = {values[bound]} the oldest are given up"
                )
            else:
                self._events.deleted_within_bound(key=bound.value)

    def _give_up(self, file: TailedFile, bound: Bound) -> None:
        lost_bytes = max(0, file.size_bytes() - file.read_offset)
        reason = f"deleted, and beyond {bound.value}"
        file.retired = True  # what is on its way still arrives, but can not be read again
        self._shelf.drop(file)
        self._events.file_closed(service=file.service, path=file.label, reason=f"it is {reason}")
        if lost_bytes:
            self._events.bytes_lost(
                service=file.service, path=file.label, lost_bytes=lost_bytes, reason=reason
            )
