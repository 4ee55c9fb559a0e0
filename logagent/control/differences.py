# SPDX-License-Identifier: Apache-2.0
"""What differs between two services documents, entry by entry and line by line. Pure.

Documents are compared as they are written, so that fields nobody knows and faulty entries can be compared too. One that
agents refuse as a whole has no entries, only lines.
"""

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from logagent.config import values
from logagent.control import documents

ABSENT_FIELD: Final = "-"
_UNREADABLE: Final[Any] = object()

_Id = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of an entry; `ABSENT_FIELD` stands for one that is not written."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class EntryChange:
    """What happens to one (service, log_path)."""

    what: Literal["added", "removed", "changed"]
    service: str
    log_path: str
    fields: tuple[FieldChange, ...]


def same(old: bytes | None, new: bytes | None) -> bool:
    """Whether both hold the same JSON value: white space, key order and 1 or 1.0 do not matter, list order does."""
    if old is None or new is None:
        return old is new
    first, second = _parsed(old), _parsed(new)
    if first is _UNREADABLE or second is _UNREADABLE:
        return old == new
    return _canonical(first) == _canonical(second)


def count(document: bytes | None) -> int | None:
    """How many entries it has (a list of paths counts each); 0 for none, None for what is no such list."""
    if document is None:
        return 0
    return None if _parsed(document) is _UNREADABLE else len(_entries(document))


def changes(old: bytes | None, new: bytes | None) -> tuple[EntryChange, ...]:
    """Entries that come, go and change; those of the new document first, in its order."""
    before, after = _entries(old), _entries(new)
    found = []
    for (service, path, number), fields in after.items():
        known = before.get((service, path, number))
        differing = tuple(_fields(known or {}, fields))
        if known is None:
            found.append(EntryChange("added", service, path, differing))
        elif differing:
            found.append(EntryChange("changed", service, path, differing))
    found += [
        EntryChange("removed", service, path, tuple(_fields(fields, {})))
        for (service, path, number), fields in before.items()
        if (service, path, number) not in after
    ]
    return tuple(found)


def unified(old: bytes | None, new: bytes | None, old_name: str, new_name: str) -> tuple[str, ...]:
    """The lines of a unified diff of both, each laid out a field per line."""
    return tuple(difflib.unified_diff(_lines(old), _lines(new), old_name, new_name, lineterm=""))


def pretty(document: bytes) -> str:
    """A field per line if it is JSON, else its text as it is; the order of fields is kept."""
    value = _parsed(document)
    if value is _UNREADABLE:
        return document.decode("utf-8", "backslashreplace")
    return json.dumps(value, indent=2, ensure_ascii=False)


def _lines(document: bytes | None) -> list[str]:
    return [] if document is None else pretty(document).splitlines()


def _parsed(document: bytes) -> Any:
    try:
        return documents.parse(document, "entries", documents.LIMIT_ENTRIES)
    except ValueError:
        return _UNREADABLE


def _canonical(value: Any) -> str:
    return json.dumps(_normal(value), sort_keys=True)


def _normal(value: Any) -> Any:
    # Not by ==: for Python true is 1.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normal(member) for member in value]
    if isinstance(value, dict):
        return {key: _normal(member) for key, member in value.items()}
    return value


def _entries(document: bytes | None) -> dict[_Id, Mapping[str, Any]]:
    """By service, path, and how often that pair stood before: a faulty document may have it twice."""
    value = () if document is None else _parsed(document)
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[_Id, Mapping[str, Any]] = {}
    for index, member in enumerate(() if value is _UNREADABLE else value):
        fields = member if isinstance(member, dict) else {"": member}
        service = fields.get("service")
        name = service if isinstance(service, str) else "?"
        for path in _paths(fields.get("log_path"), index):
            found[name, path, seen[name, path]] = {
                key: field for key, field in fields.items() if key not in ("service", "log_path")
            }
            seen[name, path] += 1
    return found


def _paths(log_path: object, index: int) -> list[str]:
    if not isinstance(log_path, str):
        return [f"item {index + 1}"]
    try:
        return values.split_list(log_path) or [log_path]
    except ValueError:
        return [log_path]


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name in dict.fromkeys([*old, *new]):
        before, after = (_shown(fields, name) for fields in (old, new))
        if before != after:
            yield FieldChange(name, before, after)


def _shown(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return ABSENT_FIELD
    value = fields[name]
    # Words as they are; but "5" is not 5 and "-" is not nothing.
    if isinstance(value, str) and value.isprintable() and value != ABSENT_FIELD and not _is_json(value):
        return value
    return json.dumps(_normal(value), ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
