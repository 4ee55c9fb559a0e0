# SPDX-License-Identifier: Apache-2.0
"""Many files with one line each, taken in; then nothing is written, and at last one line into one of them."""

import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.broker import Broker
from bench.procfs import Span, cpu_of, memory_mib, open_fds, settle
from bench.readback import ReadBack, percentile, summary
from bench.report import Row, Verdict, publish
from bench.rounds import bench_broker, interleaved, shipping
from bench.shippers import LINE_BYTES, Shipper, Start, Task
from bench.writer import label_of, path_of
from tests.support.lines import Written, make_line

FILES = 10_000
PARTITIONS = 3
TARGET_CPU_PERCENT = 0.1
TARGET_CROWDED_CPU_PERCENT = 1.0
TARGET_RSS_MIB = 64
TARGET_TAKE_IN_S = 5
TARGET_LINE_MS = 100
LATE_LINES = 20
_TAKE_IN_S = 120
_APART_S = 0.5


@dataclass(frozen=True, slots=True)
class Scene:
    """What lies in the directory: files that are read, and entries that are not."""

    files: int
    others: int


def _take_in(broker: Broker, topic: str, scene: Scene, shipper: Shipper) -> float:
    """Seconds from when the program uses the processor to the last line in Kafka."""
    while cpu_of(shipper.pid).total_s == 0 and shipper.alive():
        time.sleep(0.01)
    began_s = time.monotonic()
    broker.wait_count(topic, PARTITIONS, scene.files, _TAKE_IN_S, shipper.alive)
    return time.monotonic() - began_s


def _late_lines(logs: Path, scene: Scene) -> dict[str, int]:
    """One line now and then, each into another file; when each was written, in ns, by label."""
    times = {}
    step = max(1, scene.files // LATE_LINES)
    for index in range(0, scene.files, step):
        label = label_of(index)
        line = make_line(label, 1, LINE_BYTES - 1) + b"\n"
        descriptor = os.open(path_of(logs, index), os.O_WRONLY | os.O_APPEND)
        times[label] = time.time_ns()
        os.write(descriptor, line)
        os.close(descriptor)
        time.sleep(_APART_S)
    return times


def one_run(broker: Broker, directory: Path, seconds: float, scene: Scene, number: int, start: Start) -> Row:
    topic = f"idle-{number}-{time.time_ns()}"
    place = directory / topic
    logs = place / "logs"
    logs.mkdir(parents=True)
    for index in range(scene.files):
        path_of(logs, index).write_bytes(make_line(label_of(index), 0, LINE_BYTES - 1) + b"\n")
    for index in range(scene.others):
        (logs / f"{index}.other").touch()
    broker.create_topic(topic, PARTITIONS)
    task = Task(place / "work", f"{logs}/*.log", broker.address, topic, PARTITIONS, scene.files)
    with shipping(start, task) as shipper:
        take_in_s = _take_in(broker, topic, scene, shipper)
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
            "take_in_s": take_in_s,
            "take_in_cpu_s": taken_in.total_s,
        }
        times = _late_lines(logs, scene)
        broker.wait_count(topic, PARTITIONS, scene.files + len(times), _TAKE_IN_S, shipper.alive)
        shipper.stop()
        written = [Written(label, 0, int(label in times)) for label in map(label_of, range(scene.files))]
        back = ReadBack(broker, topic, written)
        row |= summary(back.check())
        late = [(label, ms) for label, sequence, ms in back.appended if sequence == 1]
        delays_ms = sorted(ms - times[label] / 1e6 for label, ms in late)
        row |= {"line_p50_ms": percentile(delays_ms, 50), "line_max_ms": delays_ms[-1]}
    broker.delete_topic(topic)
    return row


def run(rounds: int, seconds: float, starts: list[Start], scene: Scene) -> int:
    """Exit code."""
    with bench_broker() as (broker, directory):
        rows = interleaved(rounds, starts, partial(one_run, broker, directory, seconds, scene))
    own = [row for row in rows if row["shipper"] == "logagent"]
    cpu_percent = TARGET_CROWDED_CPU_PERCENT if scene.others else TARGET_CPU_PERCENT
    targets = [
        ("cpu_percent", "CPU", cpu_percent, " % of a core"),
        ("rss_mib", "resident", TARGET_RSS_MIB, " MiB"),
        ("take_in_s", "taken in", TARGET_TAKE_IN_S, " s"),
        ("line_max_ms", "a line that is written then is in Kafka", TARGET_LINE_MS, " ms"),
    ]
    verdicts = [
        Verdict(f"{scene.files} idle files, {what}", max(float(row[key]) for row in own), limit, unit)
        for key, what, limit, unit in targets
    ]
    parameters = {"rounds": rounds, "seconds": seconds, "files": scene.files, "others": scene.others}
    return publish("idle", parameters, rows, verdicts)
