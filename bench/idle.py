# SPDX-License-Identifier: Apache-2.0
"""1,000 files with one line each, taken in; then nothing is written."""

import time
from functools import partial
from pathlib import Path

from bench.broker import Broker
from bench.procfs import Span, memory_mib, open_fds, settle
from bench.readback import ReadBack, summary
from bench.report import Row, Verdict, publish
from bench.rounds import bench_broker, interleaved, shipping
from bench.shippers import LINE_BYTES, Start, Task
from bench.writer import label_of, path_of
from tests.support.lines import Written, make_line

FILES = 1000
PARTITIONS = 3
TARGET_CPU_PERCENT = 0.3
TARGET_RSS_MIB = 64
_TAKE_IN_S = 60


def one_run(broker: Broker, directory: Path, seconds: float, number: int, start: Start) -> Row:
    topic = f"idle-{number}-{time.time_ns()}"
    place = directory / topic
    logs = place / "logs"
    logs.mkdir(parents=True)
    for index in range(FILES):
        path_of(logs, index).write_bytes(make_line(label_of(index), 0, LINE_BYTES - 1) + b"\n")
    broker.create_topic(topic, PARTITIONS)
    task = Task(place / "work", f"{logs}/*.log", broker.address, topic, PARTITIONS, FILES)
    with shipping(start, task) as shipper:
        broker.wait_count(topic, PARTITIONS, FILES, _TAKE_IN_S, shipper.alive)
        taken_in = settle(shipper.pid, at_least_s=3)
        span = Span(shipper.pid, broker.pid)
        time.sleep(seconds)
        used = span.end()
        row: dict[str, str | float] = {
            "round": number,
            "shipper": shipper.name,
            "cpu_percent": 100 * (used["user_s"] + used["sys_s"]) / used["wall_s"],
            **used,
            "rss_mib": memory_mib(shipper.pid, "VmRSS"),
            "peak_mib": memory_mib(shipper.pid, "VmHWM"),
            "fds": open_fds(shipper.pid),
            "take_in_cpu_s": taken_in.total_s,
        }
        shipper.stop()
        written = [Written(label_of(index), 0, 0) for index in range(FILES)]
        row |= summary(ReadBack(broker, topic, written).check())
    broker.delete_topic(topic)
    return row


def run(rounds: int, seconds: float, starts: list[Start]) -> int:
    """Exit code."""
    with bench_broker() as (broker, directory):
        rows = interleaved(rounds, starts, partial(one_run, broker, directory, seconds))
    own = [row for row in rows if row["shipper"] == "logagent"]
    verdicts = [
        Verdict(
            f"{FILES} idle files, CPU",
            max(float(r["cpu_percent"]) for r in own),
            TARGET_CPU_PERCENT,
            " % of a core",
        ),
        Verdict(
            f"{FILES} idle files, resident", max(float(r["rss_mib"]) for r in own), TARGET_RSS_MIB, " MiB"
        ),
    ]
    return publish("idle", {"rounds": rounds, "seconds": seconds, "files": FILES}, rows, verdicts)
