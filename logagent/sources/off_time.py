# SPDX-License-Identifier: Apache-2.0
"""What became of files while the agent was off: renamed, moved, copied, compressed. Looked for at the start."""

import os
from collections.abc import Callable, Container, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from logagent.ops.events import Events
from logagent.ops.shown import shown
from logagent.sources import compressed, resume
from logagent.sources.handles import Handle, open_handle
from logagent.sources.identity import HEAD_BYTES, Head, digest, handle_parts, without_place
from logagent.sources.missed import LOOKS, Missed, lies_at
from logagent.sources.opening import Opened, Refusal, open_if_log
from logagent.sources.rotation import FileKey, Known
from logagent.sources.shelf import Shelf
from logagent.sources.siblings import Places
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles
from logagent.spawn import in_thread
from logagent.state.changes import FileId
from logagent.state.positions import Position


@dataclass(frozen=True, slots=True)
class Found:
    """A generation with bytes that may not be acknowledged; `modified_s` orders them."""

    position: Position
    opened: Opened
    path: bytes
    modified_s: float
    unpacked: bool = False
    shrunk: bool = False
    """It lost its end when the machine went down, and was renamed."""


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

    def places(self) -> Places:
        """What is found out for one entry and of use for others that are started together with it."""
        return Places(self._shelf.book, self._open)

    def find(self, state: EntryFiles, named: Container[bytes], places: Places) -> Iterator[None]:
        """Put what was read before and is not at its path any more onto the shelf, in the order of its writing.

        In steps: after any of them it may be given up.
        """
        files = self._shelf.files.values() if state.scanned else ()
        read = {(file.service, file.identity) for file in files}
        positions = yield from places.positions(state.entry.id)
        yield from self._find(state, [one for one in positions if one not in read], named, places)

    def find_of(
        self, state: EntryFiles, path: bytes, named: Container[bytes], places: Places
    ) -> Iterator[None]:
        """The same for what was read under one path."""
        positions = yield from places.positions_at(state.entry.id, path)
        yield from self._find(state, positions, named, places)

    def _find(
        self, state: EntryFiles, positions: list[FileId], named: Container[bytes], places: Places
    ) -> Iterator[None]:
        found: list[Found] = []
        try:
            for file_id in positions:
                position = self._shelf.book.find(*file_id)
                one = None if position is None else (yield from self._where(position, places))
                if one is not None:
                    found.append(one)
                yield
            found.sort(key=lambda one: one.modified_s)
            last_s = {one.position.path: one.modified_s for one in found}
            state.since_s |= last_s
            while found:
                one = found.pop(0)
                self._put(state, one, one.path in named)
                yield
            for label, modified_s in last_s.items():
                self._between(state, label, modified_s)
                yield
        finally:
            for one in found:
                os.close(one.opened.descriptor)

    # -- where it is --------------------------------------------------------------------------------------------------

    def _where(self, position: Position, places: Places) -> Generator[None, None, Found | None]:
        at_path = self._open(position.path)
        emptied = False
        if at_path is not None:
            known = self._is(position, at_path)
            os.close(at_path.descriptor)
            if known in (Known.SAME, Known.SHRUNK):
                return None  # it is where it was
            emptied = known is not None
        moved = None if emptied else self._by_handle(position)
        if moved is not None:
            return moved
        siblings = yield from places.beside(position.path)
        for _ in range(0 if emptied else LOOKS):
            beside = siblings.by_identity.get(without_place(position.identity))
            moved = None if beside is None else self._found(position, beside, same_identity=True)
            if moved is not None:
                return moved
            if beside is None:
                break
            siblings = yield from places.beside(position.path)  # it was renamed meanwhile
        for path in (yield from siblings.beginning_with(position)):
            its = self._shelf.book.find(position.service, siblings.files[path].identity)
            if its is None or not (its.offset or its.delivered_offset):
                copy = self._found(position, path, same_identity=False)
                if copy is not None:
                    return copy
            yield
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
        shrunk = False
        if same_identity:
            is_ = self._is(position, opened)
            shrunk = is_ is Known.SHRUNK
            fits = shrunk or is_ is Known.SAME
        else:
            known = self._shelf.book.find(position.service, opened.identity)
            # One of which nothing was sent was perhaps held back as a copy when the agent ended.
            fits = (known is None or not known.offset) and self._holds(position, opened)
        if fits:
            return Found(position, opened, path, os.fstat(opened.descriptor).st_mtime, shrunk=shrunk)
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
        return open_if_log(path, self._refusal())

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
        if (position.offset and not position.marker_digest) or opened.size_bytes < position.offset:
            return False
        head = Head(position.head_bytes, position.head_digest)
        tail = resume.tail_at(opened.descriptor, position.offset)
        fits = head.fits(os.pread(opened.descriptor, HEAD_BYTES, 0))
        return bool(head.size_bytes) and fits and (not tail or digest(tail) == position.marker_digest)

    # -- onto the shelf -----------------------------------------------------------------------------------------------

    def _put(self, state: EntryFiles, one: Found, named: bool) -> None:
        position, opened = one.position, one.opened
        intake, generations = self._shelf.intake, self._shelf.generations
        beginning = intake.after_crash(state.entry, position, opened) if one.shrunk else None
        known = (position.service, opened.key) in self._shelf.files
        done = opened.size_bytes <= position.offset and not (named or one.shrunk)
        if not known:
            beginning = beginning or intake.go_on(position, opened)
        if beginning is None or done:
            os.close(opened.descriptor)
            return
        file = self._shelf.put(state, one.path, opened, beginning)
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
        noticed = state.noticed.get(label)
        if noticed is None or (state.entry.service, noticed) in self._shelf.files:
            noticed = None if now is None else now.key
        try:
            return self._missed.adopt(
                state,
                label,
                label,
                since_s,
                -1 if now is None else now.descriptor,
                only_while=partial(lies_at, label, noticed),
            )
        finally:
            if now is not None:
                os.close(now.descriptor)
