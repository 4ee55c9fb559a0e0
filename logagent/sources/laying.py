# SPDX-License-Identifier: Apache-2.0
"""Puts what an earlier process sent of a file, and perhaps nobody got, on its way again: onto the file as it is now."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from logagent.pipeline.acks import AckTracker, Gap
from logagent.pipeline.batch import NOT_HASHED, Segment
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render import Render
from logagent.pipeline.render_row import RenderRow
from logagent.sources import resume
from logagent.sources.identity import Tails
from logagent.sources.rebuilding import clipped, records_of, source_of
from logagent.sources.tailed_file import TailedFile
from logagent.state.changes import FileId
from logagent.state.intents import IntentRecord, SegmentNote


@dataclass(slots=True, eq=False)
class Piece:
    """`[start_offset, end_offset)`, of a note of the current cut all of it, of another one what no later cut holds."""

    note: SegmentNote
    start_offset: int
    end_offset: int
    current: bool
    timestamp_ms: int
    segment: Segment | None = None
    gap: Gap | None = None
    """In the file, but it could not be built."""

    reached: bool = False
    taken: bool = False

    def meets(self, note: SegmentNote) -> bool:
        """Whether they have bytes in common."""
        return self.start_offset < note.end_offset and note.start_offset < self.end_offset


class Layer:
    """Goes through one file once, which was opened and not read yet."""

    def __init__(
        self, file: TailedFile, render_of: Callable[[RenderRow], Render], rows: Mapping[bytes, RenderRow]
    ) -> None:
        self._file = file
        self._render_of = render_of
        self._rows = rows
        self._position_offset = self._end = file.read_offset

    def lay(self, settled: Iterable[SegmentNote], pieces: Collection[Piece]) -> None:
        """`settled` stays delivered, of `pieces` segments are made; what a position is behind already stays away."""
        for piece in pieces:
            piece.reached = piece.reached or piece.end_offset <= self._position_offset
        parts: list[SegmentNote | Piece] = [*settled, *(piece for piece in pieces if not piece.reached)]
        for part in sorted(parts, key=attrgetter("start_offset")):
            if isinstance(part, SegmentNote):
                self._lay_settled(part)
            else:
                self._lay_piece(part)

    def _lay_settled(self, note: SegmentNote) -> None:
        if note.end_offset > self._end and self._source(note) is not None:
            self._leave_gap(note.start_offset)
            self._add(Gap(self._end, note.end_offset, done=True))

    def _lay_piece(self, piece: Piece) -> None:
        note = piece.note
        proved = bool(note.hashed_bytes) or note.start_offset == self._end
        data = self._source(note) if proved else None
        if data is None or not self._begins_free(piece):
            return  # other bytes stand there, or they are somebody else's
        self._leave_gap(piece.start_offset)
        chunk = self._records(note, data)
        if chunk is None:
            piece.gap = Gap(piece.start_offset, piece.end_offset)
            self._add(piece.gap)
        else:
            piece.segment = self._segment(piece, chunk)
            self._file.counts.lines_read += len(piece.segment.values)
            self._add(piece.segment)

    def _begins_free(self, piece: Piece) -> bool:
        if piece.start_offset < self._end == self._position_offset and not self._file.acks.pending:
            # The position is within the segment: what the journal says counts.
            self._file.acks = AckTracker(piece.start_offset)
            self._end = piece.start_offset
        return piece.start_offset >= self._end

    def _segment(self, piece: Piece, chunk: Chunk) -> Segment:
        note = piece.note
        render = self._render_of(self._rows[note.render_id])
        whole = (piece.start_offset, piece.end_offset) == (note.start_offset, note.end_offset)
        if whole:
            hashed = note.source_crc, note.hashed_bytes
        else:
            hashed = 0, NOT_HASHED
            chunk = clipped(chunk, piece.start_offset, piece.end_offset)
        return render.segment(self._file, chunk, piece.timestamp_ms, *hashed)

    def _leave_gap(self, offset: int) -> None:
        if offset > self._end:
            self._add(Gap(self._end, offset))

    def _add(self, span: Segment | Gap) -> None:
        self._file.acks.add(span)
        self._end = span.end_offset

    def _source(self, note: SegmentNote) -> bytes | None:
        try:
            return source_of(note, self._file.descriptor)
        except OSError:
            return None

    def _records(self, note: SegmentNote, data: bytes) -> Chunk | None:
        row = self._rows.get(note.render_id)
        try:
            return None if row is None else records_of(note, data, row, self._file.descriptor)
        except OSError:
            return None


def go_on(file: TailedFile) -> None:
    """Read on behind what is on its way, and before that what lies between."""
    acks = file.acks
    gaps = acks.gaps
    ends = [*(gap.start_offset for gap in gaps[1:]), acks.end_offset]
    file.skips = [(gap.end_offset, end) for gap, end in zip(gaps, ends, strict=True)] if gaps else []
    file.read_offset = file.scanned_offset = gaps[0].start_offset if gaps else acks.end_offset
    file.tails = Tails(file.read_offset, resume.tail_at(file.descriptor, file.read_offset))
    file.may_be_copy = file.may_be_copy and not file.read_offset
    file.held = False


def pieces_of(intent: IntentRecord) -> Iterator[Piece]:
    """The parts of an intent, each line once: what several cuts hold is of the current one, else of the first."""
    covered: dict[FileId, list[tuple[int, int]]] = {}
    for current, notes in [(True, intent.segments), *((False, cut.segments) for cut in intent.earlier_cuts)]:
        for note in notes:
            taken = covered.setdefault((note.service, note.identity), [])
            for start, end in _without(note.start_offset, note.end_offset, taken):
                yield Piece(note, start, end, current, intent.max_timestamp_ms)
                taken.append((start, end))


def _without(start: int, end: int, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of `[start, end)` is in none of the ranges."""
    left = []
    for taken_start, taken_end in sorted(taken):
        if start < min(taken_start, end):
            left.append((start, min(taken_start, end)))
        start = max(start, taken_end)
    return [*left, (start, end)] if start < end else left
