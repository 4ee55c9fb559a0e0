# SPDX-License-Identifier: Apache-2.0
"""Whether what a member of Etcd says may replace what is in force: old, wiped and restored clusters. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from logagent.control.documents import LIMIT_ENTRIES, parse
from logagent.stores.store import Snapshot


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the configuration in force comes from; `present` are the keys that existed then.

    `suspicion` says why the cluster is not believed since; it ends with the next snapshot that is.
    """

    cluster_id: str
    revision: int
    term: int
    present: frozenset[str]
    suspicion: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok`: apply. `stale`: ask another member. `suspicious-empty`: keep what is in force. `reason` is a clause."""

    kind: Literal["ok", "stale", "suspicious-empty"]
    reason: str = ""


OK = Verdict("ok")


def judge(
    seen: Seen | None, snapshot: Snapshot, config_keys: Collection[str], *, agreed: bool = False
) -> Verdict:
    """Compare a snapshot with what is in force (None: nothing was ever seen).

    `config_keys` are the keys that were asked for: all of `seen.present` at first, fewer only after that was judged.
    `agreed` says that all members are behind what was seen, as after a restored backup. `seen` moves on only with
    `ok`, and a suspicion once had stays: the revision of a wiped cluster grows past the old one by itself. What ends
    it is a list with something in it.
    """
    if seen is None:
        return OK
    behind = "" if seen.suspicion else _behind(seen, snapshot)
    if behind and not agreed:
        return Verdict("stale", behind)
    before = seen.present.intersection(config_keys)
    values = [snapshot.items[key].value for key in config_keys if key in snapshot.items]
    suspicion = seen.suspicion or _reason(seen, snapshot, behind)
    if not before or any(_names_something(value) for value in values):
        return OK
    if suspicion:
        return Verdict("suspicious-empty", suspicion)
    if not values and len(before) > 1:
        return Verdict("suspicious-empty", f"all {len(before)} keys of this host's lists vanished at once")
    return OK


def _reason(seen: Seen, snapshot: Snapshot, behind: str) -> str:
    """Why what is missing may be missing by accident."""
    if snapshot.cluster_id != seen.cluster_id:
        return "this is another cluster, and no list for this host is in it"
    return f"no list for this host is left, and {behind}" if behind else ""


def _names_something(value: bytes) -> bool:
    """Whether it is a list with something in it, faulty or not."""
    try:
        return bool(parse(value, "objects", LIMIT_ENTRIES))
    except ValueError:
        return False


def seen_in(snapshot: Snapshot, config_keys: Collection[str]) -> Seen:
    """What to compare the next snapshot with."""
    present = frozenset(key for key in config_keys if key in snapshot.items)
    return Seen(snapshot.cluster_id, snapshot.revision, snapshot.term, present)


def _behind(seen: Seen, snapshot: Snapshot) -> str:
    if snapshot.cluster_id != seen.cluster_id:
        return ""
    if snapshot.revision < seen.revision:
        return f"revision {snapshot.revision} is older than {seen.revision}, which was seen before"
    if snapshot.term and snapshot.term < seen.term:
        return f"raft term {snapshot.term} is older than {seen.term}, which was seen before"
    return ""
