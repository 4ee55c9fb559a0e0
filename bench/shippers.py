# SPDX-License-Identifier: Apache-2.0
"""The programs that are compared, each as an operator would start it, with equal settings where both have them."""

import re
import shutil
import signal
import subprocess
import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.support import ROOT
from tests.support.agent import AgentProcess
from tests.support.processes import Child

LINE_BYTES = 200  # newline included
LINGER_MS = 20
BATCH_BYTES = 950_000
_STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Task:
    """What to ship, and where to."""

    directory: Path  # of the shipper's own: configuration, positions, output
    log_path: str  # a file or a glob
    kafka_addr: str
    topic: str
    partitions: int
    lines: int


class Shipper:
    """A running shipper. `close()` after `stop()` or instead of it."""

    name = ""

    def __init__(self, child: Child) -> None:
        self.child = child

    @property
    def pid(self) -> int:
        return self.child.pid

    def alive(self) -> bool:
        return self.child.running

    def wire(self) -> Mapping[str, float]:
        """Batches and their size, where the program tells."""
        return {}

    def stop(self) -> None:
        self.child.signal(signal.SIGTERM)
        self.child.wait(_STOP_TIMEOUT_S)

    def close(self) -> None:
        self.child.kill()


class Logagent(Shipper):
    """Everything on: positions, idempotent producer, admin port."""

    name = "logagent"
    delivery = "exactly_once"

    def __init__(
        self, task: Task, process: type[AgentProcess] = AgentProcess, env: Mapping[str, str] | None = None
    ) -> None:
        self._agent = process(
            task.directory,
            kafka_addr=task.kafka_addr,
            services={"bench": {"log_path": task.log_path, "topic": task.topic, "send_rate": "unlimited"}},
            kafka={"linger_ms": LINGER_MS, "batch_bytes": BATCH_BYTES, "delivery": self.delivery},
            env=env,
        ).start()
        super().__init__(self._agent.child)

    def wire(self) -> Mapping[str, float]:
        batches = self._agent.metric("logagent_kafka_batches_total")
        bytes_ = self._agent.metric("logagent_bytes_acked_total")
        requests = self._agent.metric("logagent_kafka_requests_total")
        found = {"batches": batches, "bytes_per_batch": bytes_ / batches} if batches else {}
        return found | ({"requests": requests} if requests else {})


class AtLeastOnce(Logagent):
    """Without the journal, to see what exactly once costs."""

    name = "at_least_once"
    delivery = "at_least_once"


class Probed(Logagent):
    """With a probe for the lateness of its event loop."""

    _TIMERS_TO_START = 200
    """In the first seconds modules are loaded and files taken in."""

    def __init__(self, task: Task) -> None:
        self._late = task.directory / "late"
        super().__init__(task, _ProbedProcess, {"LOGAGENT_BENCH_LATENESS": str(self._late)})

    def wire(self) -> Mapping[str, float]:
        found = dict(super().wire())
        self.stop()
        late_ms = array("d")
        late_ms.frombytes(self._late.read_bytes())
        for name, column in (("hub_late", late_ms[0::2]), ("hub_late_own", late_ms[1::2])):
            ordered = sorted(column[self._TIMERS_TO_START :])
            found |= {f"{name}_p99_ms": ordered[len(ordered) * 99 // 100], f"{name}_max_ms": ordered[-1]}
        return found


class _ProbedProcess(AgentProcess):
    module = "bench.probed"


class Rsyslog(Shipper):
    """imfile -> omkafka by rsyslog.conf beside this file."""

    name = "rsyslog"

    def __init__(self, task: Task) -> None:
        work = task.directory
        work.mkdir(parents=True, exist_ok=True)
        values = {"work": work, "log_path": task.log_path, "kafka_addr": task.kafka_addr, "topic": task.topic}
        template = Template(Path(__file__).with_name("rsyslog.conf").read_text())
        config = work / "rsyslog.conf"
        config.write_text(template.substitute(values, linger_ms=LINGER_MS, batch_bytes=BATCH_BYTES))
        argv = [find_rsyslog(), "-n", "-f", str(config), "-i", str(work / "pid")]
        super().__init__(Child(argv, stdout=work / "out", cwd=work))


class Ceiling(Shipper):
    """Prebuilt batches over the agent's own connections; starts when the log file appears, which it does not read."""

    name = "ceiling"

    def __init__(self, task: Task) -> None:
        task.directory.mkdir(parents=True, exist_ok=True)
        numbers = map(str, (task.partitions, task.lines, LINE_BYTES, BATCH_BYTES))
        argv = [sys.executable, "-m", "bench.ceiling", task.kafka_addr, task.topic, *numbers, task.log_path]
        super().__init__(Child(argv, stdout=task.directory / "out", cwd=ROOT))

    def stop(self) -> None:
        self.close()


Start = Callable[[Task], Shipper]


def find_rsyslog() -> str:
    """The path of rsyslogd, which root has in its PATH and others have not."""
    found = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
    if found is None:
        raise SystemExit(
            "rsyslogd is missing: apt-get install rsyslog rsyslog-kafka, or leave it out with --alone."
        )
    return found


def rsyslog_version() -> str:
    said = subprocess.run([find_rsyslog(), "-v"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"rsyslogd\s+(\S+)", said)
    return version[1] if version else "unknown"
