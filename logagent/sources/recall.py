# SPDX-License-Identifier: Apache-2.0
"""What an earlier process may have sent of the files: held until it is known, and built again on the files themselves.

A file that intents name is opened and not read. Once its lines have been built again they are on their way like any
others; reading goes on behind them, and where something lies between them that nobody sent yet (`pipeline.acks.Gap`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from logagent.errors import StateError
from logagent.pipeline.acks import Gap
from logagent.pipeline.batch import Segment, Source
from logagent.pipeline.render import HeaderEncoder, Render
from logagent.pipeline.render_row import RenderRow
from logagent.sources.grounding import Grounding
from logagent.sources.laying import Layer, Piece, go_on, pieces_of
from logagent.sources.opening import Opened
from logagent.sources.tailed_file import TailedFile
from logagent.state.changes import FileId
from logagent.state.intents import IntentRecord, PartitionKey, SegmentNote
from logagent.state.positions import PositionBook


def rows_of(*stored: Mapping[bytes, bytes]) -> dict[bytes, RenderRow]:
    """The stored renders (id to document) of this release; others are left out."""
    rows = {}
    for documents in stored:
        for row_id, document in documents.items():
            try:
                rows[row_id] = RenderRow.from_document(document, row_id)
            except StateError:
                continue  # what names it cannot be built again, which is told then
    return rows


@dataclass(frozen=True, slots=True)
class Built:
    """What has become of an intent's segments.

    `segments`: of the current cut, those that could be built, in order. `beyond`: of lines that only earlier cuts held.
    `vanished`, `vanished_beyond`: what could not be built. If the bytes are there nevertheless, the file is not read
    before `advance` or `release` says what is to become of them. `reached`: positions say that these were acknowledged.
    `sources`: the files, by what notes call them; their identity may be another one by now.
    """

    segments: list[Segment]
    beyond: list[Segment]
    vanished: tuple[SegmentNote, ...]
    vanished_beyond: tuple[SegmentNote, ...]
    reached: tuple[SegmentNote, ...]
    sources: Mapping[FileId, Source]


@dataclass(slots=True, eq=False)
class _Recalled:
    """A file of which something is known. `settled`: delivered parts behind something that perhaps was not."""

    settled: list[SegmentNote] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    file: TailedFile | None = None
    laid: bool = False

    @property
    def open(self) -> TailedFile | None:
        """The file, while it is read."""
        return self.file if self.file is not None and not (self.file.closed or self.file.retired) else None


class Recall:
    """`settle` and `hold` before any file is opened, in that order; `build` for each intent once it is `ready`.

    `open_` opens a path, `wake` sees to it that a file is read.
    `on_news()` is called when another file is open, and when all entries have been looked at.
    """

    def __init__(
        self,
        book: PositionBook,
        open_: Callable[[bytes], Opened | None],
        wake: Callable[[TailedFile], None],
        encode_headers: HeaderEncoder,
    ) -> None:
        self._book = book
        self._wake = wake
        self.encode_headers = encode_headers
        self._ground = Grounding(book, open_)
        self._files: dict[FileId, _Recalled] = {}
        self._other_ids: dict[FileId, FileId] = {}
        self._intents: dict[PartitionKey, list[Piece]] = {}
        self._renders: dict[bytes, Render] = {}
        self.scanned = False
        self.on_news: Callable[[], None] = lambda: None

    # -- before files are opened --------------------------------------------------------------------------------------

    def settle(self, notes: Iterable[SegmentNote], rows: Mapping[bytes, RenderRow]) -> None:
        """What was delivered when the agent ended, oldest first. Lets other greenlets run."""
        files: dict[FileId, list[SegmentNote]] = {}
        for note in notes:
            files.setdefault((note.service, note.identity), []).append(note)
        for file_id, its in files.items():
            rest = self._ground.settle(file_id, its, rows)
            if rest:
                self._recalled(file_id).settled += rest

    def hold(self, intents: Collection[IntentRecord], rows: Mapping[bytes, RenderRow]) -> None:
        """What may have been delivered: the files are opened when they are found, and not read."""
        for intent in intents:
            self._intents[intent.key] = pieces = list(pieces_of(intent))
            for piece in pieces:
                note = piece.note
                piece.reached = self._ground.reached(note)
                if not piece.reached:
                    self._recalled((note.service, note.identity)).pieces.append(piece)
        for file_id, known in self._files.items():
            if known.pieces:
                first = min(known.pieces, key=attrgetter("start_offset")).note
                self._ground.begin(file_id, first, rows.get(first.render_id))
        self._keep_renders({piece.note.render_id for its in self._intents.values() for piece in its}, rows)

    # -- while files are opened ---------------------------------------------------------------------------------------

    def opened(self, file: TailedFile) -> None:
        """A file is open and will be read. Raises OSError."""
        known = self._files.get((file.service, file.identity))
        if known is None or known.open is not None or known.laid or not (known.pieces or known.settled):
            return
        known.file = file
        if known.pieces:
            file.held = True
            self.on_news()
        else:
            self._lay(known, {})
            self._let_go(known)

    def moved(self, old: FileId, new: FileId) -> None:
        """A file has another identity now, or its bytes are in another file."""
        if old in self._files:
            self._files[new] = self._files.pop(old)
            self._other_ids[old] = new

    def scan_over(self) -> None:
        """All entries were looked at once: a file that was not found is not there."""
        self.scanned = True
        self.on_news()

    def ready(self, intent: IntentRecord) -> bool:
        """Whether all that can be built of an intent can be built now."""
        pieces = self._intents.get(intent.key, ())
        return self.scanned or all(map(self._is_here, pieces))

    def build(self, intent: IntentRecord, rows: Mapping[bytes, RenderRow]) -> Built:
        """Put an intent's lines on their way again: they count as read, and nobody but the caller has them."""
        built = Built([], [], (), (), (), sources := {})
        pieces = self._intents.pop(intent.key, [])
        for piece in pieces:
            known = self._of(piece.note)
            if known is not None:
                self._lay(known, rows)
            if piece.segment is not None:
                (built.segments if piece.current else built.beyond).append(piece.segment)
                sources[piece.note.service, piece.note.identity] = piece.segment.source
            piece.taken = True
        for known in self._concerned(pieces):
            self._let_go(known)
        lost = [one for one in pieces if one.segment is None and not one.reached]
        return Built(
            built.segments,
            built.beyond,
            tuple(one.note for one in lost if one.current),
            tuple(one.note for one in lost if not one.current),
            tuple(one.note for one in pieces if one.reached and one.current),
            sources,
        )

    # -- what is decided about lines that could not be built ----------------------------------------------------------

    def advance(self, note: SegmentNote) -> None:
        """What a note tells of was delivered, and its lines are not at hand: they are not read again."""
        known = self._of(note)
        if known is None or known.open is None:
            self._ground.delivered(note, self._id(note))
        for piece in [] if known is None else [one for one in known.pieces if one.meets(note)]:
            if piece.gap is not None:
                piece.gap.done = True
            elif known is not None and not known.laid:
                known.settled.append(piece.note)
            piece.taken = True
        if known is not None:
            self._let_go(known)

    def release(self, notes: Iterable[SegmentNote]) -> None:
        """Nobody will find out about these any more: what is there of them is read as if it had never been sent."""
        concerned: dict[_Recalled, None] = {}
        for note in notes:
            known = self._of(note)
            for piece in [] if known is None else [one for one in known.pieces if one.meets(note)]:
                if known is not None:
                    self._give_up(known, piece)
                    concerned[known] = None
        for known in concerned:
            self._let_go(known)

    def _give_up(self, known: _Recalled, piece: Piece) -> None:
        if piece.segment is not None and not piece.taken and known.file is not None:
            known.file.acks.replace(piece.segment, (Gap(piece.start_offset, piece.end_offset),))
            piece.segment = None
        piece.gap, piece.taken = None, True

    # -- how it is done -----------------------------------------------------------------------------------------------

    def _id(self, note: SegmentNote) -> FileId:
        file_id = note.service, note.identity
        return self._other_ids.get(file_id, file_id)

    def _recalled(self, file_id: FileId) -> _Recalled:
        return self._files.setdefault(file_id, _Recalled())

    def _of(self, note: SegmentNote) -> _Recalled | None:
        return self._files.get(self._id(note))

    def _is_here(self, piece: Piece) -> bool:
        known = self._of(piece.note)
        return piece.reached or known is None or known.file is not None

    def _concerned(self, pieces: Iterable[Piece]) -> list[_Recalled]:
        known = (self._of(one.note) for one in pieces)
        return list(dict.fromkeys(one for one in known if one is not None))

    def _keep_renders(self, needed: set[bytes], rows: Mapping[bytes, RenderRow]) -> None:
        for row_id in needed & rows.keys():
            self._book.render(row_id, rows[row_id].document())
        paths = {(position.service, position.path) for position in self._book.all()}
        self._book.forget_renders(
            row_id
            for row_id, row in rows.items()
            if row_id not in needed and (row.service, row.path) not in paths
        )

    def _lay(self, known: _Recalled, rows: Mapping[bytes, RenderRow]) -> None:
        """Put everything that is known of a file into its tracker, one behind the other."""
        file = known.open
        if file is None or known.laid:
            return
        known.laid = True
        Layer(file, self._render_of, rows).lay(known.settled, known.pieces)

    def _render_of(self, row: RenderRow) -> Render:
        return self._renders.setdefault(row.id, Render(row, self.encode_headers))

    def _let_go(self, known: _Recalled) -> None:
        """Have a file read on, if everything about it is decided."""
        known.pieces = [
            one for one in known.pieces if not one.taken or (one.gap is not None and not one.gap.done)
        ]
        file = known.open
        if known.pieces or file is None:
            return
        self._lay(known, {})
        file.acks.advance()
        go_on(file)
        self._book.touch(file)
        self._wake(file)
