# SPDX-License-Identifier: Apache-2.0
"""What is kept of a file, and what has changed since it was last written. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

FileId = tuple[str, str]
"""(service, identity): what there is one position of."""

STARTED_OVER = -1

MARK_EVERY_BYTES = 1024 * 1024
MARK_EVERY_S = 60.0

MARKS_PER_FILE = 64
NEWEST_MARKS = 16
"""These are kept side by side; of the older ones every second goes when there are too many."""


@dataclass(frozen=True, slots=True)
class Position:
    """Everything of a file before `offset` is acknowledged.

    `identity` is opaque text with a kind in front; `path` the label of the file (bytes as on disk); `log_path` the
    entry through which it was found; `head_bytes` and `head_digest` describe how the file begins; `marker_digest` the
    32 bytes before `offset`, empty if nobody looked; `size_bytes` is the size last seen, `boot_id` the boot of the
    machine in which it was; `gone_since_s` (seconds since 1970) is when the file was first found missing, 0 if it is
    not. Everything before `delivered_offset` is acknowledged, too, if that is larger; but nobody could look into the
    file then, so that head and marker prove it up to `offset` only. `STARTED_OVER`: it is to be read once more.
    """

    service: str
    identity: str
    log_path: str
    path: bytes
    offset: int
    head_bytes: int
    head_digest: bytes
    marker_digest: bytes = b""
    size_bytes: int = 0
    boot_id: str = ""
    gone_since_s: int = 0
    delivered_offset: int = 0

    @property
    def id(self) -> FileId:
        """What there is one position of."""
        return self.service, self.identity

    def offset_in(self, size_bytes: int) -> int:
        """Where to go on in the file of the position if it has so many bytes now."""
        return self.delivered_offset if self.offset < self.delivered_offset <= size_bytes else self.offset


@dataclass(frozen=True, slots=True)
class Mark:
    """At `time_s` (seconds since 1970) a file was read up to `offset`, with this digest of the 32 bytes before it."""

    service: str
    identity: str
    offset: int
    time_s: int
    digest: bytes

    @property
    def id(self) -> FileId:
        """The file that it is a mark of."""
        return self.service, self.identity


def mark_due(grown_bytes: int, passed_s: float) -> bool:
    """Whether a file of which so much was acknowledged since its last mark gets another one."""
    return grown_bytes >= MARK_EVERY_BYTES or passed_s >= MARK_EVERY_S


def surplus(marks: Iterable[Mark]) -> list[Mark]:
    """The marks of one file that may go, so that at most `MARKS_PER_FILE` stay: the older, the sparser."""
    kept = sorted(marks, key=lambda mark: mark.offset)
    gone = []
    while len(kept) > MARKS_PER_FILE:
        gone += kept[1:-NEWEST_MARKS:2]
        kept = [*kept[:-NEWEST_MARKS:2], *kept[-NEWEST_MARKS:]]
    return gone


@dataclass(slots=True)
class Changes:
    """Written in one transaction: first what is forgotten, then what has another identity, then what is new."""

    positions: dict[FileId, Position] = field(default_factory=dict)
    marks: dict[FileId, list[Mark]] = field(default_factory=dict)
    forgotten: set[FileId] = field(default_factory=set)
    unmarked: set[FileId] = field(default_factory=set)
    moved: dict[FileId, FileId] = field(default_factory=dict)
    renders: dict[bytes, bytes] = field(default_factory=dict)
    """Documents by their ids (`pipeline.render_row`)."""

    renders_forgotten: set[bytes] = field(default_factory=set)
    journal_sequence: int = 0
    """Of the newest record of the journal when these were collected; 0: nobody knows."""

    def __bool__(self) -> bool:
        files = self.positions or self.marks or self.forgotten or self.unmarked or self.moved
        return bool(files or self.renders or self.renders_forgotten)

    def note(self, position: Position) -> None:
        """The position as it is now."""
        self.positions[position.id] = position

    def mark(self, mark: Mark) -> None:
        """One more mark of a file; bounded, however long nothing can be written."""
        marks = self.marks.setdefault(mark.id, [])
        marks.append(mark)
        if len(marks) > MARKS_PER_FILE:
            gone = set(surplus(marks))
            self.marks[mark.id] = [kept for kept in marks if kept not in gone]

    def unmark(self, file_id: FileId) -> None:
        """The marks of a file are void: it is another generation of bytes now."""
        self.marks.pop(file_id, None)
        self.unmarked |= {file_id, *self._sources_of(file_id)}

    def forget(self, file_id: FileId) -> None:
        """Neither position nor marks stay."""
        self.positions.pop(file_id, None)
        self.marks.pop(file_id, None)
        self.forgotten |= {file_id, *self._sources_of(file_id)}

    def move(self, old: FileId, new: FileId) -> None:
        """The same file has another identity; marks go with it, and so does the position if it is not noted anew."""
        position, marks = self.positions.pop(old, None), self.marks.pop(old, [])
        if position is not None:
            self.positions.setdefault(new, replace(position, identity=new[1]))
        for mark in marks:
            self.mark(replace(mark, identity=new[1]))
        for source in self._sources_of(old):
            self.moved[source] = new
        self.moved[old] = new

    def follow(self, later: "Changes") -> None:
        """Add what came after these, when these could not be written."""
        self.journal_sequence = max(self.journal_sequence, later.journal_sequence)
        self.renders_forgotten |= later.renders_forgotten
        self.renders = {
            one: document for one, document in self.renders.items() if one not in later.renders_forgotten
        } | later.renders
        for file_id in later.forgotten:
            self.forget(file_id)
        for file_id in later.unmarked:
            self.unmark(file_id)
        for old, new in later.moved.items():
            self.move(old, new)
        for position in later.positions.values():
            self.note(position)
        for marks in later.marks.values():
            for mark in marks:
                self.mark(mark)

    def _sources_of(self, file_id: FileId) -> list[FileId]:
        return [old for old, new in self.moved.items() if new == file_id]
