# SPDX-License-Identifier: Apache-2.0
"""The reader and the checker against real brokers, with librdkafka as the producer: no agent yet."""

from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.support.checker import check
from tests.support.consumer import Reader, consume
from tests.support.kafka import KafkaNode, count_brokers
from tests.support.lines import Line, Written, make_line

LINES = 2000


def produce(address: str, topic: str, sequences: list[int]) -> None:
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True})
    for sequence in sequences:
        producer.produce(topic, make_line("a", sequence, 200), partition=1)
    assert producer.flush(30) == 0


def test_what_was_produced_is_read_back_exactly(kafka: KafkaNode, topic: str, tmp_path: Path) -> None:
    kafka.create_topic(topic)
    produce(kafka.address, topic, list(range(LINES)))

    records = consume(kafka.address, topic, tmp_path, expect=LINES)

    check([Written("a", 0, LINES - 1)], records).require_exact(min_lines=LINES)
    assert [record.offset for record in records] == list(range(LINES))


def test_a_lost_and_a_doubled_line_are_named(kafka: KafkaNode, topic: str, tmp_path: Path) -> None:
    kafka.create_topic(topic)
    produce(kafka.address, topic, [*range(5), *range(6, LINES), 7])

    report = check([Written("a", 0, LINES - 1)], consume(kafka.address, topic, tmp_path, expect=LINES))

    assert not report.exact
    assert (report.lost, report.doubled) == ([Line("a", 5)], [Line("a", 7)])


def test_records_beyond_the_expected_ones_are_read(kafka_4x: KafkaNode, topic: str, tmp_path: Path) -> None:
    kafka_4x.create_topic(topic)
    produce(kafka_4x.address, topic, [0, 1, 2])

    assert len(consume(kafka_4x.address, topic, tmp_path, expect=2, timeout_s=20)) == 3


def test_a_reader_that_waits_in_vain_gives_what_came(kafka_4x: KafkaNode, topic: str, tmp_path: Path) -> None:
    kafka_4x.create_topic(topic)
    produce(kafka_4x.address, topic, [0, 1, 2])

    reader = Reader(kafka_4x.address, topic, tmp_path, expect=4, timeout_s=2)

    assert len(reader.result()) == 3
    assert not reader.complete


def test_a_broker_comes_back_on_its_port_with_its_data(
    kafka_node: Callable[..., KafkaNode], kafka_version: str, topic: str, tmp_path: Path
) -> None:
    node = kafka_node(kafka_version, partitions=2)
    produce(node.address, topic, list(range(10)))  # the topic creates itself

    node.freeze()
    assert count_brokers(node.port) == 0
    node.thaw()
    node.wait_ready(timeout_s=20)
    node.kill()
    assert count_brokers(node.port) == 0
    node.start()

    records = consume(node.address, topic, tmp_path, expect=10)
    check([Written("a", 0, 9)], records).require_exact(min_lines=10)


def test_a_broker_without_auto_create_knows_only_the_topics_made(
    kafka_node: Callable[..., KafkaNode], topic: str
) -> None:
    node = kafka_node(auto_create=False, properties={"message.max.bytes": 5000})
    producer = Producer({"bootstrap.servers": node.address, "message.timeout.ms": 1000, "log_level": 0})
    faults: list[str] = []

    for name, size_bytes in ((topic, 100), ("made", 9000)):
        if name == "made":
            node.create_topic(name, partitions=1)
        producer.produce(name, b"x" * size_bytes, on_delivery=lambda error, _: faults.append(error.name()))
        producer.flush(10)

    assert len(faults) == 2
    assert faults[1] == "MSG_SIZE_TOO_LARGE"
    known = AdminClient({"bootstrap.servers": node.address}).list_topics(timeout=10).topics
    assert topic not in known
    assert "made" in known
