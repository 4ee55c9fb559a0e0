# SPDX-License-Identifier: Apache-2.0
"""Connections to brokers: one for each greenlet of the pool and broker, kept while they are used and well."""

from logagent.clock import MonotonicClock
from logagent.errors import BrokerUnavailable, KafkaError, ProtocolViolation
from logagent.kafka.connections import Cluster, Connection
from logagent.senders.directory import Directory
from logagent.senders.leaders import Leaders

IDLE_CONNECTION_S = 60.0


class Links:
    """By slot of the pool and node id of the broker."""

    def __init__(
        self, cluster: Cluster, directory: Directory, leaders: Leaders, clock: MonotonicClock
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._leaders = leaders
        self._clock = clock
        self._connections: dict[tuple[int, int], tuple[Connection, float]] = {}
        self._failed_s: dict[int, float] = {}

    def get(self, slot: int, node_id: int) -> Connection:
        """An open connection; raises KafkaError when there is none to be had."""
        connection, used_s = self._connections.get((slot, node_id), (None, 0.0))
        address = self._directory.brokers.get(node_id)
        if connection is not None:
            # Brokers and what lies between close idle connections; a moved broker has another address; and where one
            # connection failed, the others of that time are dead too.
            fresh = used_s > max(self._clock() - IDLE_CONNECTION_S, self._failed_s.get(node_id, 0.0))
            if fresh and connection.address == address and connection.connected:
                return connection
            connection.close()
            del self._connections[slot, node_id]
        connection = self._cluster.connect(node_id)
        self.used(slot, node_id, connection)
        return connection

    def used(self, slot: int, node_id: int, connection: Connection) -> None:
        """A call on it was answered just now."""
        self._connections[slot, node_id] = connection, self._clock()

    def failed(self, slot: int, node_id: int, error: KafkaError) -> None:
        """The broker did not answer, or cannot be reached: nothing is sent there until it answers again."""
        self.drop(slot, node_id)
        self._failed_s[node_id] = self._clock()
        if isinstance(error, BrokerUnavailable | ProtocolViolation):
            self._leaders.failed(node_id, error.address, error.reason)
        else:
            self._leaders.failed(node_id, "?", str(error))

    def drop(self, slot: int, node_id: int) -> None:
        """Close the connection."""
        connection, _ = self._connections.pop((slot, node_id), (None, 0.0))
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close all of them."""
        for connection, _ in self._connections.values():
            connection.close()
        self._connections.clear()
