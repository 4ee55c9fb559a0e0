# SPDX-License-Identifier: Apache-2.0
"""Which brokers may be sent to. One that failed leaves the pool and is probed, once at a time, until it answers."""

from collections.abc import Callable

import gevent

from logagent.backoff import Backoff
from logagent.errors import KafkaError
from logagent.kafka.connections import Cluster
from logagent.ops.events import Events
from logagent.senders.directory import Directory
from logagent.spawn import Spawner

PROBE = Backoff(first_s=0.05, limit_s=1.0)


class Leaders:
    """Brokers by node id; all are taken to be well until a request fails."""

    def __init__(
        self,
        cluster: Cluster,
        directory: Directory,
        *,
        spawner: Spawner,
        events: Events,
        on_back: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._spawner = spawner
        self._events = events
        self._on_back = on_back
        self._troubles: dict[int, str] = {}

    def usable(self, node_id: int) -> bool:
        """Whether requests may go to the broker."""
        return node_id not in self._troubles

    def trouble(self, node_id: int) -> str:
        """Why requests may not go there; "" when they may."""
        if node_id < 0:
            return "the partition has no leader"
        return self._troubles.get(node_id, "")

    def troubles(self) -> list[str]:
        """Why brokers cannot be sent to, a clause each."""
        return sorted(self._troubles.values())

    def failed(self, node_id: int, address: str, reason: str) -> None:
        """A request to the broker failed: take it out and start probing."""
        self._directory.refresh_soon()
        if node_id in self._troubles:
            return
        self._troubles[node_id] = f"broker {address}: {reason}"
        self._events.broker_failed(address=address, reason=reason)
        self._spawner.once(f"kafka-probe-{node_id}", self._probe, node_id)

    def _probe(self, node_id: int) -> None:
        attempt = 0
        try:
            while node_id in self._directory.brokers or not self._directory.answered:
                try:
                    connection = self._cluster.connect(node_id)
                    try:
                        self._cluster.api_versions(connection)
                    finally:
                        connection.close()
                    self._events.broker_back(address=str(connection.address))
                    return
                except KafkaError as error:
                    self._troubles[node_id] = f"broker {error}"
                    self._directory.refresh_soon()
                    gevent.sleep(PROBE.delay_s(attempt))
                    attempt += 1
        finally:
            # Answered, or no longer part of the cluster; either way the next metadata decides where lines go.
            self._troubles.pop(node_id, None)
            self._on_back()
