# SPDX-License-Identifier: Apache-2.0
"""The main job: real files, rotated while they are written, to real brokers, with stops of the agent and of Kafka."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.proofs import Services, prove, put_lines, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.writer import Habits, Writer

NGINX_FILES = 3
LINES_PER_FILE = 6500
LATE = Habits(
    lines=LINES_PER_FILE,
    rate_lines_per_s=NGINX_FILES * 800,
    burst_lines=10,
    torn=True,
    rotate_every_lines=3000,
    late_lines=20,
)


def test_nginx_logs_arrive_exactly_while_files_rotate_and_agent_and_broker_stop_and_start(
    kafka_node: Callable[..., KafkaNode],
    kafka_version: str,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    tmp_path: Path,
) -> None:
    logs = tmp_path / "nginx"
    logs.mkdir()
    node = kafka_node(kafka_version)
    services: Services = {
        "access": {"log_path": logs / "access-*.log", "topic": topic},
        "error": {"log_path": logs / "error.log", "topic": topic},
    }
    shipper = agent(kafka_addr=node.address, services=services, files={"rotate_wait_s": 1})
    shipper.wait_ready()
    nginx = writer({name: logs / f"{name}.log" for name in ("access-a", "access-b", "error")}, LATE)

    def written(lines_per_file: int) -> bool:
        return nginx.lines_so_far() >= NGINX_FILES * lines_per_file

    # The files rotate once while the agent is off: what happened in that time is another issue's when it is more.
    shipper.wait_for(lambda: written(2600), what="2,600 lines are in each file")
    shipper.stop(expect_exit=0)
    assert stored_offsets(shipper)
    shipper.start()
    shipper.wait_for(lambda: written(3800), what="3,800 lines are in each file")
    node.stop()
    shipper.wait_for(lambda: written(5000), what="5,000 lines are in each file")
    node.start()
    ledger = nginx.wait()
    shipper.wait_acked()
    shipper.stop()

    proof = prove(
        node,
        topic,
        tmp_path,
        ledger,
        faults=shipper.starts,
        min_lines=NGINX_FILES * LINES_PER_FILE,
        min_faults=2,
        min_rotations=2 * NGINX_FILES,
    )
    assert all(len(numbers) == 1 for numbers in proof.partitions.values()), "a file keeps its partition"


def test_a_glob_that_matches_the_rotated_names_too_doubles_nothing(
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    tmp_path: Path,
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    shipper = agent(
        kafka_addr=kafka_39.address, services={"app": {"log_path": f"{logs}/app.log*", "topic": topic}}
    )
    shipper.wait_ready()
    app = writer(
        {"app": logs / "app.log"},
        Habits(lines=6000, rate_lines_per_s=4000, burst_lines=10, rotate_every_lines=1500, late_lines=10),
    )
    ledger = app.wait()
    shipper.wait_acked()

    prove(kafka_39, topic, tmp_path, ledger, min_lines=6000, min_rotations=3)


@pytest.mark.parametrize("thread_num", [1, 8])
def test_any_number_of_sender_threads_delivers_exactly(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path, thread_num: int
) -> None:
    written = [put_lines(tmp_path / f"{n}.log", f"f{n}", 1500) for n in range(8)]
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"many": {"log_path": tmp_path / "*.log", "topic": topic}},
        top={"thread_num": thread_num},
    )
    shipper.wait_acked()

    prove(kafka_39, topic, tmp_path, written, min_lines=12_000)


def test_round_robin_spreads_one_file_over_the_partitions_and_loses_nothing(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    written = put_lines(tmp_path / "a.log", "a", 6000)
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"spread": {"log_path": tmp_path / "a.log", "topic": topic}},
        kafka={"partitioner": "round_robin", "batch_bytes": 50_000},
    )
    shipper.wait_acked()

    proof = prove(kafka_39, topic, tmp_path, [written], min_lines=6000)
    assert proof.partitions["a"] == {0, 1, 2}


def test_after_a_stop_the_positions_on_disk_are_the_sizes_of_the_files(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.log" for name in "abc"]
    shipper = agent(
        kafka_addr=kafka_39.address, services={"s": {"log_path": tmp_path / "*.log", "topic": topic}}
    )
    shipper.wait_ready()
    written = [put_lines(path, path.stem, 700) for path in paths]
    # What was read is sent before the agent leaves: no need to wait for acknowledgements here.
    shipper.wait_for(lambda: shipper.metric("logagent_lines_read_total") == 2100, what="all is read")
    shipper.stop()

    assert stored_offsets(shipper) == {bytes(path): path.stat().st_size for path in paths}
    prove(kafka_39, topic, tmp_path, written, min_lines=2100)
