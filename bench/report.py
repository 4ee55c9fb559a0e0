# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for machines, and one verdict line per target of the project."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.shippers import BATCH_BYTES, LINE_BYTES, LINGER_MS
from tests.support.kafka import KAFKA_39

RESULTS = Path(__file__).with_name("results")

Row = Mapping[str, str | float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A measured value against its target; a missed one does not fail the run, the machine may be busy."""

    what: str
    value: float
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        said = "reached" if self.value <= self.limit else "MISSED"
        return f"{said}: {self.what} {self.value:.3g}{self.unit}, target at most {self.limit:g}{self.unit}"


def table(rows: Sequence[Row]) -> str:
    """Columns in the order of first appearance; a value that a row lacks is shown as n/a."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells
    )


def cell(value: str | float | None) -> str:
    """Three digits are more than these measurements are worth."""
    if value is None:
        return "n/a"
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} - {max(values):.3g})"


def medians(rows: Sequence[Row], by: str = "shipper") -> list[Row]:
    """One row per shipper with the median of each number."""
    found: list[Row] = []
    for name in dict.fromkeys(row[by] for row in rows):
        own = [row for row in rows if row[by] == name]
        numbers = [key for key, value in own[0].items() if isinstance(value, float | int) and key != "round"]
        middle = {key: statistics.median(float(row[key]) for row in own if key in row) for key in numbers}
        found.append({by: name, "rounds": len(own), **middle})
    return found


def ratios(rows: Sequence[Row], column: str, peer: str = "rsyslog") -> list[float]:
    """One column of logagent divided by that of its peer, per round."""
    cost = {(row["round"], row["shipper"]): float(row[column]) for row in rows}
    rounds = dict.fromkeys(number for number, _ in cost)
    pairs = [(cost.get((n, "logagent")), cost.get((n, peer))) for n in rounds]
    return [ours / theirs for ours, theirs in pairs if ours is not None and theirs]


def loss(rows: Sequence[Row]) -> list[str]:
    """What is wrong with the lines that arrived, one sentence per run."""
    keys = ("lost", "doubled", "out_of_order", "corrupt")
    return [
        f"{row['shipper']}, round {row['round']}: " + ", ".join(f"{row.get(key)} {key}" for key in keys)
        for row in rows
        if any(row.get(key) for key in keys)
    ]


def publish(
    scenario: str,
    parameters: Mapping[str, object],
    rows: Sequence[Row],
    verdicts: Sequence[Verdict],
    extra: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> int:
    """Print and store; the exit code: 1 when a line was lost, doubled, swapped or spoilt by logagent."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = RESULTS / f"{scenario}-{stamp}.json"
    machine = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kafka": KAFKA_39,
        "linger_ms": LINGER_MS,
        "batch_bytes": BATCH_BYTES,
        "line_bytes": LINE_BYTES,
    }
    faults = loss(rows)
    document = {
        "scenario": scenario,
        "parameters": dict(parameters),
        "machine": machine,
        "rows": [dict(row) for row in rows],
        "verdicts": [str(verdict) for verdict in verdicts],
        "faults": faults,
        "notes": list(extra),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    say(
        f"\n{scenario}: " + ", ".join(f"{key} {value}" for key, value in (dict(parameters) | machine).items())
    )
    say(table(rows))
    if len({row["round"] for row in rows}) > 1:
        say("\nmedians\n" + table(medians(rows)))
    say("")
    for text in (*extra, *map(str, verdicts), *(f"NOT EXACT: {fault}" for fault in faults)):
        say(text)
    say(f"stored in {path}")
    return 1 if any(fault.startswith("logagent") for fault in faults) else 0
