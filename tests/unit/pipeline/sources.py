# SPDX-License-Identifier: Apache-2.0
"""A file as the way to Kafka sees it."""

from logagent.pipeline.acks import AckTracker
from logagent.pipeline.batch import Segment


class Source:
    """Implements `pipeline.batch.Source` and remembers what it was told."""

    def __init__(self, label: bytes = b"/var/log/a.log", service: str = "web", offset: int = 0) -> None:
        self.service = service
        self.label = label
        self.identity = "inode:1:2"
        self.log_path = "/var/log/*.log"
        self.content: bytes | None = None
        self.acks = AckTracker(offset)
        self.acknowledged: list[int] = []
        self.rewound: list[int] = []
        self.readable_again = True

    def acked(self, lines: int) -> None:
        self.acknowledged.append(lines)

    def rewind(self, offset: int) -> None:
        self.rewound.append(offset)

    def source_bytes(self, start_offset: int, end_offset: int) -> bytes | None:
        return None if self.content is None else self.content[start_offset:end_offset]

    def segment(
        self, *values: bytes, key: bytes | None = None, headers: list[bytes] | None = None
    ) -> Segment:
        """The next lines of this file, back to back; its tracker knows of them."""
        begin = self.acks.end_offset
        end = begin + sum(map(len, values)) + len(values)
        segment = Segment(self, begin, end, values, key=key, headers=headers)
        self.acks.add(segment)
        return segment
