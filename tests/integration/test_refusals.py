# SPDX-License-Identifier: Apache-2.0
"""Kafka refuses a topic or a single record: only that one waits or is set aside."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import require_kafka
from tests.integration.proofs import file_state, prove, put_lines, sentences
from tests.support.agent import AgentProcess
from tests.support.kafka import KAFKA_39, KafkaNode
from tests.support.lines import Written, make_line


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """A broker on which topics do not create themselves."""
    require_kafka(KAFKA_39)
    made = KafkaNode(KAFKA_39, tmp_path_factory.mktemp("no-auto-create"), auto_create=False)
    try:
        yield made.start()
    finally:
        made.close()


def test_a_missing_topic_is_parked_alone_and_everything_comes_once_it_is_there(
    node: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    node.create_topic(topic)
    late = f"{topic}-late"
    paths = {"good": tmp_path / "good.log", "parked": tmp_path / "parked.log"}
    shipper = agent(
        kafka_addr=node.address,
        services={
            "good": {"log_path": paths["good"], "topic": topic},
            "parked": {"log_path": paths["parked"], "topic": late},
        },
    )
    shipper.wait_ready()
    before = {name: put_lines(path, name, 2000) for name, path in paths.items()}
    shipper.wait_for(
        lambda: file_state(shipper, paths["good"]).get("lag_bytes") == 0, what="good is acknowledged"
    )

    shipper.wait_for(
        lambda: late in str(file_state(shipper, paths["parked"]).get("reason")),
        what="the reason names the topic",
    )
    reason = str(file_state(shipper, paths["parked"])["reason"])
    assert "does not exist" in reason
    code, why = shipper.http("/healthz")
    assert code == 503
    assert late in why
    assert shipper.fetch_status()["state"] == "degraded"
    shipper.wait_for(
        lambda: sentences(shipper, "ERROR", f"Topic {late} takes nothing"),
        timeout_s=10,
        what="the log tells it",
    )
    more = put_lines(paths["good"], "good", 500, first=2000)
    shipper.wait_for(lambda: file_state(shipper, paths["good"])["lag_bytes"] == 0, what="good goes on")
    assert file_state(shipper, paths["parked"])["acked_offset_bytes"] == 0

    node.create_topic(late)
    shipper.wait_acked()
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, what="/healthz is well again")
    assert len(sentences(shipper, "ERROR", late)) == 1, "the same is not told again and again"
    assert len(sentences(shipper, f"Topic {late} takes lines again")) == 1
    prove(node, topic, tmp_path, [Written("good", 0, more.last)], min_lines=2500)
    prove(node, late, tmp_path, [before["parked"]], min_lines=2000)


def test_a_topic_deleted_under_load_is_parked_and_served_again_when_it_is_back(
    node: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    node.create_topic(topic)
    path = tmp_path / "a.log"
    put_lines(path, "a", 1000)
    shipper = agent(kafka_addr=node.address, services={"s": {"log_path": path, "topic": topic}})
    shipper.wait_acked()

    node.delete_topic(topic)
    after = put_lines(path, "a", 1000, first=1000)
    shipper.wait_for(lambda: topic in shipper.http("/healthz")[1], what="/healthz names the topic")
    node.create_topic(topic)
    shipper.wait_acked()
    prove(node, topic, tmp_path, [after], min_lines=1000)


def test_an_illegal_topic_cannot_be_configured(agent: Callable[..., AgentProcess], tmp_path: Path) -> None:
    illegal = ["..", "nginx log", "ngi/nx", "n" * 250, "ünicode"]
    shipper = agent(
        kafka_addr="127.0.0.1:1",
        services={f"s{n}": {"log_path": tmp_path / "a.log", "topic": name} for n, name in enumerate(illegal)},
        start=False,
    )
    for command in ("check", "run"):
        done = shipper.run_cli(command, "-c", str(shipper.ini))
        assert done.returncode == 2
        faults = done.stderr.splitlines()
        assert len(faults) == len(illegal)
        for number, name in enumerate(illegal):
            assert f"[services.s{number}] topic = '{name[:100]}" in faults[number]


def test_a_refused_record_goes_to_the_dead_letter_file_and_all_others_arrive(
    kafka: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, config={"max.message.bytes": "20000"})
    path = tmp_path / "mixed.log"
    before = put_lines(path, "a", 1000)
    offset = path.stat().st_size
    refused = b"\xff" + make_line("large", 0, 50_000)
    with path.open("ab") as file:
        file.write(refused + b"\n")
    put_lines(path, "a", 1000, first=1000)
    shipper = agent(kafka_addr=kafka.address, services={"mixed": {"log_path": path, "topic": topic}})
    shipper.wait_acked()

    prove(kafka, topic, tmp_path, [Written("a", before.first, 1999)], min_lines=2000)
    rows = (shipper.data_dir / "dead-letter.jsonl").read_text().splitlines()
    assert len(rows) == 1
    dead = json.loads(rows[0])
    assert list(dead) == ["time", "service", "topic", "path", "offset", "bytes_b64", "reason", "code"]
    assert datetime.fromisoformat(dead["time"]).tzinfo is not None
    assert base64.b64decode(dead["bytes_b64"]) == refused
    assert (dead["service"], dead["topic"], dead["path"], dead["offset"], dead["code"]) == (
        "mixed",
        topic,
        str(path),
        offset,
        10,
    )
    assert (shipper.data_dir / "dead-letter.jsonl").stat().st_mode & 0o777 == 0o600
    assert shipper.metric("logagent_dead_letter_records_total") == 1
    assert shipper.metrics()['logagent_events_total{event="batch_split"}'] >= 3, "the batch was halved"
    assert len(sentences(shipper, "ERROR", "dead-letter", str(path), f"byte {offset} ")) == 1
    shipper.stop()
    shipper.start()
    shipper.wait_acked()
    assert len((shipper.data_dir / "dead-letter.jsonl").read_text().splitlines()) == 1
