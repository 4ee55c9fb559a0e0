# SPDX-License-Identifier: Apache-2.0
"""Asks brokers what became of a batch: first its leader, and where that is not enough, all who may lead next."""

from collections.abc import Sequence

from logagent.errors import KafkaError, NotAnswered
from logagent.kafka.connections import Cluster, Connection
from logagent.kafka.error_codes import NONE, UNKNOWN_TOPIC_OR_PARTITION
from logagent.kafka.metadata import PartitionView
from logagent.recovery.rules import Answer, Look, Silence, Told

DENIED = frozenset({29, 31, 35})
"""Who may not ask, and who is not understood, learns nothing by asking again."""


class Doubts:
    """The questions. Every answer may be out of date when it comes: the rules know."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def leaders_word(self, connection: Connection, topic: str, partition: int, producer_id: int) -> Answer:
        """What the broker at the other end knows of the producer id.

        Raises NotAnswered when it is not the one to ask or not ready, KafkaError when it does not answer.
        """
        if not self._cluster.knows_describe_producers(connection):
            return Silence.UNASKABLE
        found = self._cluster.describe_producers(connection, topic, partition)
        if found.code in DENIED:
            return Silence.UNASKABLE
        if found.code != NONE:
            raise NotAnswered(found.code)
        producer = found.producers.get(producer_id)
        return Silence.ABSENT if producer is None else Told(producer.epoch, producer.last_sequence)

    def look(self, topic: str, partition: int, producer_id: int) -> Look:
        """What every replica in sync knows of it. Raises NotAnswered or KafkaError when that cannot be seen now."""
        before = self._view(topic, partition)
        answers = {node: self._replicas_word(node, topic, partition, producer_id) for node in before.in_sync}
        after = self._view(topic, partition)
        return Look(
            before.leader_epoch,
            after.leader_epoch,
            after.leader,
            frozenset(after.in_sync),
            answers,
            self._least_in_sync(topic, after.replicas),
        )

    def _replicas_word(self, node: int, topic: str, partition: int, producer_id: int) -> Answer:
        connection = self._cluster.connect(node)
        try:
            return self.leaders_word(connection, topic, partition, producer_id)
        finally:
            connection.close()

    def _view(self, topic: str, partition: int) -> PartitionView:
        found = self._cluster.describe([topic]).topics.get(topic)
        view = found.partitions.get(partition) if found is not None else None
        if view is None:
            raise NotAnswered(UNKNOWN_TOPIC_OR_PARTITION if found is None else found.code)
        return view

    def _least_in_sync(self, topic: str, replicas: Sequence[int]) -> int:
        """What an answer to acks = all proves; where nobody tells, the majority."""
        try:
            told = self._cluster.least_in_sync(topic)
        except KafkaError:
            told = None
        return told if told is not None else len(replicas) // 2 + 1
