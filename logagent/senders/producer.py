# SPDX-License-Identifier: Apache-2.0
"""Under which producer id new batches go, and to which cluster."""

import gevent

from logagent.backoff import Backoff
from logagent.clock import WallClock
from logagent.errors import KafkaError
from logagent.kafka.connections import Cluster
from logagent.ops.events import Events
from logagent.pacing.baton import Baton
from logagent.recovery.rules import Clock

AGAIN = Backoff(first_s=0.1, limit_s=1.0)

DEFAULT_EXPIRY_MS = 24 * 60 * 60 * 1000
"""Kafka's default of producer.id.expiration.ms."""

DESCRIBE_TRIES = 3


class Producer:
    """One id for all partitions that have none of an earlier process; each has its own sequence."""

    def __init__(self, cluster: Cluster, events: Events, wall: WallClock) -> None:
        self._cluster = cluster
        self._events = events
        self._wall = wall
        self._identity: tuple[int, int] | None = None
        self._baton = Baton()
        self._half_expiry_ms = DEFAULT_EXPIRY_MS // 2
        self._described = False
        self.cluster_id = ""
        """Of the cluster that gave the id; empty when its brokers are too old to tell."""

    def identity(self) -> tuple[int, int]:
        """Id and epoch for new batches; asks for one until some broker gives it."""
        if self._identity is not None:
            return self._identity
        attempt = 0
        with self._baton.turn():
            while self._identity is None:
                try:
                    given = self._cluster.init_producer_id()
                except KafkaError as error:
                    # Never without an id: the lines would be accepted and every resend would double them.
                    self._events.metadata_failed(reason=str(error))
                    gevent.sleep(AGAIN.delay_s(attempt))
                    attempt += 1
                    continue
                if not self._described:
                    self._describe()
                self._identity = given.id, given.epoch
            if attempt:
                self._events.metadata_back()
            return self._identity

    def renew(self, producer_id: int) -> None:
        """The next new batches go under another id, if that one is still in use."""
        if self._identity is not None and self._identity[0] == producer_id:
            self._identity = None

    def clock(self) -> Clock:
        """For the rules."""
        return Clock(int(self._wall() * 1000), self._half_expiry_ms)

    def _describe(self) -> None:
        """Which cluster this is, and how long its brokers remember producer ids. Old brokers tell neither."""
        for attempt in range(DESCRIBE_TRIES):
            try:
                self.cluster_id = self._cluster.describe([]).cluster_id
                expiry_ms = self._cluster.producer_expiration_ms()
            except KafkaError:
                gevent.sleep(AGAIN.delay_s(attempt))
                continue
            if expiry_ms is not None:
                self._half_expiry_ms = expiry_ms // 2
            break
        self._described = True
