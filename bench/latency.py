# SPDX-License-Identifier: Apache-2.0
"""One quiet file: 200 lines/s, from the write to the broker's append (its own time stamp, whole milliseconds)."""

import statistics

from bench.report import Verdict, publish
from bench.shippers import LINGER_MS, Start
from bench.steady import Load, run_rounds

LINES_PER_S = 200
PARTITIONS = 3
TARGET_P99_MS = 60


def run(rounds: int, seconds: float, starts: list[Start]) -> int:
    """Exit code."""
    load = Load(files=1, partitions=PARTITIONS, lines_per_s=LINES_PER_S, seconds=seconds)
    rows = run_rounds(rounds, load, starts)
    own = [float(row["p99_ms"]) for row in rows if row["shipper"] == "logagent"]
    verdict = Verdict(
        f"append to broker with linger {LINGER_MS} ms, p99", statistics.median(own), TARGET_P99_MS, " ms"
    )
    parameters = {"rounds": rounds, "seconds": seconds, "lines_per_s": LINES_PER_S, "partitions": PARTITIONS}
    return publish("latency", parameters, rows, [verdict])
