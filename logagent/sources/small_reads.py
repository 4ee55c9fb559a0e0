# SPDX-License-Identifier: Apache-2.0
"""The usual read of a file that gets a line now and then: whole plain lines, less than a page of them."""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from crc32c import crc32c

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.pacing.limiter import Limiter
from logagent.pipeline.batch import Segment
from logagent.pipeline.outlet import Outlet
from logagent.sources.identity import HEAD_BYTES, TAIL_BYTES
from logagent.sources.reader import whole_lines
from logagent.sources.slow_disks import SLOW_READ_S, SlowDisks
from logagent.sources.tailed_file import PAGE_BYTES, ServiceCounts, TailedFile

UTF_8 = "utf-8"


@dataclass(slots=True)
class _Sums:
    """What was read of a service in one turn."""

    counts: ServiceCounts
    lines: int = 0
    bytes_: int = 0


class SmallReads:
    """Does what the tailer does for any read, as far as it is needed here, for a quarter of its price.

    Whatever is not usual is left to the tailer; nothing has been changed then.
    """

    def __init__(
        self,
        outlet: Outlet,
        disks: SlowDisks,
        limiter_of: Callable[[str], Limiter],
        max_line_bytes: Callable[[], int],
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._outlet = outlet
        self._disks = disks
        self._limiter_of = limiter_of
        self._max_line_bytes = max_line_bytes
        self._events = events
        self._clock = clock
        self._sums: dict[str, _Sums] = {}
        """Of services that nothing limits."""

    def turn(self, queue: deque[TailedFile], until_s: float) -> TailedFile | None:
        """Read the files of the queue; stops when it is empty, when the time is over, and at a file for the tailer."""
        now_s = self._clock()
        sleeps = self._disks.sleeps(now_s)
        try:
            while queue and now_s < until_s:
                file = queue.popleft()
                if not (_usual(file) and self._may(file) and self._read(file, now_s)):
                    return file
                begun_s, now_s = now_s, self._clock()
                if now_s - begun_s > SLOW_READ_S:
                    self._disks.late(file.key.device, begun_s, slept=self._disks.sleeps(begun_s) > sleeps)
            return None
        finally:
            self._tell()

    def _may(self, file: TailedFile) -> bool:
        if file.service not in self._sums:
            if not self._limiter_of(file.service).unlimited or self._max_line_bytes() < PAGE_BYTES:
                return False
            self._sums[file.service] = _Sums(file.counts)
        return self._outlet.has_room(file.route)

    def _read(self, file: TailedFile, now_s: float) -> bool:
        offset, tail = file.tails.newest
        if offset != file.read_offset or len(tail) != TAIL_BYTES or self._disks.is_slow(file.key.device):
            return False
        try:
            data = os.pread(file.descriptor, PAGE_BYTES, offset - TAIL_BYTES)
            if not data.startswith(tail) or len(data) == PAGE_BYTES:
                return False
            values = whole_lines(data, TAIL_BYTES)
            if values is None:
                return False
            if file.head.size_bytes < HEAD_BYTES:
                file.grow_head()
        except OSError:
            return False
        bytes_ = len(data) - TAIL_BYTES
        end_offset = offset + bytes_
        segment = Segment(
            file,
            offset,
            end_offset,
            values,
            key=file.render.record_key,
            render=file.render,
            source_crc=crc32c(data[TAIL_BYTES:]),
            hashed_bytes=bytes_,
        )
        file.dirty = False
        file.read_offset = file.scanned_offset = end_offset
        file.tails.add(end_offset, data[-TAIL_BYTES:], file.acks.acked_offset)
        file.last_growth_s = now_s
        file.seen_bytes = max(file.seen_bytes, end_offset)
        sums = self._sums[file.service]
        sums.lines += len(values)
        sums.bytes_ += bytes_
        self._outlet.put(file.route, segment)
        if not file.caught_up.is_set():
            file.caught_up.set()
        file.state, file.reason = "idle", ""
        return True

    def _tell(self) -> None:
        for service, sums in self._sums.items():
            if sums.lines:
                sums.counts.lines_read += sums.lines
                self._events.lines_read(service=service, lines=sums.lines, bytes_=sums.bytes_)
        self._sums.clear()


def _usual(file: TailedFile) -> bool:
    lines = file.lines
    return (
        file.read_offset == file.scanned_offset
        and not (file.tailing or file.closed or file.retired or file.may_be_copy or file.held or file.skips)
        and file.predecessor is None
        and file.left_path_s is None
        and lines.start is None
        and lines.zeros_offset is None
        and lines.encoding == UTF_8
        and file.render.plain
    )
