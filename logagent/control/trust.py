# SPDX-License-Identifier: Apache-2.0
"""Whether what a member of Etcd says may replace what is in force: old, wiped and restored clusters. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from logagent.stores.store import Snapshot


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the configuration in force comes from; `present` are the keys that existed then."""

    cluster_id: str
    revision: int
    term: int
    present: frozenset[str]


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
    `ok`; then a wiped cluster stays suspicious until somebody writes a list into it.
    """
    if seen is None:
        return OK
    behind = _behind(seen, snapshot)
    if behind and not agreed:
        return Verdict("stale", behind)
    before = seen.present.intersection(config_keys)
    if not before or any(key in snapshot.items for key in config_keys):
        return OK
    if snapshot.cluster_id != seen.cluster_id:
        return Verdict("suspicious-empty", "this is another cluster, and no list for this host is in it")
    if behind:
        return Verdict("suspicious-empty", f"no list for this host is left, and {behind}")
    if len(before) > 1:
        return Verdict("suspicious-empty", f"all {len(before)} keys of this host's lists vanished at once")
    return OK


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
