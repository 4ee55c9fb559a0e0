# SPDX-License-Identifier: Apache-2.0
"""From a put into a real Etcd to the file being read; and what following Etcd costs while nothing changes."""

import base64
import json
import os
import statistics
import time
from pathlib import Path

from bench.broker import Broker
from bench.procfs import Span, settle
from bench.report import Row, Verdict, publish
from bench.rounds import bench_broker
from bench.shippers import Start
from tests.support.agent import AgentProcess
from tests.support.etcd import ETCD_NEW, EtcdNode

PUTS = 100
HOST_ID = "bench"
KEY = f"/logagent/{HOST_ID}/logconfig"
TARGET_P99_MS = 500
TARGET_CPU_PERCENT = 0.1
_LOOK_S = 0.002
_TIMEOUT_S = 10


def _agent(directory: Path, broker: Broker, etcd: EtcdNode | None) -> AgentProcess:
    top = {"etcd_addr": etcd.address} if etcd else {}
    services = {} if etcd else {"idle": {"log_path": directory / "none.log", "topic": "none"}}
    return AgentProcess(
        directory, kafka_addr=broker.address, services=services, top=top, agent={"host_id": HOST_ID}
    ).start()


def _put(etcd: EtcdNode, path: Path) -> None:
    value = json.dumps([{"service": "bench", "log_path": str(path), "topic": "bench"}])
    body = {
        "key": base64.b64encode(KEY.encode()).decode(),
        "value": base64.b64encode(value.encode()).decode(),
    }
    status, answer = etcd.http("POST", "/v3/kv/put", json.dumps(body).encode())
    if status != 200:
        raise RuntimeError(answer)


def _is_open(pid: int, path: Path) -> bool:
    place = Path(f"/proc/{pid}/fd")
    for number in os.listdir(place):
        try:
            if os.readlink(place / number) == str(path):
                return True
        except FileNotFoundError:
            continue
    return False


def _applied_ms(agent: AgentProcess, etcd: EtcdNode, path: Path) -> float:
    path.write_text("one line\n")
    begun_s = time.monotonic()
    _put(etcd, path)
    while not _is_open(agent.pid, path):
        if time.monotonic() - begun_s > _TIMEOUT_S:
            raise RuntimeError(f"{path} is not read: {agent.failure_report()}")
        time.sleep(_LOOK_S)
    return 1000 * (time.monotonic() - begun_s)


def _idle(agents: dict[str, AgentProcess], broker: Broker, seconds: float) -> list[Row]:
    spans = {name: Span(agent.pid, broker.pid) for name, agent in agents.items()}
    time.sleep(seconds)
    rows: list[Row] = []
    for name, span in spans.items():
        used = span.end()
        cpu_percent = 100 * (used["user_s"] + used["sys_s"]) / used["wall_s"]
        rows.append({"round": 1, "shipper": name, "cpu_percent": cpu_percent, **used})
    return rows


def run(_rounds: int, seconds: float, _starts: list[Start]) -> int:
    """Exit code."""
    with bench_broker() as (broker, directory):
        etcd = EtcdNode(ETCD_NEW, directory / "etcd").start()
        agents: dict[str, AgentProcess] = {}
        try:
            steered = agents["with etcd"] = _agent(directory / "with", broker, etcd)
            agents["without"] = _agent(directory / "without", broker, None)
            steered.wait_ready()
            took_ms = [_applied_ms(steered, etcd, directory / f"{number}.log") for number in range(PUTS)]
            settle(steered.pid, at_least_s=5)
            rows = _idle(agents, broker, seconds)
        finally:
            for agent in agents.values():
                agent.close()
            etcd.close()
    cuts = statistics.quantiles(took_ms, n=100)
    cost = float(rows[0]["cpu_percent"]) - float(rows[1]["cpu_percent"])
    verdicts = [
        Verdict(f"put to file read, p99 of {PUTS} (debounce 300 ms in it)", cuts[98], TARGET_P99_MS, " ms"),
        Verdict("following while nothing changes, CPU", cost, TARGET_CPU_PERCENT, " % of a core"),
    ]
    parameters = {"puts": PUTS, "seconds": seconds, "etcd": ETCD_NEW, "p50_ms": round(cuts[49], 1)}
    return publish("etcd", parameters, rows, verdicts)
