# SPDX-License-Identifier: Apache-2.0
"""Generations of a path that came and went between two looks, or while the agent was off: found by their names."""

import math
import os
import re
from collections.abc import Callable

from logagent.errors import FileRefused
from logagent.sources.copies import CLOCK_STEP_S, original_names
from logagent.sources.identity import HEAD_BYTES
from logagent.sources.intake import Beginning
from logagent.sources.opening import Opened, Refusal, key_of, open_log
from logagent.sources.rotation import FileKey
from logagent.sources.shelf import Shelf
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles

MOST = 64
LOOKS = 3

_NUMBER = rb"\d[-._\dT:]*"


def rotated_name(name: bytes, original: bytes) -> bool:
    """Whether `name` is one that rotation gives to `original`: with a number or date behind it, or before its end.

    a.log.12 is no generation of a.log.1, nor is app12.log one of app1.log.
    """
    stem, dot, end = original.rpartition(b".")
    if not name.startswith(stem):
        return False  # as nearly all of a directory
    names = _numbered(original)
    if dot:
        names += b"|" + _numbered(stem) + re.escape(dot + end)
    return re.fullmatch(names, name) is not None


def _numbered(stem: bytes) -> bytes:
    return re.escape(stem) + (rb"[-._]" if stem[-1:].isdigit() else rb"[-._]?") + _NUMBER


