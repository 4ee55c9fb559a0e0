# SPDX-License-Identifier: Apache-2.0
"""Etcd in memory: a cluster whose members can be broken on purpose, and the Store that talks to one. For tests."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gevent.event import Event

from logagent.clock import MonotonicClock, monotonic
from logagent.errors import EtcdError, EtcdRefused, MemberUnavailable, OutcomeUnknown, SessionLost, WatchEnded
from logagent.stores.store import ABSENT, Item, Snapshot

FIRST_REVISION = 1
"""Of a cluster that nobody has written to, as with Etcd."""


@dataclass(slots=True)
class _Contents:
    """All that a backup keeps."""

    cluster_id: str
    revision: int = FIRST_REVISION
    term: int = 2
    items: dict[str, Item] = field(default_factory=dict)

    def copy(self) -> "_Contents":
        return _Contents(self.cluster_id, self.revision, self.term, dict(self.items))


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    expires_at: float
    keys: set[str] = field(default_factory=set)


class MemoryServer:
    """What the members of one cluster share, and the faults of each. A fault without a member is one of them all."""

    def __init__(self, clock: MonotonicClock = monotonic) -> None:
        self._clock = clock
        self._cluster_numbers = itertools.count(1)
        self._now = _Contents(self._next_cluster_id())
        self._history: list[tuple[int, tuple[str, ...]]] = []  # revision, keys changed by it
        self._compacted = 0
        self._leases: dict[int, _Lease] = {}
        self._lease_numbers = itertools.count(1)
        self._broken: dict[str | None, EtcdError] = {}
        self._stale: dict[str, _Contents] = {}
        self._lost_answers = 0
        self._stirred = Event()  # replaced when it is set
        self.watches_ended: list[EtcdError] = []
        """Each entry ended the watches that were open when it was added."""
        self.watchers = 0
        """Watches that wait now."""
        self.loads = 0
        """Snapshots taken."""

    # What tests do instead of etcdctl

    @property
    def revision(self) -> int:
        self.expire()
        return self._now.revision

    @property
    def cluster_id(self) -> str:
        return self._now.cluster_id

    @property
    def items(self) -> dict[str, Item]:
        """Everything as it is now."""
        self.expire()
        return dict(self._now.items)

    def put(self, key: str, value: bytes | str) -> int:
        """Write, whatever is there; the new revision."""
        return self._write({key: value.encode() if isinstance(value, str) else value})

    def delete(self, *keys: str) -> int:
        """All at one revision; what is not there changes nothing."""
        return self._write(dict.fromkeys(keys))

    def clear(self) -> None:
        """Every key vanishes at once, in the same cluster."""
        self.delete(*self.items)

    def compact(self) -> None:
        """Forget the past: a watch that wants to begin there ends."""
        self._compacted = self.revision
        self._history.clear()

    def elect(self) -> None:
        """The next term."""
        self._now.term += 1

    def backup(self) -> _Contents:
        return self._now.copy()

    def restore(self, backup: _Contents, *, same_cluster: bool = False) -> None:
        """Begin again from a backup: the revision goes back."""
        self._begin(backup.copy())
        if not same_cluster:
            self._now.cluster_id = self._next_cluster_id()

    def replace_cluster(self) -> None:
        """Another cluster with nothing in it answers from now on."""
        self._begin(_Contents(self._next_cluster_id()))

    def expire(self) -> None:
        """Keys of leases that are over vanish; needed only after an injected clock was set forward."""
        now = self._clock()
        for number, lease in list(self._leases.items()):
            if lease.expires_at <= now:
                self.revoke(number)

    # Faults

    def fail(self, error: EtcdError, member: str | None = None) -> None:
        """Every call and every watch raises this until ``repair``."""
        self._broken[member] = error
        self.stir()

    def stop(self, member: str | None = None) -> None:
        self.fail(MemberUnavailable(member or "memory", "connection refused"), member)

    def refuse(self, reason: str, member: str | None = None) -> None:
        self.fail(EtcdRefused(member or "memory", reason), member)

    def make_stale(self, member: str) -> None:
        """It shows what is there now until ``repair``; its writes and watches are as ever."""
        self._stale[member] = self._now.copy()

    def repair(self, member: str | None = None) -> None:
        """No faults of this member any more; without a member: none at all."""
        if member is None:
            self._broken.clear()
            self._stale.clear()
        else:
            self._broken.pop(member, None)
            self._stale.pop(member, None)

    def end_watches(self, error: EtcdError | None = None) -> None:
        """Those that are open now."""
        self.watches_ended.append(error or WatchEnded("the watch was ended on purpose"))
        self.stir()

    def lose_answers(self, count: int = 1) -> None:
        """So many of the next commits raise OutcomeUnknown though they are in force."""
        self._lost_answers = count

    # What stores call

    def check(self, member: str) -> None:
        """Raise the fault of this member, if it has one."""
        if error := self._broken.get(member) or self._broken.get(None):
            raise error

    def snapshot(self, member: str, keys: Collection[str]) -> Snapshot:
        self.expire()
        self.loads += 1
        shown = self._stale.get(member, self._now)
        items = {key: item for key, item in shown.items.items() if _covers(keys, key)}
        return Snapshot(shown.cluster_id, shown.revision, shown.term, items)

    def commit(self, guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        self.expire()
        for key, revision in guards.items():
            item = self._now.items.get(key)
            if revision != (item.revision if item else ABSENT):
                return None
        written = self._write(writes)
        if self._lost_answers:
            self._lost_answers -= 1
            raise OutcomeUnknown("the answer was lost on purpose")
        return written

    def changes(self, keys: Collection[str], after: int) -> int:
        """How often ``keys`` changed at revisions above ``after``. Raises WatchEnded."""
        self.expire()
        if after < self._compacted:
            raise WatchEnded(f"revision {after + 1} is compacted")
        news = itertools.takewhile(lambda change: change[0] > after, reversed(self._history))
        return sum(_covers(keys, key) for _, changed in news for key in changed)

    def stir(self) -> None:
        """Wake everybody who waits."""
        stirred, self._stirred = self._stirred, Event()
        stirred.set()

    def wait(self, timeout_s: float) -> None:
        """Until somebody stirs, a lease is over or the time is."""
        now = self._clock()
        limits_s = [timeout_s, *(lease.expires_at - now for lease in self._leases.values())]
        self.watchers += 1
        try:
            self._stirred.wait(max(0.001, min(limits_s)))
        finally:
            self.watchers -= 1

    def grant(self, ttl_s: float) -> int:
        number = next(self._lease_numbers)
        self._leases[number] = _Lease(ttl_s, self._clock() + ttl_s)
        return number

    def lease_put(self, number: int, key: str, value: bytes) -> None:
        """Raises SessionLost."""
        lease = self._lease(number)
        self._write({key: value})
        lease.keys.add(key)

    def renew(self, number: int) -> None:
        """Raises SessionLost."""
        lease = self._lease(number)
        lease.expires_at = self._clock() + lease.ttl_s

    def revoke(self, number: int) -> None:
        """Its keys vanish; nothing happens when it is gone."""
        if lease := self._leases.pop(number, None):
            self.delete(*lease.keys)

    def _lease(self, number: int) -> _Lease:
        self.expire()
        if number not in self._leases:
            raise SessionLost(f"lease {number} is gone")
        return self._leases[number]

    def _write(self, writes: Mapping[str, bytes | None]) -> int:
        """Apply at one revision, which is returned; the lease of a key does not outlive its value."""
        now = self._now
        changed = {key: value for key, value in writes.items() if value is not None or key in now.items}
        if changed:
            now.revision += 1
            for lease in self._leases.values():
                lease.keys -= changed.keys()
            for key, value in changed.items():
                if value is None:
                    del now.items[key]
                else:
                    now.items[key] = Item(value, now.revision)
            self._history.append((now.revision, tuple(changed)))
            self.stir()
        return now.revision

    def _begin(self, contents: _Contents) -> None:
        self._now = contents
        self._history.clear()
        self._compacted = 0
        self._leases.clear()
        self.end_watches()

    def _next_cluster_id(self) -> str:
        return f"memory-{next(self._cluster_numbers)}"


class MemoryStore:
    """A Store on a MemoryServer."""

    api: Literal["memory"] = "memory"

    def __init__(self, server: MemoryServer, member: str = "memory") -> None:
        self.member = member
        self._server = server
        self._closed = False

    def load(self, keys: Collection[str]) -> Snapshot:
        return self.checked().snapshot(self.member, keys)

    def ping(self) -> None:
        self.checked()

    def follow(self, keys: Collection[str], revision: int, idle_s: float) -> Iterator[int]:
        server = self.checked()
        ended_before = len(server.watches_ended)
        silent_since = monotonic()
        while True:
            self.checked()
            if len(server.watches_ended) > ended_before:
                raise server.watches_ended[-1]
            count = server.changes(keys, revision)
            revision = server.revision
            if count:
                yield count
                silent_since = monotonic()
                continue
            left_s = silent_since + idle_s - monotonic()
            if left_s <= 0:
                raise WatchEnded(f"nothing heard for {idle_s:g} s")
            server.wait(left_s)

    def commit(self, guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        return self.checked().commit(guards, writes)

    def session(self, ttl_s: int) -> "MemorySession":
        return MemorySession(self, self.checked().grant(ttl_s))

    def close(self) -> None:
        self._closed = True
        self._server.stir()

    def checked(self) -> MemoryServer:
        """The server, if it can be talked to."""
        if self._closed:
            raise MemberUnavailable(self.member, "the store was closed")
        self._server.check(self.member)
        return self._server


class MemorySession:
    """Keys with a lease on a MemoryServer."""

    def __init__(self, store: MemoryStore, lease: int) -> None:
        self._store = store
        self._lease = lease

    def put(self, key: str, value: bytes) -> None:
        self._store.checked().lease_put(self._lease, key, value)

    def keep_alive(self) -> None:
        self._store.checked().renew(self._lease)

    def close(self) -> None:
        try:
            server = self._store.checked()
        except EtcdError:
            return
        server.revoke(self._lease)


def _covers(keys: Collection[str], key: str) -> bool:
    """Whether it is one of ``keys``, or below one that ends with a slash."""
    return any(key.startswith(one) if one.endswith("/") else key == one for one in keys)
