# SPDX-License-Identifier: Apache-2.0
"""The loop of one active file: look, wait for room, for the rate and for a turn, read, hand on. Ends when idle."""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import gevent

from logagent.backoff import Backoff
from logagent.clock import MonotonicClock, WallClock
from logagent.errors import FileChanged
from logagent.ops.events import Events
from logagent.pacing.limiter import Limiter
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.outlet import Outlet
from logagent.sources import reader, rotation
from logagent.sources.deadlines import Deadlines
from logagent.sources.framing import Finish, Limits, Oversize
from logagent.sources.rebuilding import hash_of
from logagent.sources.slow_disks import SlowDisks
from logagent.sources.small_reads import SmallReads
from logagent.sources.tailed_file import TailedFile
from logagent.sources.turnstile import PASS_BUDGET_S, Turnstile
from logagent.spawn import in_thread

COALESCE_S = 0.02
"""After reaching the end of a file, look again no sooner than this, however often it is written."""

ROTATED_POLL_S = 0.25
LOOK_AGAIN_S = 1.0
MIN_READ_BYTES = 4096
MAX_LINES = 4096
MAX_RENDERED_LINES = 1024
"""In one chunk, raw and with a form of their own: short lines cost far more as objects, and in time, than as bytes."""

UNFINISHED = "the last line has no end yet"
OPEN_EVENT = "the last event may go on"
TOO_LONG = "the line is longer than max_line_bytes"
MAY_BE_COPY = "it begins like a file beside it and may become its copy"
ZEROS = "there are zeros up to its end, which are not written yet"
READ_ERROR = Backoff(first_s=0.5, limit_s=30.0)


class Step(enum.Enum):
    """How far one step came."""

    MORE = "go on at once"
    END = "nothing to read now"


@dataclass(frozen=True, slots=True)
class TailSettings:
    """What the operator can turn."""

    max_line_bytes: int
    rotate_wait_s: float
    oversize: Oversize = "cut"

    @property
    def limits(self) -> Limits:
        """What holds for lines."""
        return Limits(self.max_line_bytes, self.oversize)


