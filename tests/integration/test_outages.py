# SPDX-License-Identifier: Apache-2.0
"""Kafka is away: at the start, for half a minute under load, or it accepts connections and says nothing."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.proofs import MIB, file_state, prove, put_lines, sentences
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.lines import Written
from tests.support.waiting import wait_until
from tests.support.writer import Habits, Writer

AWAY_S = 30
SILENT_S = 15
BACKLOG_FILES = 60
BACKLOG_LINES = 1000  # of 1,000 bytes, in each of them
MEMORY_LIMIT_BYTES = 80 * MIB  # less than the default, so that without it the lines at hand would go beyond
PARTITIONS = 48  # so that it is the memory limit that stops the reading, not the size of a batch
RATE = Habits(rate_lines_per_s=1000, burst_lines=5, torn=True, rotate_every_lines=2000, late_lines=20)


def test_a_broker_that_comes_after_the_agent_gets_every_line_in_order_also_of_rotated_files(
    kafka_node: Callable[..., KafkaNode], agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    """Each file is rotated while Kafka is away; old and new lines then share the open batch of one partition."""
    node = kafka_node(start=False, partitions=1)
    shipper = agent(
        kafka_addr=node.address, services={"early": {"log_path": tmp_path / "*.log", "topic": topic}}
    )
    shipper.wait_ready()
    node.launch()
    node.freeze()  # the Java machine has not begun: nobody listens
    written = []
    for number in range(6):
        path, label, lines = tmp_path / f"{number}.log", f"f{number}", 5000 + 700 * number
        put_lines(path, label, lines)
        shipper.wait_for(lambda p=path: file_state(shipper, p), what=f"{path} is found")
        path.rename(f"{path}.1")
        written.append(Written(label, 0, put_lines(path, label, 1000, first=lines).last))
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 503, what="/healthz fails")
    refused = f"{node.address}: connection refused"
    assert refused in shipper.http("/healthz")[1]
    assert shipper.fetch_status()["state"] == "degraded"
    shipper.wait_for(
        lambda: any(refused in file["reason"] for file in shipper.fetch_status()["files"]),
        what="/status says what a file waits for",
    )
    assert len(sentences(shipper, "WARNING", refused)) == 1

    node.thaw()
    node.wait_ready()
    back_s = time.monotonic()
    shipper.wait_acked()
    assert time.monotonic() - back_s < 6, "a broker that is back gets the lines within seconds"
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, what="/healthz is well again")
    assert shipper.fetch_status()["state"] == "running"
    prove(node, topic, tmp_path, written, min_lines=40_000)


def test_half_a_minute_without_kafka_and_a_silent_broker_cost_no_line_and_little_memory(
    kafka_node: Callable[..., KafkaNode],
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    tmp_path: Path,
) -> None:
    """Both at once, with a cluster and an agent each: the waiting is the expensive part."""
    stopped, frozen = kafka_node(start=False), kafka_node(start=False, partitions=PARTITIONS)
    for node in (stopped, frozen):
        node.launch()
    for node in (stopped, frozen):
        node.wait_ready()
    to_dead, to_silent = (
        agent(
            kafka_addr=node.address,
            services={"s": {"log_path": tmp_path / f"{name}*.log", "topic": topic}},
            agent={"memory_limit": f"{MEMORY_LIMIT_BYTES // MIB}MiB"},
        )
        for name, node in (("dead", stopped), ("silent", frozen))
    )
    loads = {name: writer({name: tmp_path / f"{name}.log"}, RATE) for name in ("dead", "silent")}
    for shipper in (to_dead, to_silent):
        shipper.wait_for(lambda s=shipper: s.metric("logagent_lines_acked_total") > 500, what="lines flow")

    stopped.stop()
    frozen.freeze()
    away_since_s = time.monotonic()
    backlogs = {
        name: [
            put_lines(tmp_path / f"{name}-{n}.log", f"{name}-{n}", BACKLOG_LINES, size_bytes=1000)
            for n in range(BACKLOG_FILES)
        ]
        for name in ("silent", "dead")
    }
    for shipper, node in ((to_dead, stopped), (to_silent, frozen)):
        shipper.wait_for(
            lambda s=shipper, n=node: (answer := s.http("/healthz"))[0] == 503 and n.address in answer[1],
            what=f"/healthz names {node.address}",
        )
    wait_until(lambda: time.monotonic() - away_since_s > SILENT_S, SILENT_S + 5, "the silence is over")
    frozen.thaw()
    thawed_s = time.monotonic()
    to_silent.wait_for(lambda: to_silent.http("/healthz")[0] == 200, what="/healthz is well again")
    wait_until(lambda: time.monotonic() - thawed_s > 3, 5, "lines flowed again for a while")
    _prove_end(to_silent, frozen, topic, tmp_path / "1", [*loads["silent"].stop(), *backlogs["silent"]])

    wait_until(lambda: time.monotonic() - away_since_s > AWAY_S, AWAY_S + 5, "the outage is over")
    assert to_dead.http("/healthz")[0] == 503
    stopped.start()
    to_dead.wait_for(lambda: to_dead.http("/healthz")[0] == 200, what="/healthz is well again")
    _prove_end(to_dead, stopped, topic, tmp_path / "2", [*loads["dead"].stop(), *backlogs["dead"]])


def _prove_end(
    shipper: AgentProcess, node: KafkaNode, topic: str, directory: Path, ledger: list[Written]
) -> None:
    shipper.wait_acked()
    print(f"peak RSS {shipper.peak_rss_bytes() / MIB:.1f} MiB")
    assert shipper.peak_rss_bytes() <= MEMORY_LIMIT_BYTES
    shipper.stop()
    lines = BACKLOG_FILES * BACKLOG_LINES + SILENT_S * RATE.rate_lines_per_s / 2
    prove(node, topic, directory, ledger, min_lines=int(lines), min_rotations=5)