class Missed:
    """Puts files that nobody knew onto the shelf as generations of the path whose name they bear."""

    def __init__(self, shelf: Shelf, refusal: Callable[[], Refusal], clock: Callable[[], float]) -> None:
        self._shelf = shelf
        self._refusal = refusal
        self._clock = clock

    def adopt(
        self,
        state: EntryFiles,
        path: bytes,
        label: bytes,
        since_s: float,
        now_at: int,
        *,
        until_s: float = math.inf,
        real_path: bytes | None = None,
        only_while: Callable[[], bool] = lambda: True,
    ) -> list[TailedFile]:
        """Files beside `path` with a name made of its own, last written between two times of the wall clock, in order.

        `real_path` is where a link at `path` led to. `now_at` is a descriptor of what lies at the path (-1 for none):
        what begins like it may be its copy, not finished yet. None are taken unless `only_while` holds once they are
        listed: what lies at the path may have been renamed, too, and younger ones after it.
        """
        found = []
        spelled = {path, real_path or os.path.realpath(path)}
        siblings = self._siblings(state.entry.service, spelled, since_s, until_s)
        for sibling in siblings if only_while() else ():
            opened = self._opened(state.entry.service, sibling, now_at)
            if opened is None:
                continue
            file = self._shelf.put(state, sibling, opened, Beginning(0, b"", label))
            file.path, file.left_path_s = path, self._clock()
            file.may_be_copy = (
                True  # of a generation that was read, and of which nobody knows yet that it was emptied
            )
            file.predecessor = self._shelf.generations.take_before(file)
            self._shelf.generations.leave(file)
            self._shelf.feeder.wake(file)
            found.append(file)
        return found

    def adopt_before(
        self, state: EntryFiles, file: TailedFile, before: TailedFile | None, since_s: float
    ) -> None:
        """The same between two generations of a path: `before` and `file`, which was not begun or only just."""
        generations = self.adopt(
            state,
            file.path,
            file.label,
            since_s,
            file.descriptor,
            until_s=file.begun_at_s,
            real_path=file.real_path,
        )
        for one in generations:
            one.predecessor, before = before, one
        if not file.read_offset:
            file.predecessor = before

    def adopt_last(self, state: EntryFiles, path: bytes, file: TailedFile) -> None:
        """The same before a file that was just opened: several may have been there since the path was looked at."""
        before = self._shelf.generations.before(file.service, path)
        since_s, label, real_path = state.since_s.pop(path, math.inf), file.label, file.real_path
        if before is not None and before is not file:
            if not before.stands():
                return
            since_s, label, real_path = min(since_s, before.found_at_s), before.label, before.real_path
        if since_s == math.inf:
            return

        def is_there() -> bool:
            if lies_at(path, file.key):
                return True
            state.since_s[path] = since_s  # to be looked for before the next one there
            return False

        self.adopt(state, path, label, since_s, file.descriptor, real_path=real_path, only_while=is_there)

    def follow(self, state: EntryFiles, path: bytes, key: FileKey) -> TailedFile | None:
        """The file that lay at a path a moment ago and lies beside it now. It comes next in the order of the path."""
        for _ in range(LOOKS):
            sibling = _beside(path, key)
            if sibling is None:
                continue  # while one name is read after the other, files are renamed
            try:
                opened = open_log(sibling, self._refusal())
            except (FileRefused, FileNotFoundError):
                continue
            if opened.key == key:
                return self._put_next(state, path, sibling, opened)
            os.close(opened.descriptor)
        return None

    def _put_next(self, state: EntryFiles, path: bytes, sibling: bytes, opened: Opened) -> TailedFile | None:
        generations = self._shelf.generations
        try:
            file = self._shelf.put(state, sibling, opened, self._shelf.intake.begin(state, path, opened))
        except OSError:
            os.close(opened.descriptor)
            return None  # it cannot be read now
        file.path, file.left_path_s = path, self._clock()
        file.predecessor = generations.take_before(file)
        generations.leave(file)
        self._shelf.feeder.wake(file)
        return file

    def came_up(self, state: EntryFiles, path: bytes) -> None:
        """A name that the entry does not name came or went, perhaps beside a file that it does."""
        directory, name = os.path.split(path)
        for other in original_names(name):
            for file in self._shelf.watches.named(os.path.realpath(directory), other):
                is_its = file.service == state.entry.service and file.left_path_s is None
                if is_its and file.seen_from_start and rotated_name(name, other):
                    file.beside = True
                    self._shelf.feeder.wake(file)

    def look_beside(self, file: TailedFile) -> None:
        """A file was found empty, and perhaps copied and emptied again before anybody saw a byte of it.

        To be asked once more when it leaves its path: what comes up later belongs to the next one. Raises OSError.
        """
        state = self._shelf.entry_of(file)
        if not file.beside or state is None:
            return
        if file.left_path_s is not None:
            file.beside = False
            return
        before = file.predecessor
        if not file.intact() or (before is not None and not (before.retired or before.stands())):
            return  # what lies beside them may be a copy
        if file.head.size_bytes:
            file.beside = False  # from now on it shows when it is emptied
        self.adopt_before(state, file, before, file.found_at_s)

    def _siblings(self, service: str, paths: set[bytes], since_s: float, until_s: float) -> list[bytes]:
        found: set[tuple[int, bytes]] = set()
        for path in paths:
            directory, name = os.path.split(path)
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if not rotated_name(entry.name, name) or not entry.is_file(follow_symlinks=False):
                            continue
                        status = entry.stat()
                        known = (service, FileKey(status.st_dev, status.st_ino)) in self._shelf.files
                        in_time = since_s - CLOCK_STEP_S < status.st_mtime <= until_s
                        if not known and status.st_size and in_time:
                            found.add(
                                (status.st_mtime_ns, os.path.join(os.path.realpath(directory), entry.name))
                            )
            except OSError:
                continue  # the next sweep may see more
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


def lies_at(path: bytes, key: FileKey | None) -> bool:
    """Whether just this file, or none, lies at a path now."""
    try:
        return key_of(path) == key
    except OSError:
        return False  # it cannot be seen


def _beside(path: bytes, key: FileKey) -> bytes | None:
    """The name that a file has in the directory of a path, or in the one that a link leads to."""
    for spelled in {path, os.path.realpath(path)}:
        try:
            with os.scandir(os.path.dirname(spelled)) as entries:
                for entry in entries:
                    if entry.inode() == key.inode and key_of(entry.path) == key:
                        return os.path.join(os.path.realpath(os.path.dirname(spelled)), entry.name)
        except OSError:
            continue
    return None


def _alike(one: int, other: int) -> bool:
    """Whether one file begins with the other, as far as both go."""
    if other < 0:
        return False
    first, second = os.pread(one, HEAD_BYTES, 0), os.pread(other, HEAD_BYTES, 0)
    shorter = min(len(first), len(second))
    return bool(shorter) and first[:shorter] == second[:shorter]
