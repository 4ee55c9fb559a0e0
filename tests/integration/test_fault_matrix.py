# SPDX-License-Identifier: Apache-2.0
"""Every fault of a real cluster of three under load: each line exactly once, in order; alone, then all at random."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration import faults
from tests.integration.faults import EXACT, HABITS, LABELS, LINES_PER_S, MIXED, Fault, Stage
from tests.integration.proofs import MIB
from tests.support.agent import AgentProcess
from tests.support.audit import audit
from tests.support.checker import Report
from tests.support.kafka_cluster import KafkaCluster
from tests.support.kills import AIMED, Kills
from tests.support.proxy import Network
from tests.support.writer import Writer

SEED = int(os.environ.get("LOGAGENT_TEST_SEED", "7"))
SHORT: tuple[Fault, ...] = (
    faults.leader_killed,
    faults.leader_frozen,
    faults.all_down,
    faults.ragged_network,
    faults.topic_denied,
)  # and a topic that is deleted, which is a test of its own
MIX_S = 600
KEPT = 0.9
NOT_KEPT = (
    "logagent_duplicates_possible_total",
    "logagent_unknown_bytes_total",
    "logagent_broker_lost_acknowledged_total",
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def stage(
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    network: Callable[..., Network],
    topic: str,
    tmp_path: Path,
) -> Callable[..., Stage]:
    """Makes stages on which lines flow: ``stage(cluster, long=False, replicas=3, thread_num=4)``."""

    def make(
        cluster: KafkaCluster,
        *,
        long: bool = False,
        replicas: int = 3,
        thread_num: int = 4,
    ) -> Stage:
        if faults.PROBE_TOPIC not in cluster.topics():
            cluster.create_topic(faults.PROBE_TOPIC)
        cluster.create_topic(topic, replicas=replicas)
        between = network(cluster.ports)
        topics = dict.fromkeys(LABELS, topic) | {"other": faults.PROBE_TOPIC}
        shipper = agent(
            kafka_addr=between.addresses,
            services={
                name: {"log_path": tmp_path / f"{name}.log", "topic": its} for name, its in topics.items()
            },
            top={"thread_num": thread_num},
            agent={"memory_limit": f"{faults.MEMORY_LIMIT_BYTES // MIB}MiB"},
        )
        load = writer({label: tmp_path / f"{label}.log" for label in LABELS}, HABITS)
        made = Stage(
            cluster, between, shipper, load, topic, tmp_path / "other.log", random.Random(SEED), long
        )
        made.wait_flow(20, "the start")
        return made

    return make


def finish(stage: Stage, place: Path, *, faults_seen: int = 1) -> Report:
    """What an independent reader finds, and nothing said that a promise could not be kept."""
    ledger = stage.load.stop(timeout_s=60)
    stage.shipper.wait_acked(timeout_s=120)
    not_kept = {name: stage.shipper.metric(name) for name in NOT_KEPT}
    stage.shipper.stop()
    found = audit(stage.cluster.address, stage.topic, place, ledger, faults=faults_seen, timeout_s=180)
    print(f"Kafka {stage.cluster.version}, seed {SEED}: {'; '.join(stage.events)}; {found}")
    assert not any(not_kept.values()), f"{not_kept}; {found}"
    return found


def prove(stage: Stage, place: Path) -> None:
    finish(stage, place).require_exact(min_lines=2 * LINES_PER_S, min_faults=1)


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.__name__)
def test_no_line_is_lost_doubled_or_out_of_order(
    cluster_39: KafkaCluster, stage: Callable[..., Stage], tmp_path: Path, fault: Fault
) -> None:
    one = stage(cluster_39)
    fault(one)
    prove(one, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", EXACT, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("version", ["39", "4x"])
def test_no_line_is_lost_doubled_or_out_of_order_in_the_long_form(
    request: pytest.FixtureRequest, stage: Callable[..., Stage], tmp_path: Path, fault: Fault, version: str
) -> None:
    one = stage(request.getfixturevalue(f"cluster_{version}"), long=True)
    fault(one)
    prove(one, tmp_path)


def _recreated(one: Stage, place: Path) -> None:
    """What the old topic had is gone with it; from some line of each file on everything is there exactly once."""
    one.cluster.delete_topic(one.topic)
    one.cluster.create_topic(one.topic)
    there = {label: _lines_written(one, label) for label in LABELS}
    took_s = one.wait_flow(10, "the topic was made anew")
    one.note(f"flow {took_s:.2f} s after the topic was made anew")
    time.sleep(2)  # a while of ordinary life, so that much can go wrong
    ledger = one.load.stop(timeout_s=60)
    one.shipper.wait_acked(timeout_s=60)
    one.shipper.stop()
    found = audit(one.cluster.address, one.topic, place, ledger, faults=1, quiet_s=2, wait_all=False)
    print(f"Kafka {one.cluster.version}, seed {SEED}: {'; '.join(one.events)}; {found}")
    assert not [*found.doubled, *found.out_of_order, *found.corrupt, *found.foreign], str(found)
    for label in LABELS:
        missing = [line.sequence for line in found.lost if line.label == label]
        assert missing == list(range(len(missing))), f"{label}: only what was delivered before may be missing"
        assert len(missing) <= there[label], (
            f"{label}: {len(missing)} missing, {there[label]} were written by then"
        )


def _lines_written(one: Stage, label: str) -> int:
    """At least so many are in the file by now, in all its generations."""
    folder = one.load._files[label].parent
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(f"{label}.log*"))


def test_a_topic_that_is_deleted_and_made_anew_gets_what_comes_then(
    cluster_39: KafkaCluster, stage: Callable[..., Stage], tmp_path: Path
) -> None:
    _recreated(stage(cluster_39), tmp_path)


@pytest.mark.soak
def test_a_topic_that_is_deleted_and_made_anew_gets_what_comes_then_on_4(
    cluster_4x: KafkaCluster, stage: Callable[..., Stage], tmp_path: Path
) -> None:
    _recreated(stage(cluster_4x), tmp_path)


def _keeps_rate(one: Stage, seconds: float, place: Path) -> None:
    """Files whose partitions others lead keep their rate while one of three brokers stands still."""
    time.sleep(2)  # rates are measured over time
    leaders, victim = one.cluster.leaders(one.topic), one.leader()
    begun_s, before = time.monotonic(), one.acked()
    one.cluster.nodes[victim].freeze()
    time.sleep(seconds)
    after, took_s = one.acked(), time.monotonic() - begun_s
    one.cluster.heal()
    one.cluster.wait_in_sync(one.topic)
    found = finish(one, place)
    found.require_exact(min_lines=int(seconds) * LINES_PER_S, min_faults=1)

    frozen = {number for number, leader in leaders.items() if leader == victim}
    others = {label for label in LABELS if not found.partitions[label] & frozen}
    usual = LINES_PER_S / len(LABELS)
    rates = sorted((after[label] - before[label]) / took_s / usual for label in others)
    print(f"{len(others)} of {len(LABELS)} files go elsewhere; the slowest keeps {rates[0]:.0%} of its rate")
    assert 0 < len(others) < len(LABELS)
    assert rates[0] >= KEPT


@pytest.mark.parametrize("thread_num", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_a_frozen_broker_does_not_slow_down_the_partitions_of_others(
    cluster_39: KafkaCluster, stage: Callable[..., Stage], tmp_path: Path, thread_num: int
) -> None:
    _keeps_rate(stage(cluster_39, replicas=1, thread_num=thread_num), 10, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("thread_num", [1, 4])
def test_a_broker_frozen_for_a_minute_does_not_slow_down_the_partitions_of_others(
    cluster_4x: KafkaCluster, stage: Callable[..., Stage], tmp_path: Path, thread_num: int
) -> None:
    _keeps_rate(stage(cluster_4x, replicas=1, thread_num=thread_num), 60, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(MIX_S + 900)
@pytest.mark.parametrize("version", ["39", "4x"])
def test_all_faults_at_random_with_kills_and_rotation_leave_every_line_exactly_once(
    request: pytest.FixtureRequest, stage: Callable[..., Stage], tmp_path: Path, version: str
) -> None:
    one = stage(request.getfixturevalue(f"cluster_{version}"))
    one.mixed = True
    kills = Kills(one.shipper, one.network, random.Random(SEED))
    over = threading.Event()
    done: Counter[str] = Counter()

    def befall() -> None:
        while not over.is_set():
            fault = one.dice.choice(MIXED)
            fault(one)
            done[fault.__name__] += 1
            one.cluster.heal()

    with ThreadPoolExecutor(1) as pool:
        befalling = pool.submit(befall)
        try:
            until_s = time.monotonic() + MIX_S
            while time.monotonic() < until_s and not befalling.done():
                kills.strike(one.dice.choice(["random", "random", "early", *AIMED]))
        finally:
            over.set()
        befalling.result(timeout=300)
    one.mixed = False
    kills.wait_flow()
    kills.finish()
    one.note(f"{dict(done)}; {kills.seen}")
    found = finish(one, tmp_path, faults_seen=kills.seen.total + done.total())
    found.require_exact(min_lines=MIX_S * LINES_PER_S // 2, min_faults=MIX_S // 10, min_rotations=len(LABELS))
    assert not kills.seen.other, str(kills.seen)
