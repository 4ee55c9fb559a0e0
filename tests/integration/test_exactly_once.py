# SPDX-License-Identifier: Apache-2.0
"""SIGKILL on a real cluster of three: every line exactly once and in order, for any consumer; and how we know."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.agent import AgentProcess
from tests.support.audit import audit
from tests.support.checker import Report
from tests.support.kafka_cluster import KafkaCluster
from tests.support.kills import AIMED, BrokerKills, Kills, Seen
from tests.support.proxy import Network
from tests.support.writer import Habits, Writer

FILES = 20
LINE_BYTES = 120
BROKER_KILL_EVERY = 10
SEED = int(os.environ.get("LOGAGENT_TEST_SEED", "7"))
WITHOUT_RECOVERY = {"LOGAGENT_TEST_WITHOUT_RECOVERY": "1"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many kills, how fast the services write, and what must have been seen in the end."""

    kills: int
    lines_per_s: int
    left_open: int
    each_answer: int
    brokers: bool = True

    def kinds(self, dice: random.Random) -> Iterator[str]:
        """Half of them aimed."""
        for number in range(self.kills):
            aimed = AIMED[number // 2 % len(AIMED)]
            yield aimed if number % 2 else dice.choice(["random"] * 4 + ["early"])


SHORT = Plan(kills=20, lines_per_s=4_000, left_open=8, each_answer=3)
SHORTER = Plan(kills=10, lines_per_s=4_000, left_open=4, each_answer=1)
LONG = Plan(kills=200, lines_per_s=20_000, left_open=30, each_answer=10)


@pytest.fixture
def run(
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    network: Callable[..., Network],
    topic: str,
    tmp_path: Path,
) -> Callable[..., tuple[Seen, Report]]:
    """Kills as planned under load; what was seen, and what an independent reader finds."""

    def kill_as_planned(
        cluster: KafkaCluster, plan: Plan, env: dict[str, str] | None = None
    ) -> tuple[Seen, Report]:
        dice = random.Random(SEED)
        cluster.create_topic(topic)
        between = network(cluster.ports)
        shipper = agent(
            kafka_addr=between.addresses,
            services={"s": {"log_path": tmp_path / "*.log", "topic": topic}},
            env=env,
        )
        # Each file is renamed about every quarter of a minute: some renames fall between kill and start.
        habits = Habits(
            rate_lines_per_s=plan.lines_per_s,
            size_bytes=LINE_BYTES,
            burst_lines=5,
            torn=True,
            rotate_every_lines=15 * plan.lines_per_s // FILES,
        )
        load = writer({f"f{n}": tmp_path / f"f{n}.log" for n in range(FILES)}, habits)
        kills, brokers = Kills(shipper, between, dice), BrokerKills(cluster, topic, dice)
        for number, kind in enumerate(plan.kinds(dice), 1):
            if plan.brokers and number % BROKER_KILL_EVERY == 0:
                kills.wait_flow()
                brokers.strike()
            kills.strike(kind)
        kills.wait_flow()
        brokers.heal()
        ledger = load.stop(timeout_s=60)
        shipper.wait_acked(timeout_s=300)
        kills.finish()
        shipper.stop()
        kills.seen.broker_kills = brokers.count
        found = audit(
            cluster.address, topic, tmp_path, ledger, faults=kills.seen.total + brokers.count, timeout_s=600
        )
        print(f"Kafka {cluster.version}, seed {SEED}: {found}; {kills.seen}")
        return kills.seen, found

    return kill_as_planned


def prove(seen: Seen, found: Report, plan: Plan) -> None:
    """Exact, and the faults that could have made it inexact really happened."""
    found.require_exact(min_lines=plan.kills * plan.lines_per_s // 2, min_faults=plan.kills, min_rotations=1)
    assert not seen.other, str(seen)
    assert seen.left_open >= plan.left_open, str(seen)
    for answer in ("delivered", "not_delivered"):
        assert seen.answers[answer] >= plan.each_answer, str(seen)
    assert seen.broker_kills == plan.kills // BROKER_KILL_EVERY


@pytest.mark.timeout(300)
def test_after_kills_every_line_is_there_exactly_once_on_3_9(
    cluster_39: KafkaCluster, run: Callable[..., tuple[Seen, Report]]
) -> None:
    prove(*run(cluster_39, SHORT), SHORT)


@pytest.mark.timeout(300)
def test_after_kills_every_line_is_there_exactly_once_on_4(
    cluster_4x: KafkaCluster, run: Callable[..., tuple[Seen, Report]]
) -> None:
    prove(*run(cluster_4x, SHORTER), SHORTER)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_after_two_hundred_kills_every_line_is_there_exactly_once_on_3_9(
    cluster_39: KafkaCluster, run: Callable[..., tuple[Seen, Report]]
) -> None:
    prove(*run(cluster_39, LONG), LONG)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_after_two_hundred_kills_every_line_is_there_exactly_once_on_4(
    cluster_4x: KafkaCluster, run: Callable[..., tuple[Seen, Report]]
) -> None:
    prove(*run(cluster_4x, LONG), LONG)


@pytest.mark.timeout(180)
def test_without_recovery_the_same_kills_double_lines_so_the_proof_bites(
    cluster_39: KafkaCluster, run: Callable[..., tuple[Seen, Report]]
) -> None:
    few = Plan(kills=6, lines_per_s=SHORT.lines_per_s, left_open=0, each_answer=0, brokers=False)
    seen, found = run(cluster_39, few, WITHOUT_RECOVERY)
    assert found.doubled, f"{found}; {seen}"
    assert not [*found.lost, *found.corrupt, *found.foreign], str(found)