class Tailer:
    """Shared by all files; one greenlet per active file runs `tail`."""

    def __init__(
        self,
        settings: TailSettings,
        outlet: Outlet,
        turnstile: Turnstile,
        *,
        limiter_of: Callable[[str], Limiter],
        on_truncated: Callable[[TailedFile, int], None],
        may_read: Callable[[TailedFile], bool],
        on_finished: Callable[[TailedFile], None],
        events: Events,
        clock: MonotonicClock,
        wall: WallClock,
    ) -> None:
        self.settings = settings
        self._outlet = outlet
        self._turnstile = turnstile
        self._limiter_of = limiter_of
        self._on_truncated = on_truncated
        self._no_copy = may_read
        self._on_finished = on_finished
        self._events = events
        self._clock = clock
        self._wall = wall
        self._disks = SlowDisks(clock)
        self._small = SmallReads(
            outlet, self._disks, limiter_of, lambda: self.settings.max_line_bytes, events, clock
        )
        self.deadlines: Deadlines[TailedFile] = Deadlines(clock)
        """When to look again at files whose last event may go on."""

    def sip(self, queue: deque[TailedFile], activate: Callable[[TailedFile], None]) -> None:
        """Read files that have grown a little, many of them in one turn, until the queue is empty.

        `activate` is told those that need a greenlet.
        """
        while queue:
            with self._turnstile.turn():
                until_s = self._clock() + PASS_BUDGET_S
                while (file := self._small.turn(queue, until_s)) is not None:
                    if not (file.tailing or file.closed or file.retired or file.held or self._sip(file)):
                        activate(file)

    def _sip(self, file: TailedFile) -> bool:
        """One read, to the end of the file; False when there is more to do than that."""
        waits = (
            not self._is_next(file) or file.left_path_s is not None or self._disks.is_slow(file.key.device)
        )
        if waits or not self._limiter_of(file.service).unlimited or not self._outlet.has_room(file.route):
            return False
        file.dirty = False
        file.look_again()
        offset = file.look_offset
        count = _read_bytes(file, offset)
        try:
            if (file.beside or (file.may_be_copy and file.size_bytes())) and not self._no_copy(file):
                return False
            data = self._checked(file, count, offset, together=True)
            if not self._is_next(file):
                return False
            size_bytes = offset + len(data) if data else file.size_bytes()
            emptied = not size_bytes and file.seen_bytes
            if emptied or rotation.truncated(file.read_offset, size_bytes):
                self._on_truncated(file, size_bytes)
                return file.retired
            file.seen_bytes = max(file.seen_bytes, size_bytes)
            if data:
                due = size_bytes <= file.scanned_offset and file.lines.due(self._clock())
                self._take(file, data, offset, None, count, Finish.EVENT if due else Finish.NOTHING)
        except FileChanged:
            self._on_truncated(file, file.size_bytes())
            return file.retired
        except OSError as error:
            self._failed(file, error, failures=0)
            return False
        file.caught_up.set()
        file.state, file.reason = "idle", "" if file.read_offset == size_bytes else _unfinished(file)
        return file.scanned_offset >= size_bytes and len(data) < count

    def tail(self, file: TailedFile) -> None:
        """Read until the file has nothing more for now (it is started again when it grows) or is let go for good."""
        file.tailing = True
        file.look_again()
        failures = 0
        try:
            while not (file.closed or file.retired):
                file.dirty = False
                try:
                    step = self._step(file)
                except FileChanged:
                    self._on_truncated(file, file.size_bytes())
                    continue
                except OSError as error:
                    self._failed(file, error, failures)
                    gevent.sleep(READ_ERROR.delay_s(failures))
                    failures += 1
                    continue
                failures = 0
                if step is Step.END and self._rest(file):
                    return
        finally:
            file.tailing = False

    def _failed(self, file: TailedFile, error: OSError, failures: int) -> None:
        self._events.read_failed(service=file.service, path=file.label, error=str(error))
        file.state, file.reason = "failing", f"it cannot be read: {error.strerror}"
        if failures:
            # The next generation must not wait for a file that may never be readable again.
            file.caught_up.set()

    def _rest(self, file: TailedFile) -> bool:
        """At the end of the file: wait a little. True when the greenlet may end."""
        before = file.predecessor
        if before is not None and not self._is_next(file):
            # Empty so far, but whoever comes after this file waits for what was before it as well.
            before.caught_up.wait(LOOK_AGAIN_S)
            return False
        if file.left_path_s is None or file.lines.open_since_s is None:
            file.caught_up.set()
        if file.left_path_s is None:
            gevent.sleep(COALESCE_S)
            if file.dirty:
                file.look_again()
                return False
            file.state = "idle"
            return True
        file.state, file.reason = "rotated", "another file is at its path; waiting for late writes"
        quiet_s = self._clock() - max(file.left_path_s, file.last_growth_s)
        size_bytes = file.size_bytes()
        if file.scanned_offset < size_bytes or file.lines.due(self._clock()):
            return False  # it has grown since the last look, or its last event is over
        if file.read_offset < size_bytes and quiet_s >= self.settings.rotate_wait_s:
            self._last_line(file, size_bytes)
        elif rotation.finished(
            read_offset=file.read_offset,
            size_bytes=size_bytes,
            unacked=file.acks.pending,
            quiet_s=quiet_s,
            rotate_wait_s=self.settings.rotate_wait_s,
            unfinished_line=False,
        ):
            self._on_finished(file)
            return True
        gevent.sleep(ROTATED_POLL_S)
        return False

    def _step(self, file: TailedFile) -> Step:
        seen_bytes, size_bytes = file.seen_bytes, file.size_bytes()
        # What it waits for may be a copy that waits until somebody notices that this one was emptied.
        if file.was_emptied(size_bytes, seen_bytes) or not (self._is_next(file) or file.intact()):
            raise FileChanged
        if file.beside:
            self._no_copy(file)
        file.seen_bytes = size_bytes
        if file.head.size_bytes < size_bytes:
            file.grow_head()
        finish = Finish.NOTHING
        if size_bytes <= file.scanned_offset:
            if not file.intact():
                raise FileChanged
            if not file.lines.due(self._clock()):
                file.reason = "" if file.read_offset == size_bytes else _unfinished(file)
                return Step.END
            finish = Finish.EVENT
        if not self._may_read(file):
            return Step.MORE
        file.state, file.reason = "reading", ""
        limiter = self._limiter_of(file.service)
        if not limiter.unlimited:
            file.state, file.reason = "waiting", f"the rate limit of {file.service}"
        with limiter.turn() as lines:
            chunk = self._read(file, lines, finish)
            if chunk is not None:
                limiter.spend(len(chunk.values))
        return Step.MORE

    def _may_read(self, file: TailedFile) -> bool:
        before = file.predecessor
        if before is not None and not self._is_next(file):
            file.state, file.reason = "waiting", "the file that was rotated away is read first"
            before.caught_up.wait(LOOK_AGAIN_S)
            return False
        if file.may_be_copy and not self._no_copy(file):
            file.state, file.reason = "waiting", MAY_BE_COPY
            gevent.sleep(LOOK_AGAIN_S)
            return False
        reason = self._outlet.wait_room(file.route, LOOK_AGAIN_S)
        if reason:
            file.state, file.reason = "waiting", reason
        # While this one waited for room, lines of the generation before may have been dropped, to be read again.
        return not reason and self._is_next(file)

    def _is_next(self, file: TailedFile) -> bool:
        return file.is_next(self._clock(), self.settings.rotate_wait_s)

    def _may_take(self, file: TailedFile, start_offset: int) -> bool:
        """Whether what `_may_read` found still holds after waiting for a turn."""
        unmoved = file.read_offset == start_offset and not file.closed
        return unmoved and self._is_next(file) and self._outlet.has_room(file.route)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read(self, file: TailedFile, lines: int | None, finish: Finish) -> Chunk | None:
        """Read and hand on at most `lines` lines (None = as many as one read holds); None when no line was complete."""
        start_offset, offset = file.read_offset, file.look_offset
        count = _read_bytes(file, offset)
        if lines is not None and offset == start_offset:
            scanned_bytes = file.scanned_offset - start_offset
            count = min(count, scanned_bytes + max(MIN_READ_BYTES, lines * file.line_bytes * 5 // 4))
        slow = self._disks.is_slow(file.key.device)
        if slow:
            file.state, file.reason = "waiting", "its disk is slow"
        data = self._in_thread(file, count, offset) if slow else None
        with self._turnstile.turn():
            if not self._may_take(file, start_offset):
                return None
            if data is None:
                data = self._checked(file, count, offset)
            if not self._is_next(file):
                return None
            return self._take(file, data, offset, lines, count, finish)

    def _take(
        self, file: TailedFile, data: bytes, offset: int, lines: int | None, count: int, finish: Finish
    ) -> Chunk | None:
        """Make lines of what was read at `offset` and hand them on; None when no line was complete."""
        chunk = file.lines.take(
            data,
            offset,
            file.read_offset,
            self.settings.limits,
            finish=finish,
            at_end=len(data) < count,
            descriptor=file.descriptor,
            read=partial(self._checked, file),
        )
        if chunk is None:
            self._wait_for_more(file, finish, data, offset)
            return None
        if chunk.end_offset <= file.read_offset:
            raise FileChanged  # a line end that was just seen is not there any more
        if chunk.values and not chunk.dead_bytes:
            file.line_bytes = max(1, (chunk.end_offset - chunk.start_offset) // len(chunk.values))
        most = _max_lines(file)
        chunk = chunk.first(most if lines is None else min(lines, most))
        self._hand_on(file, chunk, data, offset)
        return chunk

    def _wait_for_more(self, file: TailedFile, finish: Finish, data: bytes, offset: int) -> None:
        if file.lines.start is not None and finish is Finish.NOTHING:
            if file.lines.scanned_offset != file.scanned_offset or file.lines.open_since_s is None:
                file.lines.open_since_s = self._clock()
                self.deadlines.set(file, file.lines.open_since_s + file.lines.timeout_s)
        else:
            file.lines.open_since_s = None  # there was nothing but half a line
        file.scan(file.lines.scanned_offset, data, offset)

    def _last_line(self, file: TailedFile, size_bytes: int) -> None:
        """Nothing will be added any more: what stands behind the last newline is a line too."""
        if not self._may_read(file):
            return
        start_offset = file.read_offset
        with self._turnstile.turn():
            if not self._may_take(file, start_offset):
                return
            read = partial(self._checked, file)
            self._hand_on(
                file, file.lines.last(start_offset, size_bytes, self.settings.limits, read), b"", start_offset
            )

    def _hand_on(self, file: TailedFile, chunk: Chunk, data: bytes, offset: int) -> None:
        """`data`, read at `offset`, holds the end of the chunk, unless that is the last line or ends with a hole."""
        file.grow_head(b"" if offset else data)
        chunk = chunk if not file.skips else file.before_skip(chunk)
        hashed = hash_of(chunk, data, offset, file.render.row, partial(self._checked, file))
        segment = file.render.segment(file, chunk, int(self._wall() * 1000), *hashed)
        file.advance(chunk.end_offset, data, offset)
        file.last_growth_s = self._clock()
        file.counts.lines_read += len(chunk.values)
        self._events.lines_read(
            service=file.service, lines=len(chunk.values), bytes_=chunk.end_offset - chunk.start_offset
        )
        if chunk.cuts:
            cut_bytes = sum(bytes_ for _, bytes_ in chunk.cuts)
            self._events.lines_cut(
                service=file.service, path=file.label, lines=len(chunk.cuts), cut_bytes=cut_bytes
            )
        if chunk.holes:
            hole_bytes = sum(bytes_ for _, bytes_ in chunk.holes)
            self._events.holes_skipped(service=file.service, path=file.label, hole_bytes=hole_bytes)
        if chunk.dead_bytes:
            self._outlet.bury(file.route, segment, TOO_LONG, chunk.dead_bytes)
        else:
            self._outlet.put(file.route, segment)

    def _in_thread(self, file: TailedFile, count: int, offset: int) -> bytes:
        # Not interrupted before the thread is done: nobody else may get the descriptor's number meanwhile.
        data = in_thread(file.read, count, offset, False)
        if data is None:
            raise FileChanged
        return data

    def _checked(self, file: TailedFile, count: int, offset: int, *, together: bool = False) -> bytes:
        """A read with the proof that the file is still the one that was read so far; else FileChanged."""
        data = self._disks.timed(file.key.device, file.read, count, offset, together)
        if data is None:
            raise FileChanged
        return data


def _unfinished(file: TailedFile) -> str:
    if file.lines.zeros_offset is not None:
        return ZEROS
    return UNFINISHED if file.lines.open_since_s is None else OPEN_EVENT


def _max_lines(file: TailedFile) -> int:
    return MAX_LINES if file.render.plain else MAX_RENDERED_LINES


def _read_bytes(file: TailedFile, offset: int) -> int:
    """How much to read at `offset`: not many more lines than may be taken at once; of an unfinished line, all."""
    if offset > file.read_offset:
        return reader.READ_BYTES
    scanned_bytes = file.scanned_offset - offset
    more_bytes = max(MIN_READ_BYTES, _max_lines(file) * file.line_bytes * 5 // 4)
    return min(file.lines.most_bytes(scanned_bytes), scanned_bytes + more_bytes)
