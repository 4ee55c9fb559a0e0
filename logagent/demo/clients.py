# SPDX-License-Identifier: Apache-2.0
"""What the demo does with Kafka, through librdkafka, which shares nothing with the agent. Only in child processes."""

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from logagent.errors import DemoFailed

_QUIET: dict[str, Any] = {"log_level": 0, "reconnect.backoff.max.ms": 500, "client.id": "logagent-demo"}
PARTITIONS = 4


def start_test_broker() -> tuple[object, str]:
    """The mock cluster of librdkafka, in this process, in memory, on loopback: it lives as long as the first value."""
    owner = Producer(_QUIET | {"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    return owner, f"{broker.host}:{broker.port}"


def create_topic(address: str, name: str, timeout_s: float) -> None:
    """Raises DemoFailed when no broker answers or the broker refuses."""
    admin = AdminClient(_QUIET | {"bootstrap.servers": address})
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise DemoFailed(f"No Kafka answers at {address}: {error.args[0].str()}.") from error
    try:
        wanted = NewTopic(name, num_partitions=PARTITIONS, replication_factor=-1)
        for future in admin.create_topics([wanted]).values():
            future.result(timeout=timeout_s)
    except KafkaException as error:
        raise DemoFailed(f"{address} does not create the topic {name}: {error.args[0].str()}.") from error


class Reader:
    """Every partition of a topic from its beginning, checksums on, nothing committed."""

    def __init__(self, address: str, topic: str, timeout_s: float = 20) -> None:
        """Waits for the topic to have partitions; raises DemoFailed after ``timeout_s``."""
        options = {
            "bootstrap.servers": address,
            "group.id": "logagent-demo",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 50,
            "fetch.error.backoff.ms": 100,
        }
        self._consumer = Consumer(_QUIET | options)
        numbers = self._partitions(address, topic, time.monotonic() + timeout_s)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])

    def _partitions(self, address: str, topic: str, deadline: float) -> list[int]:
        reason = "it has no partitions"
        while time.monotonic() < deadline:
            try:
                known = self._consumer.list_topics(topic, timeout=5).topics[topic]
                if known.error is None and known.partitions:
                    return sorted(known.partitions)
            except KafkaException as error:
                reason = error.args[0].str()
            time.sleep(0.1)
        raise DemoFailed(f"The topic {topic} cannot be read at {address}: {reason}.")

    def values(self, wait_s: float) -> Iterator[bytes]:
        """What has come, after at most ``wait_s`` when there is nothing. An unreachable broker is nothing."""
        # consume() waits for as many as it is asked for: one to wake up, then all that are there.
        for message in [*self._consumer.consume(1, wait_s), *self._consumer.consume(5000, 0)]:
            if message.error() is None:
                yield message.value() or b""

    def close(self) -> None:
        self._consumer.close()
