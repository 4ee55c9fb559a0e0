# SPDX-License-Identifier: Apache-2.0
"""Lines at a steady rate: how long from the write to the broker's append, and what that costs. For latency and many."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.broker import Broker
from bench.procfs import Span, memory_mib, settle, written_bytes
from bench.readback import ReadBack, percentile, summary
from bench.report import Row
from bench.rounds import bench_broker, interleaved, shipping
from bench.shippers import LINE_BYTES, Start, Task
from bench.writer import PacedWriter, path_of

_GRACE_S = 60
_KNOWS_S = 2


@dataclass(frozen=True, slots=True)
class Load:
    """What the services write, all files together, and into how many partitions it goes."""

    files: int
    partitions: int
    lines_per_s: float
    seconds: float


def one_run(broker: Broker, directory: Path, load: Load, number: int, start: Start) -> Row:
    """CPU and wall from the writer's start to the last append; the shipper has started and knows the empty files."""
    topic = f"steady-{number}-{time.time_ns()}"
    place = directory / topic
    logs = place / "logs"
    logs.mkdir(parents=True)
    for index in range(load.files):
        path_of(logs, index).touch()
    broker.create_topic(topic, load.partitions)
    lines = int(load.lines_per_s * load.seconds)
    task = Task(place / "work", f"{logs}/*.log", broker.address, topic, load.partitions, lines)
    with shipping(start, task) as shipper:
        settle(shipper.pid, at_least_s=_KNOWS_S)
        span, written_before = Span(shipper.pid, broker.pid), written_bytes(shipper.pid)
        writer = PacedWriter(
            logs, files=load.files, rate=load.lines_per_s, seconds=load.seconds, size_bytes=LINE_BYTES
        )
        try:
            writer.finish()
            behind = writer.lines - broker.count(topic, load.partitions)
            broker.wait_count(topic, load.partitions, writer.lines, _GRACE_S, shipper.alive)
        finally:
            writer.close()
        used = span.end()
        peak_mib = memory_mib(shipper.pid, "VmHWM")
        state_bytes = written_bytes(shipper.pid) - written_before
        wire = shipper.wire()
        shipper.stop()
        back = ReadBack(broker, topic, writer.written())
        exact = summary(back.check())
    broker.delete_topic(topic)
    delays_ms = back.latencies_ms(writer.times_ns(), load.files)
    return {
        "round": number,
        "shipper": shipper.name,
        "p50_ms": percentile(delays_ms, 50),
        "p99_ms": percentile(delays_ms, 99),
        "max_ms": delays_ms[-1],
        "cpu_percent": 100 * (used["user_s"] + used["sys_s"]) / used["wall_s"],
        **used,
        "behind_at_end": behind,
        "peak_mib": peak_mib,
        "written_percent": 100 * state_bytes / (writer.lines * LINE_BYTES),
        **wire,
        **exact,
    }


def run_rounds(rounds: int, load: Load, starts: Sequence[Start]) -> list[Row]:
    with bench_broker() as (broker, directory):
        return interleaved(rounds, starts, partial(one_run, broker, directory, load))
