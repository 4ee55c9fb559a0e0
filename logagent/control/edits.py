# SPDX-License-Identifier: Apache-2.0
"""Changes of a services document: what is written together, who changed it when, and the way back. Pure.

Every change goes with a record of its own in the same transaction, so history does not depend on the revisions that
Etcd forgets at compaction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from logagent.control import differences
from logagent.errors import NoSuchVersion
from logagent.stores.store import ABSENT, Item

KEPT_RECORDS: Final = 50
KEPT_BYTES: Final = 6 * 1024 * 1024
"""All records of a place are read at once: a full history of large documents must fit an answer of Etcd."""
OLD_BYTES: Final = 256 * 1024
"""A larger old document (no agent takes one) is not kept in the record, which has to fit one request."""
REMOVED_AT_ONCE: Final = 60
"""A transaction of Etcd has at most 128 operations."""

BEFORE: Final = "before-"
_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Place:
    """The key of a services document, and the prefix, with a slash at its end, of the records of its changes."""

    key: str
    audit: str


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and why."""

    who: str
    comment: str


@dataclass(frozen=True, slots=True)
class Record:
    """One change. `old` and `new` are documents, None for none; `old_kept` is False if `old` was too large.

    `version` names the change and what was in force after it; `revision` is that of Etcd.
    """

    version: str
    revision: int
    at: datetime
    who: str
    comment: str
    from_revision: int
    old: bytes | None
    new: bytes | None
    old_kept: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """All that Etcd holds about a place. `records` are newest first; `sizes` has every key below the prefix."""

    place: Place
    current: Item | None
    records: tuple[Record, ...]
    sizes: Mapping[str, int]

    @property
    def revision(self) -> int:
        """That of the document."""
        return ABSENT if self.current is None else self.current.revision

    @property
    def value(self) -> bytes | None:
        """The document in force."""
        return None if self.current is None else self.current.value

    @property
    def recorded(self) -> bool:
        """Whether the document in force is what the newest record says."""
        return bool(self.records) and self.records[0].new == self.value


@dataclass(frozen=True, slots=True)
class Change:
    """What to hand to `Store.commit`."""

    guards: Mapping[str, int]
    writes: Mapping[str, bytes | None]
    version: str
    value: bytes | None


class Outcome(Enum):
    """What reading tells about a change whose answer did not come."""

    IN_FORCE = "in force"
    UNRECORDED = "in force, without a record in the history"
    REPLACED = "was in force and has been changed by somebody since"
    NOT_WRITTEN = "not written"


@dataclass(frozen=True, slots=True)
class Version:
    """A row of the history: a document that was in force. `value_kept` is False if nobody has it any more.

    `at` None and no `who`: written without logagent, before the change that found it.
    """

    name: str
    revision: int
    at: datetime | None
    who: str
    comment: str
    from_revision: int | None
    before: int | None
    after: int | None
    value: bytes | None
    value_kept: bool = True
    current: bool = False


def read(place: Place, items: Mapping[str, Item]) -> State:
    """The state of a place from what was loaded of its key and prefix. What is no record is left aside."""
    below = {key: item for key, item in items.items() if key.startswith(place.audit)}
    records = [_record(key[len(place.audit) :], item) for key, item in below.items()]
    known = sorted((one for one in records if one), key=lambda one: (one.revision, one.version), reverse=True)
    sizes = {key: len(item.value) for key, item in below.items()}
    return State(place, items.get(place.key), tuple(known), sizes)


def change(state: State, new: bytes | None, author: Author, at_s: float, noise: str) -> Change:
    """From `state` to the document `new` (None: delete the key), if nobody was faster.

    `at_s` are seconds since 1970; `noise` keeps apart what happens in the same microsecond.
    """
    version = f"{datetime.fromtimestamp(at_s, UTC).strftime(_TIME)}-{noise}"
    record = _encoded(state, new, author)
    writes: dict[str, bytes | None] = {state.place.key: new, state.place.audit + version: record}
    writes.update(dict.fromkeys(_outdated(state, len(record))))
    return Change({state.place.key: state.revision}, writes, version, new)


def outcome(sent: Change, now: State) -> Outcome:
    """What became of a change that was sent without an answer."""
    in_force = now.value == sent.value
    if any(record.version == sent.version for record in now.records):
        return Outcome.IN_FORCE if in_force else Outcome.REPLACED
    if in_force and now.revision != sent.guards[now.place.key]:
        return Outcome.UNRECORDED
    return Outcome.NOT_WRITTEN


