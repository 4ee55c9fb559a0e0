# SPDX-License-Identifier: Apache-2.0
"""Which lines a batch held that was sent to a place in the sequence: for when its fate is known. Pure."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from logagent.pipeline.batch import Batch, Segment, Source
from logagent.pipeline.render_row import RENDER_ID_BYTES
from logagent.state.intents import SegmentNote

_NO_RENDER = bytes(RENDER_ID_BYTES)


@dataclass(frozen=True, slots=True)
class Piece:
    """`[start_offset, end_offset)` of what one file held."""

    source: Source
    start_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What was sent to a slot once. `notes` are for the journal; `pieces` are those lines of it that are at hand."""

    records: int
    notes: tuple[SegmentNote, ...]
    pieces: tuple[Piece, ...]

    @staticmethod
    def of(batch: Batch, records: int, notes: tuple[SegmentNote, ...]) -> "Cut":
        """What is left of a batch that was sent with so many records."""
        pieces = (Piece(one.source, one.start_offset, one.end_offset) for one in batch.segments)
        return Cut(records, notes, tuple(pieces))

    def holds(self, segment: Segment) -> int:
        """Up to which offset the segment's lines are in the cut; its start when they are not."""
        ends = (
            piece.end_offset
            for piece in self.pieces
            if piece.source is segment.source
            and piece.start_offset <= segment.start_offset < piece.end_offset
        )
        return min(segment.end_offset, max(ends, default=segment.start_offset))


def notes_of(segments: Iterable[Segment]) -> tuple[SegmentNote, ...]:
    """What the journal has of them."""
    return tuple(
        SegmentNote(
            one.source.service,
            one.source.identity,
            one.start_offset,
            one.end_offset,
            len(one.values),
            _NO_RENDER if one.render is None else one.render.id,
            one.source_crc,
            max(0, one.hashed_bytes),
        )
        for one in segments
    )


def divide(cut: Cut, batches: Iterable[Batch]) -> tuple[list[Segment], list[Batch]]:
    """The segments that are in the cut, and the batches of what is not."""
    inside: list[Segment] = []
    rest: list[Batch] = []
    for batch in batches:
        left: list[Segment] = []
        for segment in batch.segments:
            end = cut.holds(segment)
            if end == segment.end_offset:
                inside.append(segment)
                continue
            lines = _lines_before(segment, end)
            head, tail = segment.split(lines) if lines else (None, segment)
            inside += [] if head is None else [head]
            left.append(tail)
        if left:
            rest.append(Batch(left, batch.timestamp_ms))
    return inside, rest


def beyond(notes: Iterable[SegmentNote], settled: Iterable[SegmentNote]) -> list[SegmentNote]:
    """What `notes` tell of that `settled` ones do not, once per file; cuts of one place begin alike."""
    ends: dict[tuple[str, str], int] = {}
    for note in settled:
        file = note.service, note.identity
        ends[file] = max(ends.get(file, 0), note.end_offset)
    found: dict[tuple[str, str], SegmentNote] = {}
    for note in notes:
        file = note.service, note.identity
        start = max(note.start_offset, ends.get(file, 0))
        if start < note.end_offset:
            known = found.get(file)
            if known is not None:
                start = min(start, known.start_offset)
            end = max(note.end_offset, known.end_offset if known is not None else 0)
            found[file] = replace(note, start_offset=start, end_offset=end)
    return list(found.values())


def _lines_before(segment: Segment, offset: int) -> int:
    """How many lines of a segment begin before an offset that is within it; 0 when it is at its start."""
    starts = segment.starts
    if starts is None:
        starts = list(accumulate((len(value) + 1 for value in segment.values), initial=segment.start_offset))[
            :-1
        ]
    return bisect_left(starts, offset) if offset > segment.start_offset else 0
