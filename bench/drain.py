# SPDX-License-Identifier: Apache-2.0
"""A backlog in one file, from its appearance to the last line in Kafka; the shipper's start is charged, and shown."""

import os
import time
from functools import partial
from pathlib import Path

from bench.broker import Broker
from bench.procfs import Span, cpu_of, memory_mib, settle
from bench.readback import ReadBack, summary
from bench.report import Row, Verdict, publish, ratios, spread
from bench.rounds import bench_broker, interleaved, shipping
from bench.shippers import LINE_BYTES, Ceiling, Shipper, Start, Task
from tests.support.lines import Written, make_line

PARTITIONS = 3
TARGET_RATIO = 0.40
TARGET_PEAK_MIB = 96
_LABEL = "drain"
_TIMEOUT_S = 600
_CHUNK_LINES = 10_000


def write_backlog(path: Path, lines: int) -> Written:
    with path.open("wb") as file:
        for first in range(0, lines, _CHUNK_LINES):
            chunk = range(first, min(first + _CHUNK_LINES, lines))
            file.write(b"".join(make_line(_LABEL, n, LINE_BYTES - 1) + b"\n" for n in chunk))
    return Written(_LABEL, 0, lines - 1)


def one_run(
    broker: Broker, directory: Path, backlog: Path, written: Written, number: int, start: Start
) -> Row:
    """A fresh topic, a fresh shipper; the backlog appears in the shipper's directory when it has settled."""
    topic = f"drain-{number}-{time.time_ns()}"
    place = directory / topic
    logs = place / "logs"
    logs.mkdir(parents=True)
    broker.create_topic(topic, PARTITIONS)
    task = Task(place / "work", str(logs / "app.log"), broker.address, topic, PARTITIONS, written.count)
    with shipping(start, task) as shipper:
        start_up = settle(shipper.pid)
        span = Span(shipper.pid, broker.pid)
        os.link(backlog, logs / "app.log")
        broker.wait_count(topic, PARTITIONS, written.count, _TIMEOUT_S, shipper.alive)
        used, total = span.end(), cpu_of(shipper.pid)
        row: dict[str, str | float] = {
            "round": number,
            "shipper": shipper.name,
            "cpu_us_per_line": total.total_s / written.count * 1e6,
            "cpu_s": total.total_s,
            "start_up_cpu_s": start_up.total_s,
            **used,
            "lines_per_s": written.count / used["wall_s"],
            "peak_mib": memory_mib(shipper.pid, "VmHWM"),
            **_wire(shipper),
        }
        shipper.stop()
        if start is not Ceiling:
            row |= summary(ReadBack(broker, topic, [written]).check())
    broker.delete_topic(topic)
    return row


def _wire(shipper: Shipper) -> dict[str, float]:
    time.sleep(0.5)  # the last acknowledgement follows the last append
    return dict(shipper.wire())


def run(rounds: int, lines: int, starts: list[Start]) -> int:
    """Exit code."""
    with bench_broker() as (broker, directory):
        backlog = directory / "backlog"
        written = write_backlog(backlog, lines)
        rows = interleaved(rounds, [*starts, Ceiling], partial(one_run, broker, directory, backlog, written))
    verdicts, extra = [], []
    own = [row for row in rows if row["shipper"] == "logagent"]
    if found := ratios(rows, "cpu_s"):
        per_round = " ".join(f"{ratio:.3f}" for ratio in found)
        extra.append(f"CPU of logagent / rsyslog per round: {per_round}; median (range) {spread(found)}")
        net = [row | {"cpu_s": float(row["cpu_s"]) - float(row["start_up_cpu_s"])} for row in map(dict, rows)]
        extra.append(f"the same without start-up: {spread(ratios(net, 'cpu_s'))}")
        verdicts.append(
            Verdict(
                "CPU per line against rsyslog, median of the rounds,",
                sorted(found)[len(found) // 2],
                TARGET_RATIO,
                " x",
            )
        )
    verdicts.append(
        Verdict(
            "peak memory of logagent", max(float(row["peak_mib"]) for row in own), TARGET_PEAK_MIB, " MiB"
        )
    )
    return publish(
        "drain", {"rounds": rounds, "lines": lines, "partitions": PARTITIONS}, rows, verdicts, extra
    )
