# SPDX-License-Identifier: Apache-2.0
"""What the agent wants of a key-value server: list, follow, compare-and-set, leased keys. Pure.

A Store talks to ONE member of a cluster and belongs to one greenlet. Which member, how often and after which pause
is decided above it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Api = Literal["v3", "v2", "memory"]

ABSENT = 0
"""The revision of a key that does not exist."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to talk to every member. `tls` without `ca` trusts the system's authorities; `timeout_s` is per request."""

    timeout_s: float
    user: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A value and the revision of its last change (v3: mod_revision, v2: modifiedIndex)."""

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the asked keys were at one revision (v2: not before it). Keys that do not exist are not in `items`.

    `term` is the raft term, 0 where the server does not tell.
    """

    cluster_id: str
    revision: int
    term: int
    items: Mapping[str, Item]


class Session(Protocol):
    """Keys that vanish `ttl_s` seconds after the last sign of life."""

    def put(self, key: str, value: bytes) -> None:
        """Write or replace. Raises `SessionLost` when the lease is gone, other `EtcdError`s as usual."""

    def keep_alive(self) -> None:
        """Renew all keys of this session. Raises `SessionLost` when the lease is gone."""

    def close(self) -> None:
        """Remove the keys now, if the server can still be reached; raises nothing."""


class Store(Protocol):
    """One member of a cluster. Every method raises only `EtcdError`s and is bounded in time, `follow` per yield."""

    @property
    def api(self) -> Api: ...

    @property
    def member(self) -> str:
        """Its address, for people."""

    def load(self, keys: Collection[str]) -> Snapshot:
        """Linearizable read. A key that ends with a slash stands for everything below it."""

    def follow(self, keys: Collection[str], revision: int, idle_s: float) -> Iterator[int]:
        """Yield how many changes each message after `revision` brought; 0 is a sign of life.

        It says *that* something changed, `load` says what. It never returns: it raises `WatchEnded` when listing again
        is right (compaction, a cancelled watch, nothing heard for `idle_s` seconds), `MemberUnavailable` when the
        member is gone or lost its leader, `EtcdRefused` when we may not.
        """

    def ping(self) -> None:
        """Return if the member answers anything at all; the cheapest question there is, for it and for us."""

    def commit(self, guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        """Write (None: delete) all keys if every guarded key still has its revision (`ABSENT`: does not exist).

        Returns the revision of the write, or None if a guard failed. Never sent twice: when no answer comes it raises
        `OutcomeUnknown`, and only reading tells. v2 has no transactions: there only one key may be guarded; it is
        written first, then the others.
        """

    def session(self, ttl_s: int) -> Session:
        """Begin a session with a lease of that long."""

    def close(self) -> None:
        """Close all connections; may be called from another greenlet, whose pending calls then fail."""
