# SPDX-License-Identifier: Apache-2.0
"""Counts what arrives: in order, doubled, missing, and how long it took. Pure."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from logagent.demo.ledger import Ledger
from logagent.demo.lines import parse_line

NAMED = 5  # so many of the missing and doubled lines are named
WINDOW = 20  # reports over which latencies are taken


@dataclass(slots=True)
class Tally:
    """The lines of one service, which come through one partition in order."""

    next: int = 0
    missing: set[int] = field(default_factory=set)  # jumped over
    doubled: int = 0
    out_of_order: int = 0
    first_doubled: list[int] = field(default_factory=list)

    def add(self, sequence: int) -> None:
        if sequence >= self.next:
            self.missing.update(range(self.next, sequence))
            self.next = sequence + 1
        elif sequence in self.missing:
            self.missing.remove(sequence)
            self.out_of_order += 1
        else:
            self.doubled += 1
            if len(self.first_doubled) < NAMED:
                self.first_doubled.append(sequence)

    @property
    def arrived(self) -> int:
        """Different lines."""
        return self.next - len(self.missing)


class Latencies:
    """From the writer's stamp to reception, over the last few reports."""

    def __init__(self) -> None:
        self._finished: deque[list[float]] = deque(maxlen=WINDOW)
        self._current: list[float] = []

    def add(self, ms: float) -> None:
        self._current.append(ms)

    def close_interval(self) -> tuple[float | None, float | None]:
        """(p50, p99) in ms; None without lines."""
        self._finished.append(self._current)
        self._current = []
        values = sorted(value for interval in self._finished for value in interval)
        return percentile(values, 50), percentile(values, 99)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Nearest rank of sorted values."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)] if values else None


class Checker:
    """Takes values as they come out of Kafka, and reports."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.corrupt = 0
        self._latencies: dict[str, Latencies] = {}

    def add(self, value: bytes, received_ns: int) -> None:
        line = parse_line(value)
        if line is None:
            self.corrupt += 1
            return
        self.tallies.setdefault(line.service, Tally()).add(line.sequence)
        latencies = self._latencies.setdefault(line.service, Latencies())
        latencies.add((received_ns - line.written_ns) / 1e6)

    def complete(self, ledger: Ledger) -> bool:
        """What was written last has arrived; what is missing before it does not come any more: lines come in order."""
        return ledger.done and all(
            self.tallies.get(name, Tally()).next >= written.lines for name, written in ledger.services.items()
        )

    def report(self, ledger: Ledger, *, final: bool = False) -> dict[str, Any]:
        """For the parent, as JSON."""
        services = {}
        for name in sorted({*ledger.services, *self.tallies}):
            tally = self.tallies.get(name, Tally())
            p50_ms, p99_ms = self._latencies.setdefault(name, Latencies()).close_interval()
            services[name] = {
                "arrived": tally.arrived,
                "next": tally.next,
                "lost": len(tally.missing),
                "first_lost": sorted(tally.missing)[:NAMED],
                "doubled": tally.doubled,
                "first_doubled": tally.first_doubled,
                "out_of_order": tally.out_of_order,
                "p50_ms": p50_ms,
                "p99_ms": p99_ms,
            }
        return {
            "final": final,
            "complete": self.complete(ledger),
            "corrupt": self.corrupt,
            "services": services,
        }
