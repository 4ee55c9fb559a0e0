# SPDX-License-Identifier: Apache-2.0
"""The processes of a demo: starts them, asks them, kills and restarts them, and leaves nothing running."""

import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logagent.clock import monotonic
from logagent.demo import ledger
from logagent.demo.kafka_node import KAFKA_39, KafkaNode
from logagent.demo.place import Place
from logagent.demo.processes import Child, LinePipe, tail
from logagent.demo.snapshot import Snapshot, count_services
from logagent.errors import DemoFailed, LogagentError

AskAgent = Callable[[Path], dict[str, Any]]
"""data_dir -> the agent's /status; raises LogagentError."""
Pause = Callable[[float], None]
TEST_BROKER = "in-memory test broker of librdkafka, not a real Kafka"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_RATE_OVER_S = 2.0
# Children run in directories of their own and must find this package all the same.
_ENV = {
    "PYTHONPATH": os.pathsep.join(
        filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")))
    )
}


@dataclass(slots=True)
class AgentTotals:
    """The agent counts from its start; this goes on over restarts."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    state: str = "starting"
    _before: dict[str, int] = field(default_factory=dict)
    _now: dict[str, int] = field(default_factory=dict)
    _history: deque[tuple[float, dict[str, int]]] = field(default_factory=deque)

    def restarted(self) -> None:
        """The next counts begin at 0."""
        self._before = dict(self.acknowledged)
        self._now = {}

    def take(self, status: dict[str, Any], now_s: float) -> None:
        """A /status document."""
        self.state = str(status.get("state", ""))
        for service in status.get("services", []):
            name = service["service"]
            self._now[name] = service["lines_acked"]
            self.files[name] = sum(entry["files"] for entry in service["entries"])
            self.acknowledged[name] = self._before.get(name, 0) + self._now[name]
        self._history.append((now_s, dict(self.acknowledged)))
        while now_s - self._history[0][0] > _RATE_OVER_S:
            self._history.popleft()

    def rates(self) -> dict[str, float]:
        """Acknowledged lines per second."""
        if len(self._history) < 2:
            return {}
        (from_s, first), (until_s, last) = self._history[0], self._history[-1]
        span_s = max(0.05, until_s - from_s)
        return {name: (count - first.get(name, 0)) / span_s for name, count in last.items()}


class CpuMeter:
    """Share of one core over the last two seconds, from /proc."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, float]] = deque()

    def take(self, pid: int, now_s: float) -> tuple[float, int]:
        """(percent, resident bytes); zeros when the process is gone."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        except OSError:
            self.reset()
            return 0.0, 0
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        self._history.append((now_s, cpu_s))
        while now_s - self._history[0][0] > _RATE_OVER_S:
            self._history.popleft()
        span_s = now_s - self._history[0][0]
        percent = 100 * (cpu_s - self._history[0][1]) / span_s if span_s > 0 else 0.0
        return percent, int(found[1]) * 1024 if found else 0

    def reset(self) -> None:
        """Another process follows."""
        self._history.clear()


class Stage:
    """All processes of one demo."""

    def __init__(self, place: Place, ask: AskAgent, pause: Pause, *, chaos: bool, inject: str) -> None:
        self.place = place
        self.node: KafkaNode | None = None
        self.broker = self.address = ""
        self.topic = "nginx_log"
        self.agent_kills = self.broker_kills = 0
        self._ask, self._pause, self._chaos, self._inject = ask, pause, chaos, inject
        self._children: dict[str, Child] = {}
        self._pipe = LinePipe()
        self._report: dict[str, Any] = {}
        self._totals, self._cpu = AgentTotals(), CpuMeter()
        self._started_s = monotonic()

    # -- start ---------------------------------------------------------------------------------------------------

    def start_test_broker(self) -> None:
        """Raises DemoFailed, like everything here that starts something."""
        output = self.place.output / "broker.out"
        self._run("broker", _module("broker"), output)
        self._wait(lambda: output.read_text().endswith("\n"), "broker", 15)
        self.broker, self.address = TEST_BROKER, output.read_text().strip()

    def start_real_broker(self) -> None:
        """From the cache of the tests."""
        self.node = KafkaNode(KAFKA_39, self.place.directory / "kafka", partitions=4)
        self.broker, self.address = f"Kafka {KAFKA_39}, started by the demo", self.node.address
        self.node.start()

    def use_broker(self, address: str, topic: str) -> None:
        self.broker, self.address, self.topic = "your broker", address, topic

    def start_consumer(self) -> None:
        argv = [*_module("consumer"), self.address, self.topic, "--ledger", str(self.place.ledger)]
        argv += ["--create"] * (self.broker != TEST_BROKER) + ["--inject", self._inject] * bool(self._inject)
        self._children["consumer"] = Child(
            argv,
            stdout=self._pipe.write_end,
            stderr=self.place.output / "consumer.err",
            cwd=self.place.output,
            env=_ENV,
        )
        self._pipe.close_write_end()
        self._wait(self._read_reports, "consumer", 40)

    def start_agent(self) -> None:
        self._totals.restarted()
        self._cpu.reset()
        argv = [sys.executable, "-m", "logagent", "run", "-c", str(self.place.ini)]
        self._run("agent", argv, self.place.output / "agent.out")

    def wait_agent(self) -> None:
        """Until it tells its status."""
        self._wait(self.agent_answers, "agent", 20)

    def start_writer(self, seconds: float | None) -> None:
        argv = [*_module("writer"), str(self.place.logs), str(self.place.ledger)]
        argv += [] if seconds is None else ["--seconds", f"{seconds:g}"]
        # While an agent or a broker is down, files must wait for it.
        argv += ["--keep", "60" if self._chaos else "8"]
        self._run("writer", argv, self.place.output / "writer.out")
        self._started_s = monotonic()

    def _run(self, name: str, argv: list[str], output: Path) -> None:
        self._children[name] = Child(argv, stdout=output, cwd=self.place.directory, env=_ENV)

    def _wait(self, condition: Callable[[], bool], name: str, timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        while not condition():
            self.require(name)
            if monotonic() >= deadline:
                raise DemoFailed(f"The {name} is not ready after {timeout_s:g} s.")
            self._pause(0.03)

    # -- look ----------------------------------------------------------------------------------------------------

    def require(self, *names: str) -> None:
        """Raises DemoFailed with what a child said last when it has ended by itself."""
        for name in names:
            child = self._children.get(name)
            if child is None or child.running:
                continue
            if name == "writer" and child.exit_code() == 0:
                continue
            if name == "writer" and not tail(self.place.output / "writer.out", 1):
                raise DemoFailed(
                    f"Nothing more can be written to {self.place.logs}: {os.strerror(child.exit_code() or 0)}."
                )
            output = self.place.output / ("consumer.err" if name == "consumer" else f"{name}.out")
            said = tail(output, 1).strip() or f"it ended with {child.exit_code()}"
            raise DemoFailed(
                said if name == "consumer" else f"The {name} of the demo ended: {said.rstrip('.')}."
            )

    def agent_answers(self) -> bool:
        """Ask for its status; nothing changes when it is away."""
        try:
            self._totals.take(self._ask(self.place.data), monotonic())
        except LogagentError:
            return False
        return True

    def _read_reports(self) -> bool:
        lines = self._pipe.take()
        if lines:
            self._report = json.loads(lines[-1])
        return bool(self._report)

    def sample(self) -> Snapshot:
        """What everybody says now."""
        self._read_reports()
        now_s = monotonic()
        running = self._children["agent"].running
        state = (self._totals.state if self.agent_answers() else "starting") if running else "killed"
        cpu_percent, rss_bytes = self._cpu.take(self._children["agent"].pid, now_s) if running else (0.0, 0)
        written = ledger.load(self.place.ledger)
        totals = self._totals
        broker_state = "up"
        if self.node is not None and not self.node.answers:
            broker_state = "starting" if self.node.running else "killed"
        return Snapshot(
            elapsed_s=now_s - self._started_s,
            services=count_services(
                written, self._report, totals.acknowledged, totals.files, totals.rates() if running else {}
            ),
            broker=self.broker,
            address=self.address,
            broker_state=broker_state,
            agent_state=state,
            agent_cpu_percent=cpu_percent,
            agent_rss_bytes=rss_bytes,
            corrupt=self._report.get("corrupt", 0),
            agent_kills=self.agent_kills,
            broker_kills=self.broker_kills,
            complete=bool(self._report.get("complete")),
            chaos=self._chaos,
        )

    # -- end -----------------------------------------------------------------------------------------------------

    @property
    def writing(self) -> bool:
        return self._children["writer"].running

    @property
    def agent_running(self) -> bool:
        return self._children["agent"].running

    def kill_agent(self) -> None:
        self._children["agent"].kill()
        self.agent_kills += 1

    def kill_broker(self) -> None:
        if self.node is not None:
            self.node.kill()
            self.broker_kills += 1

    def stop_writer(self) -> None:
        """In order: its ledger is complete when it has ended."""
        self._children["writer"].signal(signal.SIGTERM)
        self._children["writer"].exit_within(0.5)

    def finish(self, agent_s: float, consumer_s: float) -> None:
        """Stop agent and consumer in order, so that the last report counts everything; bounded by the two times."""
        self._children["agent"].signal(signal.SIGTERM)
        self._children["agent"].exit_within(agent_s)
        self._children["consumer"].signal(signal.SIGTERM)
        deadline = monotonic() + consumer_s
        while not self._report.get("final") and monotonic() < deadline:
            self._read_reports()
            self._pause(0.02)

    def close(self) -> None:
        """Whatever still runs is killed."""
        for child in self._children.values():
            child.kill()
        if self.node is not None:
            self.node.close()
        self._pipe.close()


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"logagent.demo.{name}"]
