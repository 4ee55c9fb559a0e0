# SPDX-License-Identifier: Apache-2.0
"""One real Kafka for all shippers of a run, and how many records its topics hold."""

import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import AdminClient

from bench.watermarks import Watermarks
from tests.support.kafka import HOST, KAFKA_39, KafkaNode
from tests.support.waiting import wait_until

POLL_S = 0.05
_PROPERTIES = {
    "log.segment.bytes": 1 << 30,  # the default of Kafka; the tests' node rolls early
    "log.index.size.max.bytes": 10 << 20,
}


class Stalled(Exception):
    """The records did not come in time."""


class Broker:
    """A fresh node; topics are made before a shipper starts and deleted after its round."""

    def __init__(self, directory: Path) -> None:
        self.node = KafkaNode(KAFKA_39, directory, auto_create=False, properties=_PROPERTIES).start()
        self._admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        self._watermarks = Watermarks(HOST, self.node.port)

    @property
    def address(self) -> str:
        return self.node.address

    @property
    def pid(self) -> int:
        return self.node.pid

    def close(self) -> None:
        self._watermarks.close()
        self.node.close()

    def create_topic(self, topic: str, partitions: int) -> None:
        """With the broker's clock as the time stamp of every record."""
        config = {"message.timestamp.type": "LogAppendTime"}
        self.node.create_topic(topic, partitions=partitions, config=config)
        wait_until(lambda: self._watermarks.count(topic, partitions) is not None, 30, f"{topic} has leaders")

    def delete_topic(self, topic: str) -> None:
        """And wait until the broker says so; its files vanish a minute later."""
        for future in self._admin.delete_topics([topic]).values():
            future.result(timeout=30)

    def count(self, topic: str, partitions: int) -> int:
        """The records in the topic; the question is charged to nobody but the broker."""
        return self._watermarks.count(topic, partitions) or 0

    def wait_count(
        self, topic: str, partitions: int, records: int, timeout_s: float, alive: Callable[[], bool]
    ) -> None:
        """Return within POLL_S of the record that makes the count full; Stalled when it does not come."""
        deadline = time.monotonic() + timeout_s
        while (there := self.count(topic, partitions)) < records:
            if time.monotonic() >= deadline or not alive():
                why = f"after {timeout_s:g} s" if alive() else "and the shipper has ended"
                raise Stalled(f"{topic}: {there} of {records} records {why}")
            time.sleep(POLL_S)
