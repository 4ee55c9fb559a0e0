# SPDX-License-Identifier: Apache-2.0
"""What the screen shows at one moment, and what the end of the demo says about it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logagent.demo.ledger import Ledger, Written
from logagent.demo.lines import SERVICES


@dataclass(frozen=True, slots=True)
class ServiceCount:
    """One column of the screen; lines unless the name says something else."""

    name: str
    limit_lines_per_s: int
    written: int = 0
    acknowledged: int = 0
    arrived: int = 0  # different lines that the consumer has seen
    rate_lines_per_s: float = 0.0  # acknowledged, over the last two seconds
    files: int = 0  # that the agent has open
    rotations: int = 0
    lost: int = 0
    first_lost: Sequence[int] = ()
    doubled: int = 0
    first_doubled: Sequence[int] = ()
    out_of_order: int = 0
    beyond: int = 0  # arrived although the ledger does not know them; only at the end that means something
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def waiting(self) -> int:
        """Written, and not arrived yet."""
        return max(0, self.written - self.arrived - self.lost)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it."""

    elapsed_s: float
    services: Sequence[ServiceCount]
    broker: str  # what it is, as a phrase
    address: str
    broker_state: str = "up"
    agent_state: str = "starting"
    agent_cpu_percent: float = 0.0
    agent_rss_bytes: int = 0
    corrupt: int = 0
    agent_kills: int = 0
    broker_kills: int = 0
    complete: bool = False  # the writer has ended and its last lines have arrived
    chaos: bool = False


def count_services(
    ledger: Ledger,
    report: Mapping[str, Any],
    acknowledged: Mapping[str, int],
    files: Mapping[str, int],
    rates: Mapping[str, float],
) -> list[ServiceCount]:
    """Put together what the writer, the consumer and the agent say."""
    counts = []
    for service in SERVICES:
        noted = ledger.services.get(service.name, Written())
        seen = report.get("services", {}).get(service.name, {})
        arrived = seen.get("arrived", 0)
        # The ledger is a moment behind until the writer has ended.
        written = noted.lines if ledger.done else max(noted.lines, seen.get("next", 0))
        counts.append(
            ServiceCount(
                name=service.name,
                limit_lines_per_s=service.send_rate_lines_per_s,
                written=written,
                # What a consumer can see is acknowledged, also if the agent was killed before it could say so;
                # what an agent sent again after that it counts again.
                acknowledged=min(max(acknowledged.get(service.name, 0), arrived), written),
                arrived=arrived,
                rate_lines_per_s=rates.get(service.name, 0.0),
                files=files.get(service.name, 0),
                rotations=noted.rotations,
                lost=seen.get("lost", 0),
                first_lost=seen.get("first_lost", ()),
                doubled=seen.get("doubled", 0),
                first_doubled=seen.get("first_doubled", ()),
                out_of_order=seen.get("out_of_order", 0),
                beyond=max(0, seen.get("next", 0) - noted.lines),
                p50_ms=seen.get("p50_ms"),
                p99_ms=seen.get("p99_ms"),
            )
        )
    return counts


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended."""

    exact: bool
    sentences: Sequence[str]


def judge(last: Snapshot, *, drained_for_s: float | None) -> Verdict:
    """``drained_for_s``: how long was waited for the rest; None: it was interrupted, and lines may still wait."""
    written = sum(one.written for one in last.services)
    arrived = sum(one.arrived for one in last.services)
    faults = [sentence for one in last.services for sentence in _faults(one, last)]
    if last.corrupt:
        faults.append(f"{last.corrupt:,} records in Kafka are no lines of the writer.")
    waiting = sum(one.waiting for one in last.services)
    notes = []
    if waiting and drained_for_s is not None:
        per_service = ", ".join(
            f"{one.name} from line {one.arrived + one.lost} on" for one in last.services if one.waiting
        )
        faults.append(
            f"More was written than consumed in time: {waiting:,} lines had not arrived {drained_for_s:g} s"
            f" after the last one was written ({per_service})."
        )
    elif waiting:
        notes.append(
            f"{waiting:,} lines were still waiting in their files for their turn: they are not lost."
        )
    if not written:
        faults.append("Nothing was written, so nothing is proved.")
    lost, doubled = sum(one.lost for one in last.services), sum(one.doubled for one in last.services)
    head = (
        f"{written:,} lines written, {arrived:,} in Kafka, {sum(one.rotations for one in last.services)} rotations:"
        f" lost {lost:,}, duplicated {doubled:,}."
    )
    if last.chaos:
        head += f" Killed with -9: the agent {last.agent_kills} times, the broker {last.broker_kills} times."
    return Verdict(exact=not faults, sentences=[head, *notes, *faults])


def _faults(one: ServiceCount, last: Snapshot) -> list[str]:
    faults = []
    if one.lost:
        faults.append(f"{one.name}: {one.lost:,} lines are missing: {_named(one.first_lost, one.lost)}.")
    if one.doubled:
        faults.append(
            f"{one.name}: {one.doubled:,} lines came twice: {_named(one.first_doubled, one.doubled)}."
        )
    if one.out_of_order:
        faults.append(f"{one.name}: {one.out_of_order:,} lines came after a later one.")
    if last.complete and one.beyond:
        faults.append(f"{one.name}: {one.beyond:,} lines arrived that nobody wrote.")
    return faults


def _named(numbers: Sequence[int], count: int) -> str:
    return ", ".join(map(str, numbers)) + (" ..." if count > len(numbers) else "")
