# SPDX-License-Identifier: Apache-2.0
"""What is found in the journal of intents at the start. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from logagent.state.intents import IntentRecord, SegmentNote


@dataclass(frozen=True, slots=True)
class Refused:
    """What was found in a file and is not a record."""

    file: Path
    start: int
    end: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: bytes {self.start} to {self.end}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Found:
    """What an earlier process left. `open`: per partition its newest intent. `settled`: what was, oldest first.

    Positions are at the ends of settled segments even if the database does not say so. `renders` are documents by their
    ids; only those that an earlier process did not save for certain. Take a `mark` when all of it is to be saved.
    """

    open: tuple[IntentRecord, ...] = ()
    settled: tuple[SegmentNote, ...] = ()
    renders: Mapping[bytes, bytes] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()
    settled_by: tuple[int, ...] = ()
    """The sequence of the record that tells each of `settled`."""

    def settled_after(self, sequence: int) -> tuple[SegmentNote, ...]:
        """Those of `settled` that positions saved with this `Journal.sequence` may not know.

        Others say nothing any more: their files may have been emptied since, and hold the same bytes once more.
        """
        told = zip(self.settled, self.settled_by, strict=True)
        return tuple(note for note, by in told if by > sequence)
