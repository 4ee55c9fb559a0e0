# SPDX-License-Identifier: Apache-2.0
"""One watch in a greenlet of its own, and what came from it."""

from collections.abc import Collection

from gevent.event import Event

from logagent.clock import MonotonicClock
from logagent.control.steps import Heard
from logagent.errors import EtcdError, WatchEnded
from logagent.ops.events import Events
from logagent.spawn import Spawner
from logagent.stores.store import Store

CLOSE_S = 5.0
"""How long the greenlet may take to end once its connection is closed."""


class Watching:
    """Follows `keys` until it is closed or the watch ends; sets `wake` at the first of some changes and at the end.

    The store belongs to the watch from now on.
    """

    def __init__(
        self,
        store: Store,
        keys: Collection[str],
        revision: int,
        idle_s: float,
        *,
        wake: Event,
        spawner: Spawner,
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self.heard = Heard(clock())
        self.revision = revision
        self._told = False
        self._store = store
        self._wake = wake
        self._events = events
        self._clock = clock
        self._end: EtcdError | None = None
        self._over = False
        self._greenlet = spawner.once("etcd watch", self._run, keys, revision, idle_s)

    def check(self) -> None:
        """Raise what the watch ended of, if it did."""
        if self._over:
            raise self._end or WatchEnded("it failed unexpectedly")

    def suspect_change(self) -> None:
        """As if one had been told."""
        self.heard = self.heard.sign(self._clock(), 1)

    def take(self) -> bool:
        """The changes so far are dealt with from here on; whether any was told, each later than `revision`."""
        self.heard = self.heard.told()
        told, self._told = self._told, False
        return told

    def close(self) -> None:
        """End the watch; its greenlet has ended then."""
        self._store.close()
        self._greenlet.kill(timeout=CLOSE_S)

    def _run(self, keys: Collection[str], revision: int, idle_s: float) -> None:
        try:
            self._events.etcd_watching(member=self._store.member, revision=revision)
            for changes in self._store.follow(keys, revision, idle_s):
                pending = self.heard.first_change_s is not None
                self.heard = self.heard.sign(self._clock(), changes)
                self._told = self._told or changes > 0
                self._events.etcd_heard(member=self._store.member, changes=changes)
                # More changes only move what the supervisor waits for: it looks when its time comes.
                if changes and not pending:
                    self._wake.set()
        except EtcdError as error:
            self._end = error
        finally:
            self._over = True
            self._wake.set()
