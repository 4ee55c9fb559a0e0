# SPDX-License-Identifier: Apache-2.0
"""What Etcd steers the agent to, as values, and how a snapshot turns one into the next. Pure."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from logagent.config.services import PathRules
from logagent.control import documents, layers
from logagent.control.documents import Document
from logagent.control.keys import Keys
from logagent.control.trust import Seen, seen_in
from logagent.errors import Fault
from logagent.stores.store import Snapshot

State = Literal["applied", "rejected", "from-cache", "suspicious-empty", "unreachable", "waiting"]
"""How things are with Etcd.

waiting: nothing is known yet, and there is no cache. applied: the documents are what Etcd holds. rejected: so, but one
of them is refused as a whole, its last version counts. from-cache: Etcd has not answered since the start. unreachable:
Etcd answered once and no member does now. suspicious-empty: Etcd is empty and that is not believed.
"""


@dataclass(frozen=True, slots=True)
class Steering:
    """What the agent should do according to Etcd.

    `documents` are the highest first; `revision` is that of the newest of our keys; `since_s` is when `state` began,
    on the supervisor's clock; `error` is a sentence or empty.
    """

    state: State
    since_s: float
    documents: tuple[Document, ...] = ()
    faults: tuple[Fault, ...] = ()
    groups: tuple[str, ...] = ()
    member: str = ""
    api: str = ""
    revision: int = 0
    cluster_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What is in force, by key, the highest first; and where it comes from, so that older things can be told.

    `listed` is what was in force after the last list, whatever rules came since.
    """

    documents: Mapping[str, Document] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    groups_revision: int = 0
    groups_sha256: str = ""
    groups_faults: tuple[Fault, ...] = ()
    seen: Seen | None = None
    rules: PathRules | None = field(default=None, repr=False)
    listed: Mapping[str, Document] = field(default_factory=dict, repr=False)

    @property
    def faults(self) -> tuple[Fault, ...]:
        found = [*self.groups_faults]
        for document in self.documents.values():
            found += document.faults
        return tuple(found)

    @property
    def rejected(self) -> bool:
        """Whether a value as a whole is refused."""
        return bool(self.groups_faults) or any(one.rejected for one in self.documents.values())

    @property
    def revision(self) -> int:
        """That of the newest key."""
        return max([self.groups_revision, *(one.revision for one in self.documents.values())])

    def suspecting(self, reason: str) -> "Held":
        """The same, with the reason why what Etcd holds now is not believed."""
        return self if self.seen is None else replace(self, seen=replace(self.seen, suspicion=reason))

    def under(self, rules: PathRules) -> "Held":
        """The same under other path rules; every value is read again at the next list."""
        found = {
            key: documents.restore(one.accepted, one.revision, key, rules, source=one.source)
            for key, one in (self.listed or self.documents).items()
        }
        return replace(self, documents=found, rules=None)

    def after(self, snapshot: Snapshot, keys: Keys, rules: PathRules, groups_refusal: str = "") -> "Held":
        """What is in force once `snapshot`, which was judged, counts.

        `groups_refusal` says why the groups that it names cannot be had: then those in force stay.

        It must hold all keys that the groups in force name. If it names other groups, theirs are missing in it, and
        another snapshot has to follow.
        """
        seen = seen_in(snapshot, scope(keys, self.groups))
        groups, faults, revision, sha256 = self._read_groups(snapshot, keys)
        if groups_refusal:
            # Without its hash the value is read again next time.
            groups, faults, sha256 = self.groups, (Fault(keys.groups, "", "", "", groups_refusal),), ""
        found: dict[str, Document] = {}
        for key, source in keys.documents(groups).items():
            document = self._read(snapshot, key, source, rules)
            if document is not None:
                found[key] = document
        return Held(found, groups, revision, sha256, faults, seen, rules, found)

    def _read_groups(
        self, snapshot: Snapshot, keys: Keys
    ) -> tuple[tuple[str, ...], tuple[Fault, ...], int, str]:
        item = snapshot.items.get(keys.groups)
        if item is None:
            return (), (), 0, ""
        sha256 = hashlib.sha256(item.value).hexdigest()
        if sha256 == self.groups_sha256:
            return self.groups, self.groups_faults, item.revision, sha256
        found = layers.groups(item.value, keys.groups)
        if isinstance(found, Fault):
            return self.groups, (found,), item.revision, sha256
        return found, (), item.revision, sha256

    def _read(self, snapshot: Snapshot, key: str, source: str, rules: PathRules) -> Document | None:
        item = snapshot.items.get(key)
        if item is None:
            return None
        before = self.documents.get(key)
        if (
            before is not None
            and rules == self.rules
            and (before.revision, before.source) == (item.revision, source)
            and before.sha256 == hashlib.sha256(item.value).hexdigest()
        ):
            return before
        return documents.read(item.value, item.revision, key, rules, before, source=source)


def scope(keys: Keys, groups: tuple[str, ...]) -> Collection[str]:
    """The keys of all lists that count."""
    return keys.documents(groups)


@dataclass(frozen=True, slots=True)
class Applied:
    """What the agent works by: how many entries of all layers are in force, and how many hidden by a higher layer."""

    steering: Steering
    entries: int
    hidden: int


def status(applied: Applied | None, now: Steering) -> dict[str, object]:
    """The part of the agent's status in Etcd that is about Etcd; `now` is how things are, applied or not."""
    lists = () if applied is None else applied.steering.documents
    return {
        "state": now.state,
        "error": now.error,
        "api": now.api,
        "member": now.member,
        "cluster_id": now.cluster_id,
        "groups": list(now.groups),
        "revision": 0 if applied is None else applied.steering.revision,
        "entries": 0 if applied is None else applied.entries,
        "hidden": 0 if applied is None else applied.hidden,
        "applied": {one.key: {"revision": one.revision, "sha256": one.sha256} for one in lists},
        "errors": [str(fault) for fault in now.faults],
    }
