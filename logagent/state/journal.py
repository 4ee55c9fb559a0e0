# SPDX-License-Identifier: Apache-2.0
"""Where intents are written before their batches are sent: two preallocated files, used in turn.

A write is one pwrite into the page cache, in the event loop; it survives SIGKILL. With `full` it is on disk, too,
before it counts; one fdatasync then serves all who wait. The newest record of a partition is what matters; those before
it are settled or replaced. A file is begun anew when everything in it that matters stands in the other one.
"""

import contextlib
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from logagent.spawn import in_thread
from logagent.state import intents
from logagent.state.found import Found, Refused
from logagent.state.frames import (
    CLOSED,
    FRAME_BYTES,
    HEADER,
    INTENT,
    RENDER,
    TERMINATOR,
    Frame,
    encode_frame,
    scan,
)
from logagent.state.intents import NOTHING_SETTLED, IntentRecord, PartitionKey, SegmentNote, Settled

Sync = Literal["normal", "full"]

NAMES = ("intents.a", "intents.b")
CAPACITY_BYTES = 4 * 1024 * 1024
GROWTH = 8
"""So many times its size may a file become while positions cannot be saved; then the journal is full."""

_ZEROS = bytes(256 * 1024)


@dataclass(frozen=True, slots=True)
class Written:
    """The intent is there; its batch may be sent."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Degraded:
    """There is no intent, and none will be: what is sent now may be sent again after a crash.

    `invalidated`: nothing of the journal can be read any more. If not, old records are still there, and new batches
    must go under a new producer id, so that they stay true.
    """

    reason: str
    invalidated: bool


@dataclass(slots=True)
class _Newest:
    """The newest record of a partition: where it is, and what it says."""

    sequence: int
    file: int
    payload: bytes
    settled_records: int = 0
    settlement: int = 0


@dataclass(slots=True)
class _File:
    path: Path
    descriptor: int
    generation: int = 0
    end: int = 0
    synced: bool = True


class Journal:
    """One per data_dir, for one process. Methods other than `write` and `release` never block."""

    def __init__(
        self, directory: Path, *, sync: Sync = "normal", capacity_bytes: int = CAPACITY_BYTES
    ) -> None:
        self._directory = directory
        self._sync = sync
        self._capacity_bytes = capacity_bytes
        self._files: list[_File] = []
        self._current = 0
        self._sequence = 0
        self._synced = 0
        self._newest: dict[PartitionKey, _Newest] = {}
        self._unsaved: deque[tuple[int, int]] = deque()
        self._unsaved_in = [0, 0]
        self._settlements = self._saved = 0
        self._renders: dict[bytes, int] = {}
        self._writing = BoundedSemaphore(1)
        self._syncing: Event | None = None
        self.degraded: Degraded | None = None
        self.found = Found()
        try:
            self._open()
        except OSError as error:
            self._degrade(f"{directory}: the journal of intents cannot be opened: {error}")

    # -- what callers do ----------------------------------------------------------------------------------------------

    def write(self, record: IntentRecord) -> Written | Degraded:
        """Note what is about to be sent, and whether the partition's batch before it was acknowledged."""
        return self.write_payload(record.key, intents.encode_intent(record)[intents.SETTLED.size :])

    def write_payload(self, key: PartitionKey, payload: bytes) -> Written | Degraded:
        """The same of what was encoded already, but for what it settles."""
        before = self._newest.get(key)
        settles = NOTHING_SETTLED
        if before is not None and before.settlement > self._saved:
            settles = Settled(before.sequence, before.settled_records)
        return self._put(INTENT, key, intents.SETTLED.pack(*settles) + payload)

    def render(self, render_id: bytes, document: bytes) -> None:
        """Note settings before an intent that names them; call it before each one, it writes what is new.

        They count as unsaved, like a settled intent, until positions are saved: give them to the book before.
        A failure shows in the `write` that follows.
        """
        if render_id in self._renders:
            self._renders[render_id] = self._files[self._current].generation
        elif not self._failure():
            try:
                with self._writing:
                    self._append(RENDER, intents.encode_render(render_id, document))
                    self._renders[render_id] = self._files[self._current].generation
                    self._note_unsaved(self._current)
            except OSError as error:
                self._degrade_unwritable(error)

    def release(self, key: PartitionKey) -> Written | Degraded:
        """The partition's open intent is given up."""
        return self._put(CLOSED, key, intents.encode_closed(key))

    def settled(self, key: PartitionKey, records: int) -> None:
        """The partition's newest intent is settled, by the cut with so many records.

        Nothing is written: the next intent says so.
        """
        newest = self._newest.get(key)
        if newest is not None and not newest.settled_records:
            newest.settled_records = records
            self._note_unsaved(newest.file)
            newest.settlement = self._settlements

    @property
    def sequence(self) -> int:
        """That of the newest record; to be saved with positions for `Found.settled_after`."""
        return self._sequence

    def go_on_after(self, sequence: int) -> None:
        """Records get larger sequences than one that was saved once, also when the journal was lost."""
        self._sequence = max(self._sequence, sequence)

    def mark(self) -> int:
        """Take it before positions are collected for saving, and hand it to `saved` once they are on disk."""
        return self._settlements

    def saved(self, mark: int) -> None:
        """The positions of everything settled before `mark` was taken are durable."""
        self._saved = max(self._saved, mark)
        while self._unsaved and self._unsaved[0][0] <= mark:
            self._unsaved_in[self._unsaved.popleft()[1]] -= 1

    def _note_unsaved(self, file: int) -> None:
        self._settlements += 1
        self._unsaved.append((self._settlements, file))
        self._unsaved_in[file] += 1

    def repair(self) -> bool:
        """Try to go on after `degraded`, with an empty journal; True when intents can be written again."""
        if self.degraded is None:
            return True
        self.close()
        generation = max((file.generation for file in self._files), default=0) + 1
        try:
            for name in NAMES:
                (self._directory / name).unlink(missing_ok=True)
            self._open(generation)
        except OSError as error:
            self._degrade(f"{self._directory}: the journal of intents cannot be opened: {error}")
            return False
        self.degraded = None
        return True

    def finish(self) -> None:
        """Everything that was read is acknowledged and saved: what is settled need not be asked about any more."""
        for key in [key for key, newest in self._newest.items() if newest.settled_records]:
            self.release(key)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            if file.descriptor >= 0:
                os.close(file.descriptor)
                file.descriptor = -1

    # -- writing ------------------------------------------------------------------------------------------------------

    def _put(self, kind: int, key: PartitionKey, payload: bytes) -> Written | Degraded:
        if failure := self._failure():
            return failure
        try:
            with self._writing:  # contended only with `full`, when a change of files waits for the disk
                sequence = self._append(kind, payload)
                if kind == CLOSED:
                    self._newest.pop(key, None)
                else:
                    self._newest[key] = _Newest(sequence, self._current, payload)
            if self._sync == "full":
                self._commit(sequence)
        except OSError as error:
            return self._degrade_unwritable(error)
        return self._failure() or Written(sequence)

    def _append(self, kind: int, payload: bytes) -> int:
        size = FRAME_BYTES + len(payload) + len(TERMINATOR)
        if self._files[self._current].end + size > self._capacity_bytes:
            self._change_files()
        file = self._files[self._current]
        self._sequence += 1
        self._pwrite(file, kind, self._sequence, payload)
        return self._sequence

    def _pwrite(self, file: _File, kind: int, sequence: int, payload: bytes) -> None:
        frame = encode_frame(kind, file.generation, sequence, payload)
        if os.pwrite(file.descriptor, frame + TERMINATOR, file.end) != len(frame) + len(TERMINATOR):
            raise OSError(f"{file.path}: written in part only")
        file.end += len(frame)
        file.synced = False

    def _change_files(self) -> None:
        """Begin the other file anew, after its open intents have been written to this one again."""
        here, other = self._files[self._current], self._files[1 - self._current]
        if self._unsaved_in[1 - self._current]:
            if here.end > GROWTH * self._capacity_bytes:
                raise OSError("it is full, because positions cannot be saved")
            return
        for newest in self._newest.values():
            if newest.file != self._current:
                if not newest.settled_records:
                    self._sequence += 1
                    self._pwrite(here, INTENT, self._sequence, newest.payload)
                    newest.sequence = self._sequence
                newest.file = self._current
        if self._sync == "full":
            in_thread(os.fdatasync, here.descriptor)
            here.synced = True
        self._renders = {one: used for one, used in self._renders.items() if used == here.generation}
        self._begin(other, here.generation + 1)
        self._current = 1 - self._current

    def _begin(self, file: _File, generation: int) -> None:
        file.generation, file.end = generation, 0
        self._pwrite(file, HEADER, self._sequence, b"")

    def _commit(self, sequence: int) -> None:
        """Return when it is on disk up to this record. Whoever comes first syncs for all who have written by then."""
        while self._synced < sequence and not self._failure():
            if self._syncing is not None:
                self._syncing.wait()
                continue
            self._syncing = Event()
            upto = self._sequence
            try:
                for file in self._files:
                    if not file.synced:
                        file.synced = True
                        in_thread(os.fdatasync, file.descriptor)
                self._synced = upto
            finally:
                self._syncing.set()
                self._syncing = None

    def _failure(self) -> Degraded | None:
        """Anew after everything that may have switched greenlets."""
        return self.degraded

    # -- trouble ------------------------------------------------------------------------------------------------------

    def _degrade_unwritable(self, error: OSError) -> Degraded:
        return self._degrade(f"{self._directory}: the journal of intents cannot be written: {error}")

    def _degrade(self, reason: str) -> Degraded:
        """No more intents; old ones must not be believed later, because newer batches will have none."""
        self._newest.clear()
        self._renders.clear()
        self._unsaved.clear()
        self._unsaved_in = [0, 0]
        invalidated = [self._invalidate(self._directory / name) for name in NAMES]
        self.degraded = Degraded(reason, all(invalidated))
        return self.degraded

    @staticmethod
    def _invalidate(path: Path) -> bool:
        """Whether nobody will believe the file any more."""
        try:
            os.truncate(path, 0)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            return not os.path.lexists(path)

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self, generation: int = 0) -> None:
        self._files = []
        frames: list[tuple[int, Frame]] = []
        refused: list[Refused] = []
        for number, name in enumerate(NAMES):
            file = _File(self._directory / name, _open_file(self._directory / name))
            self._files.append(file)
            kept, problems, file.end = scan(_read_all(file.descriptor))
            _preallocate(file.descriptor, self._capacity_bytes)
            refused += [Refused(file.path, one.start, one.end, one.reason) for one in problems]
            if kept:
                file.generation = kept[0].generation
            frames += [(number, frame) for frame in kept]
        self._sequence = max([self._sequence, *(frame.sequence for _, frame in frames)])
        self._current = max((0, 1), key=lambda number: self._files[number].generation)
        self.found = self._replay(frames, refused)
        if not self._files[self._current].end:
            newest = max(generation, *(file.generation + 1 for file in self._files))
            self._begin(self._files[self._current], newest)

    def _replay(self, frames: list[tuple[int, Frame]], refused: list[Refused]) -> Found:
        records: dict[int, IntentRecord] = {}
        places: dict[int, int] = {}
        settled: dict[int, tuple[SegmentNote, ...]] = {}
        renders: dict[bytes, bytes] = {}
        newest: dict[PartitionKey, _Newest] = {}
        for number, frame in sorted(frames, key=lambda one: one[1].sequence):
            try:
                if frame.kind == CLOSED:
                    newest.pop(intents.decode_closed(frame.payload), None)
                elif frame.kind == INTENT:
                    record, settles = intents.decode_intent(frame.payload)
                    records[frame.sequence], places[frame.sequence] = record, number
                    newest[record.key] = _Newest(frame.sequence, number, frame.payload)
                    if settles.sequence in records:
                        settled[frame.sequence] = records[settles.sequence].cut(settles.records)
                        self._note_unsaved(places[settles.sequence])
                elif frame.kind == RENDER:
                    renders.update([intents.decode_render(frame.payload)])
                    self._note_unsaved(number)
                elif frame.kind != HEADER:
                    raise intents.IntentRefused(f"it is of the unknown kind {frame.kind}")
            except intents.IntentRefused as error:
                file = self._files[number].path
                refused.append(Refused(file, 0, 0, f"record {frame.sequence} makes no sense: {error}"))
        self._newest = newest
        still_open = tuple(records[one.sequence] for one in newest.values())
        told = [(note, by) for by, notes in settled.items() for note in notes]
        return Found(
            still_open,
            tuple(note for note, _ in told),
            renders,
            tuple(refused),
            tuple(by for _, by in told),
        )


def _open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    data = b""
    while len(data) < size:
        chunk = os.pread(descriptor, size - len(data), len(data))
        if not chunk:
            break
        data += chunk
    return data


def _preallocate(descriptor: int, size: int) -> None:
    """Zeros that are really there: a disk that becomes full later does not stop the journal."""
    at = os.fstat(descriptor).st_size
    while at < size:
        at += os.pwrite(descriptor, _ZEROS[: size - at], at)
