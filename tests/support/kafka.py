# SPDX-License-Identifier: Apache-2.0
"""The demo's Kafka node with what only tests do to it: freeze it, make topics, and fail by assertion."""

import signal
from collections.abc import Mapping

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not say that it exports them
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from logagent.demo import kafka_node
from logagent.demo.kafka_node import HOST, KAFKA_4X, KAFKA_39, VERSIONS, count_brokers, find_libs, free_port
from logagent.errors import DemoFailed, KafkaMissing
from tests.support.processes import Child

__all__ = [
    "HOST",
    "KAFKA_4X",
    "KAFKA_39",
    "VERSIONS",
    "KafkaMissing",
    "KafkaNode",
    "count_brokers",
    "find_libs",
    "free_port",
]


class KafkaNode(kafka_node.KafkaNode):
    """A broker with its own port, data and log below ``directory``; start() and stop() any number of times."""

    child_type = Child
    _child: Child | None

    def launch(self) -> None:
        """start() without the waiting."""
        try:
            super().launch()
        except DemoFailed as error:
            raise AssertionError(str(error)) from None

    def wait_ready(self, *, timeout_s: float = 60) -> None:
        """AssertionError with its log when it does not answer in time."""
        try:
            super().wait_ready(timeout_s=timeout_s)
        except DemoFailed as error:
            raise AssertionError(str(error)) from None

    def stop(self, *, timeout_s: float = 20) -> None:
        """In order, also when it is frozen."""
        if self._child is not None:
            self.thaw()
        super().stop(timeout_s=timeout_s)

    def freeze(self) -> None:
        """SIGSTOP: the port still accepts, nobody answers; returns when every thread has stopped."""
        assert self._child is not None
        self._child.freeze()

    def thaw(self) -> None:
        assert self._child is not None
        self._child.signal(signal.SIGCONT)

    def create_topic(
        self, name: str, *, partitions: int = 3, config: Mapping[str, str] | None = None
    ) -> None:
        """On this broker, through librdkafka."""
        admin = self._admin()
        wanted = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        for future in admin.create_topics([wanted]).values():
            future.result(timeout=30)

    def set_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Change settings of a topic."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        admin = self._admin()
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(timeout=30)

    def configure_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Change these settings of the topic; the others stay."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        admin = self._admin()
        wanted = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        for future in admin.incremental_alter_configs([wanted]).values():
            future.result(timeout=30)

    def delete_topic(self, name: str) -> None:
        admin = self._admin()  # it must live as long as its futures
        for future in admin.delete_topics([name]).values():
            future.result(timeout=30)

    def allow_only(self, topic: str, operation: str) -> None:
        """Everybody may do just this with the topic (and ask what it is). The broker needs an authorizer."""
        admin = self._admin()
        rules = [
            AclBinding(
                ResourceType.TOPIC,
                topic,
                ResourcePatternType.LITERAL,
                "User:*",
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )
        ]
        for future in admin.create_acls(rules).values():
            future.result(timeout=30)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})
