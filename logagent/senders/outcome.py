# SPDX-License-Identifier: Apache-2.0
"""What the state machine of a partition wants to know, and what its decisions mean for the world. Pure values."""

from dataclasses import dataclass, field

from logagent.pipeline.batch import Segment
from logagent.state.intents import SegmentNote


@dataclass(frozen=True, slots=True)
class Question:
    """What must be known before anything is sent: of the leader, or (`records`) of all replicas about that cut."""

    records: int = 0


@dataclass(slots=True)
class Outcome:
    """What an action means outside of the partition. `settled_records` 0: nothing was settled."""

    settled_records: int = 0
    settled: list[Segment] = field(default_factory=list)
    buried: list[Segment] = field(default_factory=list)
    delivered: list[SegmentNote] = field(default_factory=list)
    """Not at hand, and in the log."""
    unknown: list[SegmentNote] = field(default_factory=list)
    """Not at hand, and nobody knows."""
    released: bool = False
    """The journal forgets the intent."""
    new_id: bool = False
