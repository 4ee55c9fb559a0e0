# SPDX-License-Identifier: Apache-2.0
"""Three real Kafka nodes, each broker and controller, to be killed, frozen and restarted one by one."""

import base64
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not say that it exports them
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.support.kafka import HOST, KafkaNode, count_brokers, free_port
from tests.support.waiting import wait_until

NODES = 3
PARTITIONS = 6
MIN_IN_SYNC = 2
SESSION_S = 3.0  # after this long without a sign of life a broker leads nothing any more
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
_LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="node" password="node" user_node="node";'
)


class KafkaCluster:
    """Nodes 1 to 3 below ``directory``; topics have 6 partitions, 3 replicas, 2 of which must be in sync."""

    def __init__(
        self, version: str, directory: Path, *, properties: Mapping[str, object] | None = None
    ) -> None:
        """``properties`` go over those of server.properties, on every node."""
        self.version = version
        controllers = {number: free_port() for number in range(1, NODES + 1)}
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in controllers.items())
        self.nodes: dict[int, KafkaNode] = {}
        for number, controller in controllers.items():
            port = free_port()
            values = _properties(number, voters, port, controller) | dict(properties or {})
            place = directory / f"node{number}"
            self.nodes[number] = KafkaNode(version, place, port=port, properties=values)

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes.values()]

    @property
    def address(self) -> str:
        """The way to all brokers, past every proxy."""
        return ",".join(node.address for node in self.nodes.values())

    @property
    def pids(self) -> set[int]:
        return {node.pid for node in self.nodes.values() if node.running}

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        self._format()
        for node in self.nodes.values():
            node.launch()
        self.wait_ready()
        return self

    def _format(self) -> None:
        """The tool takes a second for each node; what it writes differs in two ids only."""
        first, *others = self.nodes.values()
        if (first.directory / "data" / "meta.properties").exists():
            return
        first._format()
        for number, node in enumerate(others, 2):
            shutil.copytree(first.directory / "data", node.directory / "data")
            meta = node.directory / "data" / "meta.properties"
            lines = [line for line in meta.read_text().splitlines() if not line.startswith("directory.id=")]
            own = [f"node.id={number}" if line.startswith("node.id=") else line for line in lines]
            meta.write_text("\n".join([*own, f"directory.id={_directory_id()}", ""]))

    def wait_ready(self, *, timeout_s: float = 90) -> None:
        """Every node that runs answers, and all are part of the cluster."""
        for node in self.nodes.values():
            if not node.running:
                node.launch()
        for node in self.nodes.values():
            node.wait_ready(timeout_s=timeout_s)
        wait_until(
            lambda: all(count_brokers(port) == NODES for port in self.ports),
            timeout_s,
            f"Kafka {self.version} has {NODES} brokers\n{self.failure_report()}",
        )

    def heal(self) -> None:
        """Frozen nodes run on, killed ones are started."""
        for node in self.nodes.values():
            if node.running:
                node.thaw()
        self.wait_ready()

    def kill_all(self) -> None:
        for node in self.nodes.values():
            node.kill()

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()

    def failure_report(self) -> str:
        return "\n".join(node.failure_report() for node in self.nodes.values())

    # -- topics --------------------------------------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = PARTITIONS,
        replicas: int = NODES,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Returns when every partition has a leader and all its replicas."""
        wanted = NewTopic(
            name, num_partitions=partitions, replication_factor=replicas, config=dict(config or {})
        )
        self._do(lambda admin: admin.create_topics([wanted]))
        self.wait_in_sync(name, partitions=partitions)

    def delete_topic(self, name: str) -> None:
        """Returns when no broker knows it any more."""
        self._do(lambda admin: admin.delete_topics([name]))
        wait_until(lambda: name not in self.topics(), 30, f"{name} is gone")

    def add_partitions(self, name: str, partitions: int) -> None:
        """So that it has so many."""
        self._do(lambda admin: admin.create_partitions([NewPartitions(name, partitions)]))
        self.wait_in_sync(name, partitions=partitions)

    def topics(self) -> set[str]:
        return set(self._admin().list_topics(timeout=10).topics)

    def leaders(self, topic: str, *, ask: int | None = None) -> dict[int, int]:
        """Partition -> node that leads it, -1 for nobody, as ``ask`` or any other node says; empty if none does."""
        address = self.address if ask is None else self.nodes[ask].address
        try:
            found = _admin(address).list_topics(topic, timeout=2).topics[topic]
        except KafkaException:
            return {}
        return {number: one.leader for number, one in found.partitions.items()}

    def preferred(self, topic: str) -> dict[int, int]:
        """Partition -> the node that shall lead it."""
        found = self._admin().list_topics(topic, timeout=10).topics[topic]
        return {number: one.replicas[0] for number, one in found.partitions.items()}

    def in_sync(self, topic: str, partitions: int | None = None) -> bool:
        """Whether each partition has a leader and all its replicas are in sync."""
        try:
            found = self._admin().list_topics(topic, timeout=5).topics[topic].partitions
        except KafkaException:
            return False
        whole = all(one.leader >= 0 and len(one.isrs) == len(one.replicas) for one in found.values())
        return whole and bool(found) and partitions in (None, len(found))

    def wait_in_sync(self, topic: str, *, partitions: int | None = None, timeout_s: float = 60) -> None:
        wait_until(
            lambda: self.in_sync(topic, partitions),
            timeout_s,
            f"all replicas of {topic} are in sync",
            interval_s=0.1,
        )

    def elect_preferred(self, topic: str, partitions: Iterable[int]) -> None:
        """The first replica of each leads again."""
        wanted = [TopicPartition(topic, number) for number in partitions]
        self._do(lambda admin: {"": admin.elect_leaders(ElectionType.PREFERRED, wanted)})

    def deny(self, topic: str, *operations: str) -> None:
        """Nobody may do this with the topic until allow_all(); everything else stays allowed."""
        denied = [_rule(topic, one, AclPermissionType.DENY) for one in operations]
        allowed = _rule(topic, "ALL", AclPermissionType.ALLOW)  # with any rule, what has none is forbidden
        self._do(lambda admin: admin.create_acls([allowed, *denied]))

    def allow_all(self, topic: str) -> None:
        any_rule = AclBindingFilter(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            None,  # type: ignore[arg-type]  # any
            None,  # type: ignore[arg-type]  # any
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        self._do(lambda admin: admin.delete_acls([any_rule]))

    def _do(self, order: Callable[[AdminClient], Mapping[Any, Future[Any]]]) -> None:
        admin = self._admin()  # it must live as long as its futures
        for future in order(admin).values():
            future.result(timeout=30)

    def _admin(self) -> AdminClient:
        return _admin(self.address)


def _admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": 5000})


def _rule(topic: str, operation: str, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:*",
        "*",
        AclOperation[operation],
        permission,
    )


def _directory_id() -> str:
    """As Kafka writes a UUID; a dash in front would be an option to its tools."""
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def _properties(number: int, voters: str, port: int, controller: int) -> dict[str, object]:
    return {
        "node.id": number,
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        # Before they know the rules, controllers only talk to each other as somebody who needs none.
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": _LOGIN,
        "super.users": "User:node",
        "authorizer.class.name": AUTHORIZER,
        "allow.everyone.if.no.acl.found": "true",
        "auto.create.topics.enable": "false",
        "num.partitions": PARTITIONS,
        "default.replication.factor": NODES,
        "min.insync.replicas": MIN_IN_SYNC,
        "offsets.topic.replication.factor": NODES,
        "transaction.state.log.replication.factor": NODES,
        "transaction.state.log.min.isr": MIN_IN_SYNC,
        "broker.session.timeout.ms": int(SESSION_S * 1000),
        "controller.quorum.election.timeout.ms": 500,
        "controller.quorum.fetch.timeout.ms": 1500,
        "controlled.shutdown.enable": "true",
        "auto.leader.rebalance.enable": "false",
    }
