# SPDX-License-Identifier: Apache-2.0
"""One generation of a log file that is being read: its descriptor, how far it was read, how far it is acknowledged."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gevent import Greenlet

from logagent.pipeline.acks import AckTracker
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.outlet import Route
from logagent.pipeline.render import Render
from logagent.sources.handles import BOOT_ID
from logagent.sources.identity import HEAD_BYTES, TAIL_BYTES, Head, Tails, digest, starts, starts_alike
from logagent.sources.line_reader import LineReader
from logagent.sources.moment import Moment
from logagent.sources.opening import Opened
from logagent.sources.rotation import FileKey
from logagent.state.positions import Position

LINE_BYTES_GUESS = 256

PAGE_BYTES = 4096


@dataclass(slots=True)
class ServiceCounts:
    """Since the agent started."""

    lines_read: int = 0
    lines_acked: int = 0


@dataclass(slots=True, eq=False)
class TailedFile:
    """Implements `pipeline.batch.Source`. `label` is the path under which the generation was first seen: it names the
    file in messages and chooses its partition, also after a rename.
    """

    service: str
    log_path: str
    label: bytes
    path: bytes
    real_path: bytes
    key: FileKey
    identity: str
    descriptor: int
    read_offset: int
    route: Route
    render: Render
    counts: ServiceCounts
    on_acked: Callable[["TailedFile"], None]
    on_rewind: Callable[["TailedFile"], None]
    on_lost: Callable[["TailedFile", int], None]
    last_growth_s: float
    tail: bytes = b""
    """What stands before `read_offset`, as far as it is known when reading begins."""
    head: Head = field(default_factory=lambda: Head.of(b""))
    starts: bytes = b""
    """Of the head, to know copies that are shorter."""

    predecessor: "TailedFile | None" = None
    may_be_copy: bool = False
    """Nothing of it was read and nobody has compared it with files beside it yet, or one of these may be copied."""
    originals: list["TailedFile"] | None = None
    """Files of which this one may be a copy that is not finished; None: nobody has looked."""
    alike: frozenset["TailedFile"] = frozenset()
    """Those of them that began like this one when they were compared."""

    compared_bytes: int = 0
    acks: AckTracker = field(init=False)
    scanned_offset: int = field(init=False)
    tails: Tails = field(init=False)
    scanned_tail: tuple[int, bytes] = (-1, b"")
    """An offset in a line that has not ended yet, and what stands before it."""
    seen_bytes: int = 0
    """The largest size that was seen."""
    found_s: float = field(init=False)
    found_at_s: float = field(default_factory=time.time)
    """By the wall clock, to be compared with the times of other files."""
    lines: LineReader = field(default_factory=LineReader)
    line_bytes: int = LINE_BYTES_GUESS
    left_path_s: float | None = None
    unpacked: bool = False
    """It stands for a compressed one, which is not looked at again when all of it is read."""
    closed: bool = False
    retired: bool = False
    held: bool = False
    """It is not read yet: lines of it may have been sent by an earlier process (`sources.recall`)."""

    skips: list[tuple[int, int]] = field(default_factory=list)
    """Ranges behind `read_offset` that were handed on already."""

    beside: bool = False
    """A file with a name that rotation gives came up beside it: perhaps a generation of which nothing was seen."""

    begun_at_s: float = math.inf
    """When the first line was read, if that was the first of the file, by the wall clock."""

    heir: "TailedFile | None" = None
    dirty: bool = False
    tailing: bool = False
    greenlet: Greenlet | None = None
    caught_up: Moment = field(default_factory=Moment)
    state: str = "idle"
    reason: str = ""

    def __post_init__(self) -> None:
        self.acks = AckTracker(self.read_offset)
        self.scanned_offset = self.read_offset
        self.tails = Tails(self.read_offset, self.tail)
        self.found_s = self.last_growth_s

    def position(self) -> Position:
        """Up to where it is acknowledged now (`state.positions.Positioned`)."""
        return Position(
            self.service,
            self.identity,
            self.log_path,
            self.label,
            self.acks.acked_offset,
            self.head.size_bytes,
            self.head.digest,
            marker_digest=self._marker_digest(),
            size_bytes=max(self.seen_bytes, self.read_offset),
            boot_id=BOOT_ID,
        )

    def _marker_digest(self) -> bytes:
        """The hash of what stands before the acknowledged offset; empty when that cannot be said for certain."""
        offset = self.acks.acked_offset
        tail = self.tails.at(offset)
        self.tails.settle(offset)
        if tail is None and not (self.closed or self.retired):
            try:
                tail = os.pread(self.descriptor, TAIL_BYTES, max(0, offset - TAIL_BYTES))
                tail = tail if self.intact() and len(tail) == min(TAIL_BYTES, offset) else None
            except OSError:
                tail = None  # what cannot be read now is not proved; the position is right nevertheless
        return digest(tail) if tail else b""

    @property
    def readable_again(self) -> bool:
        """Whether bytes that were read are still in the file (`pipeline.batch.Source`)."""
        return not self.retired

    def source_bytes(self, start_offset: int, end_offset: int) -> bytes | None:
        """Bytes that were handed on before; None when they cannot be read any more (`pipeline.batch.Source`)."""
        reading = self.holder
        if reading.closed or reading.retired:
            return None
        try:
            data = os.pread(reading.descriptor, end_offset - start_offset, start_offset)
            return data if len(data) == end_offset - start_offset and reading.intact() else None
        except OSError:
            return None

    def acked(self, lines: int) -> None:
        """Some segments were acknowledged (`pipeline.batch.Source`)."""
        self.counts.lines_acked += lines
        self.on_acked(self)

    def live_on(self, opened: Opened) -> None:
        """The file was emptied, and a copy has all its bytes: they are read there from now on."""
        self.descriptor, self.key, self.identity = opened.descriptor, opened.key, opened.identity
        self.real_path, self.seen_bytes = opened.real_path, opened.size_bytes
        if opened.size_bytes < self.head.size_bytes:  # the head grew after the copy was made
            self.head = Head.of(b"")
            self.grow_head()
        self.scanned_offset = self.read_offset
        self.lines.advanced()
        self.caught_up.clear()
        self.beside = False  # what is beside comes after it

    def skip_to(self, offset: int, tail: bytes) -> None:
        """Everything before `offset` was delivered from another file."""
        self.read_offset = self.scanned_offset = offset
        self.acks = AckTracker(offset)
        self.tails = Tails(offset, tail)

    def rewind(self, offset: int) -> None:
        """Unsent lines from `offset` on were dropped: read them again (`pipeline.batch.Source`)."""
        if self.heir is not None:
            self.heir.rewind(offset)
            return
        if self.retired:
            lost_bytes, self.read_offset = self.read_offset - offset, offset
            self.on_lost(self, lost_bytes)
            return
        self.read_offset = self.scanned_offset = offset
        self.lines.advanced()
        self.tails.back_to(offset)
        # The next generation of the path, of which lines may have been dropped too, must wait for this one once more.
        self.caught_up.clear()
        self.on_rewind(self)

    @property
    def holder(self) -> "TailedFile":
        """Who reads the file now: this object, or the last of its heirs."""
        return self if self.heir is None else self.heir.holder

    def is_same_as(self, file: "TailedFile") -> bool:
        """Whether `file`, under the same inode, holds the lines of this one that are on their way."""
        data = os.pread(file.descriptor, HEAD_BYTES, 0)
        unchanged = self.head.fits(data) and file.read_offset == self.acks.acked_offset
        unchanged = unchanged and not self.skips
        return self.acks.pending and unchanged and file.size_bytes() >= self.acks.end_offset

    def bequeath(self, heir: "TailedFile") -> None:
        """The same file is read again while lines of this object are on their way: go on behind them."""
        self.heir = heir
        heir.acks = self.acks
        heir.tails = self.tails
        heir.tails.back_to(self.acks.end_offset)
        heir.read_offset = heir.scanned_offset = self.acks.end_offset

    def is_next(self, now_s: float, late_s: float) -> bool:
        """Whether the generation before this one, if any, is read to its end.

        For `late_s` after this one was found, what is still written to the one before counts too: a writer that has not
        noticed the rotation wrote it before whatever stands here.
        """
        before = self.predecessor
        if before is None:
            return True
        if not before.caught_up.is_set():
            return False
        late = now_s - self.found_s < late_s
        if before.closed or before.retired or not (late or before.acks.pending):
            self.predecessor = None  # nothing of it can come back to be read again
        elif late and before.scanned_offset < before.size_bytes():
            before.caught_up.clear()
            before.on_rewind(before)
            return False
        return True

    def waits_for(self, other: "TailedFile") -> bool:
        """Whether another file comes before this one, or before one that does."""
        before = self.predecessor
        while before is not None and before is not other:
            before = before.predecessor
        return before is other

    def advance(self, end_offset: int, data: bytes, offset: int) -> None:
        """Everything before `end_offset` has been handed on; `data` was read at `offset`."""
        tail = self._tail(end_offset, data, offset)
        if not self.read_offset:
            self.begun_at_s = time.time()
        self.read_offset = self.scanned_offset = end_offset
        self.lines.advanced()
        self.tails.add(end_offset, tail, self.acks.acked_offset)
        if self.skips:
            self.skip()

    def before_skip(self, chunk: Chunk) -> Chunk:
        """As much of a chunk as was not handed on already."""
        limit = self.skips[0][0]
        if chunk.end_offset <= limit:
            return chunk
        chunk = chunk.first(sum(1 for start in chunk.line_starts() if start < limit))
        return replace(chunk, end_offset=min(limit, chunk.end_offset))

    def skip(self) -> None:
        """Go on behind what was handed on already. Raises OSError."""
        while self.skips and self.skips[0][0] <= self.read_offset:
            self.read_offset = self.scanned_offset = max(self.read_offset, self.skips.pop(0)[1])
            begin = max(0, self.read_offset - TAIL_BYTES)
            tail = os.pread(self.descriptor, self.read_offset - begin, begin)
            self.tails.add(self.read_offset, tail, self.acks.acked_offset)

    @property
    def look_offset(self) -> int:
        """Where to read next: after a long unfinished line only what is new, after a short one all of it again."""
        return self.lines.look_offset(self.read_offset, self.scanned_offset)

    def scan(self, end_offset: int, data: bytes, offset: int) -> None:
        """No line ended before `end_offset` in `data`, read at `offset`."""
        tail = self._tail(end_offset, data, offset)
        self.scanned_tail = end_offset, tail
        self.scanned_offset = end_offset

    def _tail(self, end_offset: int, data: bytes, offset: int) -> bytes:
        end = end_offset - offset
        if not 0 < end <= len(data):
            return b""
        if end >= TAIL_BYTES:
            return data[end - TAIL_BYTES : end]
        known, before = self.tails.newest
        if offset == self.scanned_tail[0]:
            before = self.scanned_tail[1]
        elif offset != known:
            before = b""
        return (before + data[:end])[-TAIL_BYTES:]

    def read_as(self, lines: LineReader) -> None:
        """From the next record on the bytes are read in another way."""
        self.lines = lines
        self.scanned_offset = self.read_offset

    def look_again(self) -> None:
        """The file may have been written to: zeros at its end may have been filled."""
        if self.lines.zeros_offset is not None:
            self.scanned_offset = self.lines.look_again(self.scanned_offset)

    def size_bytes(self) -> int:
        """How long the file is now; 0 when it cannot be seen any more."""
        if self.closed:
            return self.acks.acked_offset
        size_bytes = os.fstat(self.descriptor).st_size
        self.seen_bytes = max(self.seen_bytes, size_bytes)
        return size_bytes

    def intact(self) -> bool:
        """Whether what was handed on still stands in the file, as far as its last bytes tell."""
        offset, tail = self.tails.newest
        scanned, before = self.scanned_tail
        if scanned == self.scanned_offset > self.read_offset and b"\0" not in before:
            offset, tail = scanned, before  # zeros may still be filled
        if os.pread(self.descriptor, len(tail), offset - len(tail)) != tail:
            return False
        if len(tail) == TAIL_BYTES or not self.head.size_bytes:
            return True
        return self.head.fits(os.pread(self.descriptor, self.head.size_bytes, 0))

    def read(self, count: int, offset: int, together: bool) -> bytes | None:
        """Bytes from `offset` on; None when the file was emptied and what stands there now was not read before.

        The data are read first and the last known bytes after them: what a file held before it was emptied does not
        come back, so whatever was read before these bytes were found unchanged belonged to the file as it was.
        `together` brings both in one call, which is cheaper where little is expected; a page is read in one piece.
        """
        known, tail = self.tails.newest
        if not (together and offset == known and len(tail) == TAIL_BYTES):
            data = os.pread(self.descriptor, count, offset)
            return data if self.intact() else None
        data = os.pread(self.descriptor, TAIL_BYTES + count, offset - TAIL_BYTES)
        if not data.startswith(tail) or (len(data) > PAGE_BYTES and not self.intact()):
            return None
        return data[TAIL_BYTES:]

    def was_emptied(self, size_bytes: int, seen_bytes: int) -> bool:
        """Whether the file, now `size_bytes` long, lost what was read of it or all of it. Raises OSError."""
        if size_bytes < self.read_offset:
            return True
        return size_bytes < seen_bytes and (not size_bytes or not self.intact())

    def stands(self) -> bool:
        """Whether it is open and certainly holds what was read of it: else what lies beside it may be its copy."""
        try:
            return not self.closed and self.intact()
        except OSError:
            return False

    @property
    def seen_from_start(self) -> bool:
        """Whether its first line was read since it was found, or none of it yet."""
        return not self.read_offset or self.begun_at_s < math.inf

    def links(self) -> int:
        """How many names the file has; 0 = it was deleted and lives only as long as the descriptor."""
        return os.fstat(self.descriptor).st_nlink

    def grow_head(self, data: bytes = b"") -> None:
        """Hash the first bytes again while there are fewer of them than a whole head.

        `data`: they were just read from the beginning. The file itself may have been emptied since.
        """
        if self.head.size_bytes < HEAD_BYTES and not self.closed:
            data = data[:HEAD_BYTES] or os.pread(self.descriptor, HEAD_BYTES, 0)
            data = data.rstrip(b"\0")  # zeros may still be filled
            if len(data) > self.head.size_bytes and self.head.fits(data):
                self.head, self.starts = Head.of(data), starts(data)
            # else it was emptied, which whoever reads it finds out

    def is_begun_by(self, descriptor: int, size_bytes: int) -> bool:
        """Whether another file of this size begins as this one did. Raises OSError."""
        data = os.pread(descriptor, min(HEAD_BYTES, size_bytes), 0)
        if len(data) < self.head.size_bytes:
            return starts_alike(self.starts, data)
        return self.head.size_bytes > 0 and self.head.fits(data)

    def stands_in(self, descriptor: int) -> bool:
        """Whether the last bytes that were read of this file stand in another one at the same place. Raises OSError."""
        offset, tail = self.tails.newest
        return os.pread(descriptor, len(tail), offset - len(tail)) == tail

    def close(self) -> None:
        """Let the descriptor go."""
        if not self.closed:
            self.closed = True
            self.state = "closed"
            self.caught_up.set()
            os.close(self.descriptor)
