# SPDX-License-Identifier: Apache-2.0
"""What exactly once costs against at least once: in the drain, with a thousand busy files, and in bytes written."""

import statistics
from functools import partial

from bench import drain, many
from bench.report import Verdict, publish, ratios, spread
from bench.rounds import bench_broker, interleaved
from bench.shippers import AtLeastOnce, Logagent, Start
from bench.steady import Load, run_rounds

TARGET_DRAIN = 1.05
TARGET_MANY = 1.15
TARGET_WRITTEN_PERCENT = 10
STEADY = {"files": 10, "lines_per_s": 5000}
BOTH: list[Start] = [Logagent, AtLeastOnce]
PEER = AtLeastOnce.name


def run(rounds: int, seconds: float, _starts: list[Start]) -> int:
    """Exit code."""
    return max(_drain(rounds), _many(rounds, seconds), _written(seconds))


def _drain(rounds: int) -> int:
    lines = 1_000_000
    with bench_broker() as (broker, directory):
        backlog = directory / "backlog"
        written = drain.write_backlog(backlog, lines)
        rows = interleaved(rounds, BOTH, partial(drain.one_run, broker, directory, backlog, written))
    found = ratios(rows, "cpu_s", PEER)
    verdict = Verdict(
        "exactly once against at least once, CPU of the drain,", _median(found), TARGET_DRAIN, " x"
    )
    return publish("once-drain", {"rounds": rounds, "lines": lines}, rows, [verdict], [spread(found)])


def _many(rounds: int, seconds: float) -> int:
    rate = many.FILES * many.LINES_PER_S
    load = Load(files=many.FILES, partitions=many.PARTITIONS, lines_per_s=rate, seconds=seconds)
    rows = run_rounds(rounds, load, BOTH)
    found = ratios(rows, "cpu_percent", PEER)
    verdict = Verdict("the same with 1000 busy files,", _median(found), TARGET_MANY, " x")
    return publish("once-many", {"rounds": rounds, "seconds": seconds}, rows, [verdict], [spread(found)])


def _written(seconds: float) -> int:
    load = Load(files=STEADY["files"], partitions=3, lines_per_s=STEADY["lines_per_s"], seconds=seconds)
    rows = run_rounds(1, load, BOTH)
    own = [float(row["written_percent"]) for row in rows if row["shipper"] == Logagent.name]
    verdict = Verdict("state written, of what was shipped,", _median(own), TARGET_WRITTEN_PERCENT, " %")
    return publish("once-written", {"seconds": seconds, **STEADY}, rows, [verdict], [])


def _median(found: list[float]) -> float:
    return statistics.median(found)
