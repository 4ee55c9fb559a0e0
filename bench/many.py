# SPDX-License-Identifier: Apache-2.0
"""1,000 files with 20 lines/s each over 24 partitions: the opposite of the flattering drain."""

import statistics

from bench.report import Verdict, publish, ratios, spread
from bench.shippers import Logagent, Probed, Start
from bench.steady import Load, run_rounds

FILES = 1000
LINES_PER_S = 20
PARTITIONS = 24
TARGET_CPU_PERCENT = 15
TARGET_LATE_MS = 5


def run(rounds: int, seconds: float, starts: list[Start]) -> int:
    """Exit code."""
    load = Load(files=FILES, partitions=PARTITIONS, lines_per_s=FILES * LINES_PER_S, seconds=seconds)
    probed: list[Start] = [Probed if start is Logagent else start for start in starts]
    rows = run_rounds(rounds, load, probed)
    own = [row for row in rows if row["shipper"] == "logagent"]
    verdicts = [
        Verdict(what, statistics.median(float(row[key]) for row in own), limit, unit)
        for what, key, limit, unit in (
            ("1000 busy files, CPU", "cpu_percent", TARGET_CPU_PERCENT, " % of a core"),
            ("lateness of the event loop, p99", "hub_late_p99_ms", TARGET_LATE_MS, " ms"),
            ("the same without waiting for a processor", "hub_late_own_p99_ms", TARGET_LATE_MS, " ms"),
        )
    ]
    found = ratios(rows, "cpu_percent")
    extra = [f"CPU of logagent / rsyslog, median (range): {spread(found)}"] if found else []
    parameters = {
        "rounds": rounds,
        "seconds": seconds,
        "files": FILES,
        "lines_per_s_and_file": LINES_PER_S,
        "partitions": PARTITIONS,
    }
    return publish("many", parameters, rows, verdicts, extra)
