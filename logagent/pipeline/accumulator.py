# SPDX-License-Identifier: Apache-2.0
"""Collects segments for one topic-partition until a batch is full or old. Pure; time comes in as an argument."""

from logagent.pipeline.batch import BATCH_OVERHEAD_BYTES, Batch, Segment

QUIET_S = 0.25
"""A partition that has sealed nothing for this long does not wait the whole linger for its next lines."""

QUIET_LINGER_S = 0.005


class Accumulator:
    """The open lines of one topic-partition. Those of one service and path stay in order, over all its generations."""

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        self._segments: list[Segment] = []
        self._due_s = float("inf")
        self._sealed_s = float("-inf")
        self._timestamp_ms = 0
        self.size_bytes = 0
        self.memory_bytes = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is open."""
        return not self._segments

    @property
    def due_s(self) -> float:
        """When the open lines are old enough to go; infinity when there are none."""
        return self._due_s

    def add(self, segment: Segment, now_s: float, wall_ms: int) -> None:
        """Take a segment in, behind the others of its path. The times count when it is the first."""
        if not self._segments:
            quiet = now_s - self._sealed_s > QUIET_S
            self._due_s = now_s + (min(QUIET_LINGER_S, self._linger_s) if quiet else self._linger_s)
            self._timestamp_ms = wall_ms
        self._segments.append(segment)
        self.size_bytes += segment.size_bytes
        self.memory_bytes += segment.memory_bytes

    def seal(self, limit_bytes: int, now_s: float) -> Batch | None:
        """Take out a batch of at most `limit_bytes` on the wire (one record may be larger); None if nothing is open.

        When not all fits, files give one segment each in turn, so that a quiet file is not behind a busy one.
        """
        if not self._segments:
            return None
        self._sealed_s = now_s
        room = limit_bytes - BATCH_OVERHEAD_BYTES
        if self.size_bytes <= room:
            return Batch(self.clear(), self._timestamp_ms)
        files: dict[tuple[str, bytes], list[Segment]] = {}
        for segment in self._segments:
            files.setdefault((segment.source.service, segment.source.label), []).append(segment)
        taken: list[Segment] = []
        while room > 0 and files:
            room = self._take_round(files, taken, room)
        self._segments = [segment for segments in files.values() for segment in segments]
        if not self._segments:
            self._due_s = float("inf")
        return Batch(taken, self._timestamp_ms)

    def clear(self) -> list[Segment]:
        """Give up everything that is open, of each file in order."""
        segments, self._segments = self._segments, []
        self._due_s = float("inf")
        self.size_bytes = self.memory_bytes = 0
        return segments

    def _take_round(
        self, files: dict[tuple[str, bytes], list[Segment]], taken: list[Segment], room: int
    ) -> int:
        """One segment of each file while there is room; returns the room left, 0 when the next one does not fit."""
        for path in list(files):
            segments = files[path]
            segment = segments.pop(0)
            self._count(segment, -1)
            head: Segment | None = segment
            if segment.size_bytes > room:
                head, rest = self._cut(segment, room, first=not taken)
                if rest is not None:
                    segments.insert(0, rest)
                    self._count(rest, 1)
                room = 0
            if head is not None:
                taken.append(head)
                room -= head.size_bytes
            if not segments:
                del files[path]
            if room <= 0:
                return 0
        return room

    def _count(self, segment: Segment, sign: int) -> None:
        self.size_bytes += sign * segment.size_bytes
        self.memory_bytes += sign * segment.memory_bytes

    @staticmethod
    def _cut(segment: Segment, room: int, *, first: bool) -> tuple[Segment | None, Segment | None]:
        """The part that fits and the rest; the first line of a batch always fits."""
        lines = segment.lines_within(room)
        if lines == 0 and first:
            lines = 1
        if lines == 0:
            return None, segment
        if lines == len(segment.values):
            return segment, None
        head, tail = segment.split(lines)
        return head, tail
