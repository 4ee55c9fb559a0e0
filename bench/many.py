# SPDX-License-Identifier: Apache-2.0
"""1,000 files with 20 lines/s each over 24 partitions: the opposite of the flattering drain."""

from bench.report import publish, ratios, spread
from bench.shippers import Start
from bench.steady import Load, run_rounds

FILES = 1000
LINES_PER_S = 20
PARTITIONS = 24


def run(rounds: int, seconds: float, starts: list[Start]) -> int:
    """Exit code."""
    load = Load(files=FILES, partitions=PARTITIONS, lines_per_s=FILES * LINES_PER_S, seconds=seconds)
    rows = run_rounds(rounds, load, starts)
    found = ratios(rows, "cpu_percent")
    extra = [f"CPU of logagent / rsyslog, median (range): {spread(found)}"] if found else []
    parameters = {
        "rounds": rounds,
        "seconds": seconds,
        "files": FILES,
        "lines_per_s_and_file": LINES_PER_S,
        "partitions": PARTITIONS,
    }
    return publish("many", parameters, rows, [], extra)
