# SPDX-License-Identifier: Apache-2.0
"""What the side that reads may know of the side that sends."""

from dataclasses import dataclass, field
from typing import Protocol

from logagent.pipeline.batch import Segment


@dataclass(slots=True)
class Route:
    """Where the lines of one file go. The outlet chooses `partition` when the topic's partitions are first known.

    In `place` it may remember what it knows of the way there. `service` is whose lines they are.
    """

    topic: str
    partition_key: int
    partition: int | None = None
    service: str = ""
    place: object = field(default=None, compare=False, repr=False)


class Outlet(Protocol):
    """Takes segments and sees to it that they arrive."""

    def wait_room(self, route: Route, timeout_s: float) -> str:
        """Block until a segment may be put: "" then; otherwise, after `timeout_s`, why not (for people to read)."""

    def has_room(self, route: Route) -> bool:
        """Whether a segment may be put now."""

    def put(self, route: Route, segment: Segment) -> None:
        """Hand a segment over. Never blocks."""

    def bury(self, route: Route, segment: Segment, reason: str, line_bytes: int) -> None:
        """Write the one record of a segment to the dead-letter file, not to Kafka. Never blocks.

        `reason`, one of a few, becomes a label; `line_bytes` says how long the line is that the record begins.
        """
