# SPDX-License-Identifier: Apache-2.0
"""What lies beside lost files: each directory is looked at once for a whole batch of entries, and in steps."""

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from logagent.clock import wall
from logagent.sources import compressed
from logagent.sources.identity import HEAD_BYTES, digest, without_place
from logagent.sources.opening import Opened
from logagent.state.changes import FileId
from logagent.state.positions import Position, PositionBook

LOOKS = 3

SETTLED_S = 3.0
"""A directory that changed so shortly before it was looked at may change again without its time stamp telling."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file as it was when it was looked at."""

    identity: str
    head: bytes
    inode: int


@dataclass(slots=True)
class Siblings:
    """The files of one directory. None of it is certain later on: whoever opens one looks whether it is what it was."""

    directory: bytes
    open_: Callable[[bytes], Opened | None]
    by_identity: dict[str, bytes] = field(default_factory=dict)
    files: dict[bytes, Sibling] = field(default_factory=dict)
    compressed: list[bytes] = field(default_factory=list)
    _looked_at: dict[tuple[bytes, int], Sibling | None] = field(default_factory=dict)
    _by_head: dict[int, dict[bytes, list[bytes]]] = field(default_factory=dict)
    _stamp: tuple[int, int, int] | None = None

    def refresh(self) -> Iterator[None]:
        """Look at what is new since the last time."""
        for _ in range(LOOKS):
            stamp, settled = self._stamp_now()
            if (stamp == self._stamp and stamp is not None) or (yield from self._look(stamp, settled)):
                return

    def _look(self, stamp: tuple[int, int, int] | None, settled: bool) -> Generator[None, None, bool]:
        """False if files were renamed while they were looked at."""
        certain = True
        looked_at, self._looked_at, self._stamp = self._looked_at, {}, None
        for clear in (self.by_identity, self.files, self.compressed, self._by_head):
            clear.clear()
        for path, inode in (yield from self._listed()):
            if path.endswith(compressed.NAMES):
                self.compressed.append(path)
                continue
            key = path, inode
            sibling = looked_at[key] if key in looked_at else self._look_at(path)
            if sibling is not None and sibling.inode == inode:
                self._looked_at[key] = sibling
            else:
                certain = settled  # there are file systems that list other numbers
            if sibling is not None:
                self.files[path] = sibling
                self.by_identity[without_place(sibling.identity)] = path
            yield
        self._stamp = stamp if settled else None
        return certain

    def beginning_with(self, position: Position) -> Generator[None, None, list[bytes]]:
        """Paths of files that begin as the one of the position did."""
        size = position.head_bytes
        if not size:
            return []
        index = self._by_head.get(size)
        if index is None:
            index = {}
            for path, sibling in self.files.items():
                if len(sibling.head) >= size:
                    index.setdefault(digest(sibling.head[:size]), []).append(path)
                yield
            self._by_head[size] = index
        return index.get(position.head_digest, [])

    def _stamp_now(self) -> tuple[tuple[int, int, int] | None, bool]:
        try:
            status = os.stat(self.directory)
        except OSError:
            return None, False
        settled = wall() - status.st_mtime > SETTLED_S
        return (status.st_dev, status.st_ino, status.st_mtime_ns), settled

    def _listed(self) -> Generator[None, None, list[tuple[bytes, int]]]:
        listed = []
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        listed.append((entry.path, entry.inode()))
                    yield
        except OSError:
            return []
        return sorted(listed)

    def _look_at(self, path: bytes) -> Sibling | None:
        opened = self.open_(path)
        if opened is None:
            return None
        try:
            return Sibling(opened.identity, os.pread(opened.descriptor, HEAD_BYTES, 0), opened.key.inode)
        except OSError:
            return None  # it cannot be read now
        finally:
            os.close(opened.descriptor)


class Places:
    """For the entries of one batch: which positions each has, and what lies in the directories of lost files."""

    def __init__(self, book: PositionBook, open_: Callable[[bytes], Opened | None]) -> None:
        self._book = book
        self._open = open_
        self._positions: dict[tuple[str, str], list[FileId]] | None = None
        self._by_path: dict[tuple[str, str], dict[bytes, list[FileId]]] = {}
        self._siblings: dict[bytes, Siblings] = {}

    def positions(self, entry_id: tuple[str, str]) -> Generator[None, None, list[FileId]]:
        """Of which files there are positions; these may be gone or moved when they are asked for."""
        if self._positions is None:
            positions: dict[tuple[str, str], list[FileId]] = {}
            for position in self._book.all():
                positions.setdefault((position.service, position.log_path), []).append(position.id)
                yield
            self._positions = positions
        return self._positions.get(entry_id, [])

    def positions_at(self, entry_id: tuple[str, str], path: bytes) -> Generator[None, None, list[FileId]]:
        """Those of one path."""
        if entry_id not in self._by_path:
            by_path: dict[bytes, list[FileId]] = {}
            for file_id in (yield from self.positions(entry_id)):
                position = self._book.find(*file_id)
                if position is not None:
                    by_path.setdefault(position.path, []).append(file_id)
                yield
            self._by_path[entry_id] = by_path
        return self._by_path[entry_id].get(path, [])

    def beside(self, path: bytes) -> Generator[None, None, Siblings]:
        """The files in the directory of a path, as they are now."""
        directory = os.path.dirname(path)
        siblings = self._siblings.setdefault(directory, Siblings(directory, self._open))
        yield from siblings.refresh()
        return siblings
