# SPDX-License-Identifier: Apache-2.0
"""What became of files while the agent was off: renamed, moved, copied, compressed. Looked for at the start."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from logagent.errors import FileRefused
from logagent.ops.events import Events
from logagent.ops.shown import shown
from logagent.sources import compressed, resume
from logagent.sources.handles import Handle, open_handle
from logagent.sources.identity import HEAD_BYTES, Head, digest, handle_parts, without_place
from logagent.sources.missed import Missed
from logagent.sources.opening import Opened, Refusal, open_log
from logagent.sources.rotation import FileKey, Known
from logagent.sources.shelf import Shelf
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles
from logagent.spawn import in_thread
from logagent.state.positions import Position


@dataclass(frozen=True, slots=True)
class Found:
    """A generation with bytes that may not be acknowledged; `modified_s` orders them."""

    position: Position
    opened: Opened
    path: bytes
    modified_s: float
    unpacked: bool = False


class OffTime:
    """`scratch` is a directory with room for what has to be unpacked."""

    def __init__(
        self,
        shelf: Shelf,
        missed: Missed,
        *,
        refusal: Callable[[], Refusal],
        scratch: Path | None,
        events: Events,
        clock: Callable[[], float],
    ) -> None:
        self._shelf = shelf
        self._missed = missed
        self._refusal = refusal
        self._scratch = scratch
        self._events = events
        self._clock = clock

    def find(self, state: EntryFiles, paths: Iterable[bytes]) -> None:
        """Put what was read before and is not at its path any more onto the shelf, in the order of its writing."""
        positions = self._shelf.book.of_entry(*state.entry.id)
        if not positions:
            return
        named = set(paths)
        siblings: dict[bytes, _Siblings] = {}
        found: list[Found] = []
        for position in positions:
            directory = os.path.dirname(position.path)
            if directory not in siblings:
                siblings[directory] = _Siblings(directory, self._open)
            one = self._where(position, siblings[directory])
            if one is not None:
                found.append(one)
        for one in sorted(found, key=lambda one: one.modified_s):
            self._put(state, one, one.path in named)
        for label in {one.position.path for one in found}:
            self._between(state, label, max(one.modified_s for one in found if one.position.path == label))

    # -- where it is --------------------------------------------------------------------------------------------------

    def _where(self, position: Position, siblings: "_Siblings") -> Found | None:
        at_path = self._open(position.path)
        emptied = False
        if at_path is not None:
            known = self._is(position, at_path)
            os.close(at_path.descriptor)
            if known in (Known.SAME, Known.SHRUNK):
                return None  # it is where it was
            emptied = known is not None
        if not emptied:
            beside = siblings.by_identity.get(without_place(position.identity))
            moved = self._by_handle(position)
            if moved is None and beside is not None:
                moved = self._found(position, beside, same_identity=True)
            if moved is not None:
                return moved
        for path in siblings.beginning_with(position):
            copy = self._found(position, path, same_identity=False)
            if copy is not None:
                return copy
        return self._unpacked(position, siblings.compressed)

    def _by_handle(self, position: Position) -> Found | None:
        parts = handle_parts(position.identity)
        if parts is None:
            return None
        try:
            handle = open_handle(os.path.dirname(position.path), Handle(*parts))
        except OSError:
            return None
        if handle is None:
            return None
        try:
            path = os.readlink(os.fsencode(f"/proc/self/fd/{handle}"))
        finally:
            os.close(handle)
        return self._found(position, path, same_identity=True)

    def _found(self, position: Position, path: bytes, *, same_identity: bool) -> Found | None:
        opened = self._open(path)
        if opened is None:
            return None
        if same_identity:
            fits = self._is(position, opened) is Known.SAME
        else:
            known = self._shelf.book.find(position.service, opened.identity)
            fits = known is None and self._holds(position, opened)
        if fits:
            return Found(position, opened, path, os.fstat(opened.descriptor).st_mtime)
        os.close(opened.descriptor)
        return None

    def _unpacked(self, position: Position, siblings: list[bytes]) -> Found | None:
        stem = os.path.basename(position.path).split(b".")[0]
        closed = None
        for path in siblings:
            name = os.path.basename(path)
            if not name.startswith(stem):
                continue
            if compressed.opener_of(path) is None:
                closed = path
                continue
            try:
                descriptor = in_thread(compressed.extract, path, position, self._scratch)
                modified_s = os.stat(path).st_mtime
            except compressed.BROKEN as error:
                self._events.file_refused(
                    service=position.service, path=path, reason=f"it cannot be unpacked: {error}"
                )
                continue
            if descriptor is not None:
                status = os.fstat(descriptor)
                key = FileKey(status.st_dev, status.st_ino)
                opened = Opened(descriptor, key, position.identity, path, status.st_size)
                return Found(position, opened, path, modified_s, unpacked=True)
        if closed is not None and position.size_bytes > position.offset:
            ending = os.fsdecode(os.path.splitext(closed)[1])
            reason = f"it may be the rest of {shown(position.path)}, and no library for {ending} is installed"
            self._events.file_refused(service=position.service, path=closed, reason=reason)
        return None

    def _open(self, path: bytes) -> Opened | None:
        if path.endswith(compressed.NAMES):
            return None
        try:
            return open_log(path, self._refusal())
        except (FileRefused, FileNotFoundError):
            return None

    def _is(self, position: Position, opened: Opened) -> Known | None:
        if opened.identity != position.identity and not self._shelf.intake.is_position_of(position, opened):
            return None
        try:
            return resume.examine(position, opened)
        except OSError:
            return None  # it cannot be read now; its position stays

    @staticmethod
    def _holds(position: Position, opened: Opened) -> bool:
        """Whether another file has the bytes that were read: it is a copy."""
        if not position.marker_digest or opened.size_bytes < position.offset:
            return False
        head = Head(position.head_bytes, position.head_digest)
        tail = resume.tail_at(opened.descriptor, position.offset)
        fits = head.fits(os.pread(opened.descriptor, HEAD_BYTES, 0))
        return bool(head.size_bytes) and fits and digest(tail) == position.marker_digest

    # -- onto the shelf -----------------------------------------------------------------------------------------------

    def _put(self, state: EntryFiles, one: Found, named: bool) -> None:
        position, opened = one.position, one.opened
        known = (position.service, opened.key) in self._shelf.files
        if known or (opened.size_bytes <= position.offset and not named):
            os.close(opened.descriptor)  # nothing of it is left to be read
            return
        generations = self._shelf.generations
        file = self._shelf.put(state, one.path, opened, self._shelf.intake.go_on(position, opened))
        file.unpacked = one.unpacked
        file.path = position.path  # the next generation of that path comes after it
        file.predecessor = generations.take_before(file)
        generations.leave(file)
        if named and not one.unpacked:
            file.path = one.path
            generations.arrive(file)
        else:
            file.left_path_s = self._clock()
        self._shelf.feeder.wake(file)

    def _between(self, state: EntryFiles, label: bytes, since_s: float) -> list[TailedFile]:
        """Generations of which nothing was ever read, written after the last known one."""
        now = self._open(label)
        try:
            return self._missed.adopt(state, label, label, since_s, -1 if now is None else now.descriptor)
        finally:
            if now is not None:
                os.close(now.descriptor)


class _Siblings:
    """The files of a directory, each looked at once however many positions are looked for."""

    def __init__(self, directory: bytes, open_: Callable[[bytes], Opened | None]) -> None:
        self.by_identity: dict[str, bytes] = {}
        self.compressed: list[bytes] = []
        self._heads: list[tuple[bytes, bytes]] = []
        self._by_head: dict[bytes, list[bytes]] = {}
        for path in _files_in(directory):
            if path.endswith(compressed.NAMES):
                self.compressed.append(path)
                continue
            opened = open_(path)
            if opened is None:
                continue
            try:
                head = os.pread(opened.descriptor, HEAD_BYTES, 0)
            except OSError:
                continue  # it cannot be read now
            finally:
                os.close(opened.descriptor)
            self.by_identity[without_place(opened.identity)] = path
            self._heads.append((path, head))
            self._by_head.setdefault(digest(head), []).append(path)

    def beginning_with(self, position: Position) -> list[bytes]:
        """Paths of files that begin as the one of the position did."""
        if position.head_bytes == HEAD_BYTES:
            return self._by_head.get(position.head_digest, [])
        known = Head(position.head_bytes, position.head_digest)
        return [path for path, head in self._heads if known.size_bytes and known.fits(head)]


def _files_in(directory: bytes) -> list[bytes]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.path for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return []
