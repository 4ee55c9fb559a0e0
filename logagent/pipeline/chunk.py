# SPDX-License-Identifier: Apache-2.0
"""The unit that travels: whole lines of one file, with the bytes of the file that they cover. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines of `[start_offset, end_offset)` without their line ends; blank lines are covered but not listed.

    `starts[i]` is where line i begins in the file. None says that the lines lie back to back from `start_offset`, each
    followed by one newline: the usual case, in which nothing per line has to be kept.
    """

    start_offset: int
    end_offset: int
    values: Sequence[bytes]
    starts: Sequence[int] | None = None
    cuts: tuple[tuple[int, int], ...] = ()
    """Which lines were cut, and how many bytes each lost."""

    holes: tuple[tuple[int, int], ...] = ()
    """Bytes that nobody wrote: before which line they lie (the number of lines: behind the last), and how many."""

    dead_bytes: int = 0
    """Not 0: there is one line, so long; `values` holds its beginning, and it goes to the dead-letter file."""

    def line_starts(self) -> Sequence[int]:
        """Where each line begins in the file."""
        if self.starts is not None:
            return self.starts
        starts = accumulate((len(value) + 1 for value in self.values), initial=self.start_offset)
        return list(starts)[: len(self.values)]

    def first(self, lines: int) -> "Chunk":
        """The chunk cut before line `lines`; covers blank lines up to there."""
        if lines >= len(self.values):
            return self
        head = self.values[:lines]
        if self.starts is None:
            end_offset = self.start_offset + sum(map(len, head)) + lines
            return Chunk(self.start_offset, end_offset, head)
        cuts = tuple((index, cut_bytes) for index, cut_bytes in self.cuts if index < lines)
        holes = tuple((index, hole_bytes) for index, hole_bytes in self.holes if index <= lines)
        return Chunk(self.start_offset, self.starts[lines], head, self.starts[:lines], cuts, holes)
