# SPDX-License-Identifier: Apache-2.0
"""Signals that end the agent, also while there is nobody to take the last lines."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.proofs import prove, put_lines, sentences, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode

LIMIT_S = 2


def test_a_stop_while_kafka_is_away_is_bounded_and_a_second_signal_is_immediate(
    kafka_node: Callable[..., KafkaNode], agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    node = kafka_node()
    agents, paths = {}, {}
    for name, limit_s in (("term", LIMIT_S), ("int", LIMIT_S), ("twice", 60)):
        paths[name] = tmp_path / f"{name}.log"
        put_lines(paths[name], name, 500)
        agents[name] = agent(
            kafka_addr=node.address,
            services={"s": {"log_path": paths[name], "topic": topic}},
            agent={"shutdown_timeout_s": limit_s},
        )
    for shipper in agents.values():
        shipper.wait_acked()
    acked = {name: path.stat().st_size for name, path in paths.items()}
    node.kill()
    for name, path in paths.items():
        put_lines(path, name, 500, first=500)
    for shipper in agents.values():
        shipper.wait_for(lambda s=shipper: s.http("/healthz")[0] == 503, what="/healthz fails")
        shipper.wait_for(lambda s=shipper: s.metric("logagent_lines_read_total") == 1000, what="all is read")

    agents["twice"].terminate()
    begun_s = time.monotonic()
    for name, number in (("term", signal.SIGTERM), ("int", signal.SIGINT)):
        agents[name].child.signal(number)
    for name in ("term", "int"):
        assert agents[name].wait_exit() == 0
        assert LIMIT_S - 0.5 < time.monotonic() - begun_s < LIMIT_S + 2
        assert sentences(agents[name], "Stopped", "will be read again") or sentences(
            agents[name], "not acknowledged"
        )
    assert agents["twice"].running, "its limit is a minute"
    assert "stopping" in agents["twice"].http("/readyz")[1]
    second_s = time.monotonic()
    agents["twice"].terminate()
    assert agents["twice"].wait_exit() == 1
    assert time.monotonic() - second_s < 1
    assert sentences(agents["twice"], "WARNING", "second signal")

    for name, shipper in agents.items():
        assert stored_offsets(shipper) == {bytes(paths[name]): acked[name]}, "the next start sends the rest"


def test_a_stop_sends_what_was_read_without_waiting_for_the_linger(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"s": {"log_path": path, "topic": topic}},
        kafka={"linger_ms": 10_000},
    )
    shipper.wait_ready()
    written = put_lines(path, "a", 300)
    shipper.wait_for(lambda: shipper.metric("logagent_lines_read_total") == 300, what="all is read")
    begun_s = time.monotonic()
    shipper.stop()
    assert time.monotonic() - begun_s < 3
    prove(kafka_39, topic, tmp_path, [written], min_lines=300)
