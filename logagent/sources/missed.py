# SPDX-License-Identifier: Apache-2.0
"""Generations of a path that came and went between two looks, or while the agent was off: found by their names."""

import os
import re
from collections.abc import Callable

from logagent.errors import FileRefused
from logagent.sources.identity import HEAD_BYTES
from logagent.sources.intake import Beginning
from logagent.sources.opening import Opened, Refusal, open_log
from logagent.sources.rotation import FileKey
from logagent.sources.shelf import Shelf
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles

MOST = 64
CLOCK_STEP_S = 0.02
"""The time stamps of files lag behind the clock by a tick of the kernel."""

_NUMBER = rb"[-._]?\d[-._\dT:]*"


def rotated_name(name: bytes, original: bytes) -> bool:
    """Whether `name` is one that rotation gives to `original`: with a number or date behind it, or before its end."""
    stem, dot, end = original.rpartition(b".")
    names = re.escape(original) + _NUMBER
    if dot:
        names += b"|" + re.escape(stem) + _NUMBER + re.escape(dot + end)
    return re.fullmatch(names, name) is not None


class Missed:
    """Puts files that nobody knew onto the shelf as generations of the path whose name they bear."""

    def __init__(self, shelf: Shelf, refusal: Callable[[], Refusal], clock: Callable[[], float]) -> None:
        self._shelf = shelf
        self._refusal = refusal
        self._clock = clock

    def adopt(
        self, state: EntryFiles, path: bytes, label: bytes, since_s: float, now_at: int
    ) -> list[TailedFile]:
        """Files beside `path` with a name made of its own, last written after `since_s` of the wall clock, in order.

        `now_at` is a descriptor of what lies at the path (-1 for none): what begins like it may be
        its copy, not finished yet.
        """
        found = []
        for sibling in self._siblings(state.entry.service, path, since_s):
            opened = self._opened(state.entry.service, sibling, now_at)
            if opened is None:
                continue
            file = self._shelf.put(state, sibling, opened, Beginning(0, b"", label))
            file.path, file.left_path_s = path, self._clock()
            file.predecessor = self._shelf.generations.take_before(file)
            self._shelf.generations.leave(file)
            self._shelf.feeder.wake(file)
            found.append(file)
        return found

    def _siblings(self, service: str, path: bytes, since_s: float) -> list[bytes]:
        directory, name = os.path.split(path)
        found = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not rotated_name(entry.name, name) or not entry.is_file(follow_symlinks=False):
                        continue
                    status = entry.stat()
                    known = (service, FileKey(status.st_dev, status.st_ino)) in self._shelf.files
                    if not known and status.st_size and status.st_mtime > since_s - CLOCK_STEP_S:
                        found.append((status.st_mtime_ns, entry.path))
        except OSError:
            return []  # the next sweep may see more
        return [sibling for _, sibling in sorted(found)[:MOST]]

    def _opened(self, service: str, path: bytes, now_at: int) -> Opened | None:
        try:
            opened = open_log(path, self._refusal())
        except (FileRefused, FileNotFoundError):
            return None
        try:
            known = self._shelf.book.find(service, opened.identity) is not None
            new = not known and not _alike(opened.descriptor, now_at)
        except OSError:
            new = False  # it cannot be read now
        if new:
            return opened
        os.close(opened.descriptor)
        return None


def _alike(one: int, other: int) -> bool:
    """Whether one file begins with the other, as far as both go."""
    if other < 0:
        return False
    first, second = os.pread(one, HEAD_BYTES, 0), os.pread(other, HEAD_BYTES, 0)
    shorter = min(len(first), len(second))
    return bool(shorter) and first[:shorter] == second[:shorter]
