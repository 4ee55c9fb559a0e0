# SPDX-License-Identifier: Apache-2.0
"""What a real Kafka refused is listed, sent once more and dropped while the agent runs."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.agent import AgentProcess
from tests.support.consumer import read_messages
from tests.support.kafka import KafkaNode


def command(shipper: AgentProcess, *argv: str) -> tuple[int, str, str]:
    done = shipper.run_cli("dead-letter", *argv, "-c", str(shipper.ini), timeout_s=90)
    return done.returncode, done.stdout, done.stderr


def listed(shipper: AgentProcess) -> list[dict]:
    code, out, _ = command(shipper, "list", "--json")
    assert code == 0
    return json.loads(out)["letters"]


def test_refused_lines_are_sent_again_when_the_topic_takes_them(
    kafka: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    kafka.create_topic(topic, config={"max.message.bytes": "5000"})
    path = tmp_path / "a.log"
    large = [b"%d" % number + b"x" * 20_000 for number in range(3)]
    path.write_bytes(b"\n".join([b"first", *large, b"last", b""]))
    shipper = agent(
        kafka_addr=kafka.address, services={"s": {"log_path": path, "topic": topic, "headers": "origin"}}
    )
    shipper.wait_acked()

    assert [one["offset"] for one in listed(shipper)] == [6, 20_008, 40_010]
    code, out, err = command(shipper, "resend")
    assert (code, out) == (1, "0 records arrived\n")
    assert err.count("the batch is larger than the topic's max.message.bytes") == 3
    assert len(listed(shipper)) == 3

    code, out, _ = command(shipper, "drop", listed(shipper)[1]["id"], "--yes")
    assert (code, out) == (0, "1 record dropped\n")
    kafka.set_topic(topic, {"max.message.bytes": "100000"})
    code, out, err = command(shipper, "resend", "--topic", topic)
    assert (code, out, err) == (0, "2 records arrived\n", "")
    assert listed(shipper) == []

    found = [(one.value(), one.headers()) for one in read_messages(kafka.address, topic, expect=4)]
    values = [value for value, _ in found]
    assert sorted(values) == sorted([b"first", b"last", large[0], large[2]])
    assert values.index(large[0]) < values.index(large[2])
    assert all(dict(headers)["path"] == bytes(path) for _, headers in found)

    with path.open("ab") as file:
        file.write(b"z" * 200_000 + b"\n")
    shipper.wait_acked()
    assert [one["offset"] for one in listed(shipper)] == [path.stat().st_size - 200_001]
