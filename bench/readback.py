# SPDX-License-Identifier: Apache-2.0
"""Read a topic back with librdkafka: was every line exactly once there and in order, and when was it appended?"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.broker import Broker
from tests.support.checker import Report, check
from tests.support.consumer import Consumed, read_messages
from tests.support.lines import Written, parse_line

_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class ReadBack:
    """All records of a topic; iterating once feeds the checker and keeps the brokers' append times."""

    broker: Broker
    topic: str
    written: Sequence[Written]
    appended: list[tuple[str, int, int]] = field(default_factory=list)  # label, sequence, ms since 1970

    def check(self) -> Report:
        """Count, content (each line has a checksum), doubles, and order per file within a partition."""
        return check(self.written, self._records())

    def _records(self) -> Iterator[Consumed]:
        expect = sum(one.count for one in self.written)
        for message in read_messages(self.broker.address, self.topic, expect=expect, timeout_s=180):
            value = message.value()
            line = parse_line(value or b"")
            if line is not None:
                self.appended.append((*line, message.timestamp()[1]))
            yield Consumed(message.partition() or 0, message.offset() or 0, value)

    def latencies_ms(self, times_ns: "array[int]", files: int) -> list[float]:
        """Write -> append in ms, sorted; negative by less than the millisecond grain of Kafka at best."""
        return sorted(
            appended_ms - times_ns[sequence * files + int(label)] / _NS_PER_MS
            for label, sequence, appended_ms in self.appended
        )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def summary(report: Report) -> dict[str, int]:
    """What the table shows of a report."""
    return {
        "records": report.records,
        "lost": len(report.lost),
        "doubled": len(report.doubled),
        "out_of_order": len(report.out_of_order),
        "corrupt": len(report.corrupt) + len(report.foreign),
    }