def overtaken_by(read_before: State, now: State) -> Record | None:
    """The newest change since `read_before`; None if it was made without logagent."""
    known = {record.version for record in read_before.records}
    return next((one for one in now.records if one.version not in known), None) if now.recorded else None


def versions(state: State) -> tuple[Version, ...]:
    """The history, newest first, with what was written without logagent between the recorded changes."""
    rows: list[Version] = []
    last: Record | None = None
    for record in reversed(state.records):
        if record.from_revision != ABSENT and (last is None or last.new != record.old):
            rows.append(_found(record))
        rows.append(_row(record))
        last = record
    if state.recorded:
        rows[-1] = _row(state.records[0], current=True)
    elif state.current is not None or rows:
        entries = differences.count(state.value)
        rows.append(
            Version("-", state.revision, None, "", "", None, None, entries, state.value, current=True)
        )
    return tuple(reversed(rows))


def earlier(state: State, wanted: str | None) -> tuple[str, bytes | None]:
    """Name and document of a version; without `wanted` of what was in force before the latest change.

    Raises NoSuchVersion.
    """
    if not state.records:
        raise NoSuchVersion(f"{state.place.key} has no history: no change of it was made with logagent")
    if wanted is None:
        wanted = state.records[0].version if not state.recorded else BEFORE + state.records[0].version
    record = next((one for one in state.records if one.version == wanted.removeprefix(BEFORE)), None)
    if record is None:
        raise NoSuchVersion(
            f"{state.place.key} has no version {wanted!r} in its history; logagent services history lists them"
        )
    if not wanted.startswith(BEFORE):
        return wanted, record.new
    if not record.old_kept:
        raise NoSuchVersion(
            f"the document before {record.version} was larger than {OLD_BYTES // 1024} KiB and is not kept"
        )
    same = [one for one in state.records if one.revision < record.revision and one.new == record.old]
    return (same[0].version if same else wanted), record.old


def _outdated(state: State, record_bytes: int) -> list[str]:
    """Keys to remove so that the new record fits; what is no record counts and goes first."""
    kept, total = 1, record_bytes
    keys = [state.place.audit + record.version for record in state.records]
    outdated = [key for key in state.sizes if key not in set(keys)]
    for key in keys:
        kept, total = kept + 1, total + state.sizes[key]
        if kept > KEPT_RECORDS or total > KEPT_BYTES:
            outdated.append(key)
    return outdated[:REMOVED_AT_ONCE]


def _encoded(state: State, new: bytes | None, author: Author) -> bytes:
    fields: dict[str, Any] = {
        "who": author.who,
        "comment": author.comment,
        "from_rev": state.revision,
        "new": _text(new),
    }
    if state.value is None or len(state.value) <= OLD_BYTES:
        fields["old"] = _text(state.value)
    # A byte that is no UTF-8 is a lone surrogate here; written as a backslash escape it is JSON again.
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _text(document: bytes | None) -> str | None:
    return None if document is None else document.decode("utf-8", "surrogateescape")


def _record(version: str, item: Item) -> Record | None:
    try:
        at = datetime.strptime(version.partition("-")[0], _TIME).replace(tzinfo=UTC)
        fields = json.loads(item.value)
        return Record(
            version,
            item.revision,
            at,
            str(fields.get("who", "")),
            str(fields.get("comment", "")),
            int(fields["from_rev"]),
            _bytes(fields.get("old")),
            _bytes(fields["new"]),
            "old" in fields,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _bytes(text: object) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError
    return text.encode("utf-8", "surrogateescape")


def _row(record: Record, *, current: bool = False) -> Version:
    return Version(
        record.version,
        record.revision,
        record.at,
        record.who,
        record.comment,
        record.from_revision,
        differences.count(record.old) if record.old_kept else None,
        differences.count(record.new),
        record.new,
        current=current,
    )


def _found(record: Record) -> Version:
    """What a change found in place that no record before it tells of."""
    entries = differences.count(record.old) if record.old_kept else None
    name = BEFORE + record.version
    return Version(name, record.from_revision, None, "", "", None, None, entries, record.old, record.old_kept)
