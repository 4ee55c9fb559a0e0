# SPDX-License-Identifier: Apache-2.0
"""One list of services in Etcd: what of it is in force, what is refused, what of its last version stays. Pure.

Nothing that somebody writes into Etcd raises here. A document that is no list is refused as a whole; otherwise single
entries are, and the last good version of a refused one stays in force.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from logagent.config import services
from logagent.config.services import FAULTY, SERVICE_KEYS, Entry, PathRules
from logagent.config.values import join_list, show_size
from logagent.errors import Fault

LIMIT_BYTES: Final = 256 * 1024
LIMIT_ENTRIES: Final = 1000
LIMIT_DEPTH: Final = 8

Raw = Mapping[str, object]
"""An entry as written: a JSON object."""

_FIELDS = ("service", *(key.name for key in SERVICE_KEYS), "disabled")
_KNOWN = frozenset(_FIELDS)
_WARNINGS = 10
_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    dict: "an object",
}


@dataclass(frozen=True, slots=True)
class Document:
    """What is in force of one list. `revision` and `sha256` are those of the value that was read last.

    `disabled` are (service, log_path) that are not to be taken from lower layers; `rates_lines_per_s` are written
    in this list, by service; `accepted` is what is in force in the form of the list, one path per object;
    `rejected` says that the value as a whole was refused, so that its last version is in force.
    """

    key: str
    source: str
    revision: int
    sha256: str
    entries: tuple[Entry, ...] = ()
    disabled: frozenset[tuple[str, str]] = frozenset()
    rates_lines_per_s: Mapping[str, float | None] = field(default_factory=dict)
    accepted: tuple[Raw, ...] = ()
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    rejected: bool = False


def read(
    value: bytes,
    revision: int,
    key: str,
    rules: PathRules,
    previous: Document | None = None,
    *,
    source: str = "etcd",
) -> Document:
    """Read a value; `previous` is what was in force of this key. Raises nothing, whatever the bytes are."""
    head = Document(key, source, revision, hashlib.sha256(value).hexdigest())
    before = previous.accepted if previous else ()
    try:
        members = parse(value, "entries", LIMIT_ENTRIES)
        _check_paths(members)
    except ValueError as error:
        fault = Fault(key, "", "", "", str(error))
        return replace(_in_force(head, before, rules, (fault,)), rejected=True)
    return _read_members(head, members, before, rules)


def restore(
    accepted: Sequence[object],
    revision: int,
    key: str,
    rules: PathRules,
    *,
    source: str = "etcd",
    sha256: str = "",
) -> Document:
    """The document whose `accepted` was kept on disk, as far as the rules of today allow it. Raises nothing."""
    objects = [member for member in accepted if isinstance(member, dict)]
    return _in_force(Document(key, source, revision, sha256), objects, rules)


def parse(value: bytes, members: str, limit: int) -> list[Any]:
    """The JSON list of at most `limit` members in a value. Raises ValueError, whose text is a clause."""
    if not value.strip():
        raise ValueError(f"it is empty; expected a JSON list of {members} ([] for none)")
    if len(value) > LIMIT_BYTES:
        raise ValueError(f"it has {len(value)} bytes; expected at most {show_size(LIMIT_BYTES)}")
    parsed = _load(value)
    kind = _KINDS.get(type(parsed))
    if kind:
        raise ValueError(f"it is {kind}; expected a JSON list of {members}")
    if len(parsed) > limit:
        raise ValueError(f"it has {len(parsed)} {members}; expected at most {limit}")
    if _is_deeper(parsed, LIMIT_DEPTH):
        raise ValueError(_TOO_DEEP)
    return list(parsed)


_TOO_DEEP = f"it is nested too deep; expected at most {LIMIT_DEPTH} levels"


def _load(value: bytes) -> Any:
    try:
        return json.loads(
            value.decode("utf-8-sig"),
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        ) from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def _whole(digits: str) -> float:
    """Python refuses to read whole numbers of thousands of digits."""
    return int(digits) if len(digits) < 20 else _finite(digits)


def _finite(digits: str) -> float:
    """Python makes infinity of what is too large, and that cannot be written as JSON again."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"it has a number that is too large ({services.shown(digits)})")
    return number


def _refuse_constant(name: str) -> object:
    raise ValueError(f"it is not JSON ({name} is no number)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {services.shown(twice)!r} stands twice in one object")
    return made


def _is_deeper(value: object, levels: int) -> bool:
    """Level by level, as recursion is what it protects from."""
    containers: list[Any] = [value]
    while containers and levels:
        levels -= 1
        inner = (one.values() if isinstance(one, dict) else one for one in containers)
        containers = [child for children in inner for child in children if isinstance(child, (dict, list))]
    return bool(containers)


def _check_paths(members: list[Any]) -> None:
    """A short comma list can hold very many paths, each of which becomes an entry."""
    lists = [member.get("log_path") for member in members if isinstance(member, dict)]
    paths = sum(1 + text.count(",") - text.count("\\,") for text in lists if isinstance(text, str))
    if paths > LIMIT_ENTRIES:
        raise ValueError(f"it has {paths} paths; expected at most {LIMIT_ENTRIES}")


@dataclass(frozen=True, slots=True)
class _Admitted:
    """`by_member` has the accepted objects of each member in turn, none for a refused one."""

    validated: services.Validated
    by_member: tuple[tuple[Raw, ...], ...]


def _admit(members: Sequence[object], head: Document, rules: PathRules, place: str) -> _Admitted:
    def where(index: int, _key: str) -> str:
        return f"{head.key}: {place} {index + 1}"

    asked = [_as_asked(member) for member in members]
    validated = services.validate(asked, rules, source=head.source, where=where)
    faults = list(validated.faults)
    for index, member in enumerate(members):
        if not isinstance(member, dict):
            shown = services.shown(member)
            expected = "expected an object with service, log_path and topic"
            faults.append(Fault(where(index, ""), "", "", shown, expected))
        elif not isinstance(member.get("disabled", False), bool):
            name = services.shown(member.get("service", ""))
            shown = services.shown(member["disabled"])
            faults.append(
                Fault(where(index, ""), f"services.{name}", "disabled", shown, "expected true or false")
            )
    pairs = zip(members, validated.members, strict=True)
    by_member = tuple(tuple(_accepted(member, entry) for entry in entries) for member, entries in pairs)
    return _Admitted(replace(validated, faults=tuple(faults)), by_member)


def _as_asked(member: object) -> Raw:
    """The object that the validator judges: of a disabled one only what identifies it."""
    if not isinstance(member, dict):
        return {**dict.fromkeys(_FIELDS, FAULTY)}
    disabled = member.get("disabled", False)
    if disabled is False:
        return member
    identity = {name: member[name] for name in ("service", "log_path") if name in member}
    return {**identity, "topic": "disabled" if disabled is True else FAULTY}


def _accepted(member: Any, entry: Entry) -> Raw:
    known = {name: member[name] for name in _FIELDS if name in member}
    known["log_path"] = join_list((entry.log_path,))
    return known


def _in_force(
    head: Document, objects: Sequence[Raw], rules: PathRules, faults: tuple[Fault, ...] = ()
) -> Document:
    admitted = _admit(objects, head, rules, "kept entry")
    return _document(head, admitted, (*faults, *admitted.validated.faults))


def _document(head: Document, admitted: _Admitted, faults: tuple[Fault, ...]) -> Document:
    accepted = tuple(raw for raws in admitted.by_member for raw in raws)
    entries = admitted.validated.entries
    off = [entry for entry, raw in zip(entries, accepted, strict=True) if raw.get("disabled")]
    disabled = frozenset(entry.id for entry in off)
    return replace(
        head,
        entries=tuple(entry for entry in entries if entry.id not in disabled) if off else entries,
        disabled=disabled,
        rates_lines_per_s=admitted.validated.rates_lines_per_s,
        accepted=accepted,
        faults=faults,
    )


def _read_members(head: Document, members: list[Any], before: Sequence[Raw], rules: PathRules) -> Document:
    head = replace(head, warnings=tuple(_unknown_fields(head.key, members)))
    admitted = _admit(members, head, rules, "entry")
    faults = admitted.validated.faults
    if all(admitted.by_member) or not before:
        return _document(head, admitted, faults)
    rates = admitted.validated.rates_lines_per_s
    objects: list[Raw] = []
    for good, kept in zip(admitted.by_member, _kept(members, admitted, before), strict=True):
        objects += good
        objects += [_without_rate(raw) if raw["service"] in rates else raw for raw in kept]
    return _in_force(head, objects, rules, faults)


def _without_rate(raw: Raw) -> Raw:
    return {name: value for name, value in raw.items() if name != "send_rate"}


def _kept(members: list[Any], admitted: _Admitted, before: Sequence[Raw]) -> Iterator[list[Raw]]:
    """What stays of the last version in the place of each member: nothing for a good one.

    Of a refused member it is what has its service and path; if these cannot be told, all of its service that this
    list does not name, or all that it does not name.
    """
    good = {entry.id for entry in admitted.validated.entries}
    told = [() if raws else _told(member) for member, raws in zip(members, admitted.by_member, strict=True)]
    named = good.union(*(ids for ids in told if ids is not None))
    old = {id_: raw for raw in before for id_ in _told(raw) or () if id_ not in good}
    unnamed: dict[str, list[tuple[str, str]]] = {}
    for id_ in old:
        if id_ not in named:
            unnamed.setdefault(id_[0], []).append(id_)
    for member, raws, ids in zip(members, admitted.by_member, told, strict=True):
        if raws:
            yield []
        elif ids is not None:
            yield [old.pop(id_) for id_ in ids if id_ in old]
        else:
            yield [old.pop(id_) for id_ in _take_unnamed(member, unnamed)]


def _take_unnamed(member: object, unnamed: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    name = member.get("service") if isinstance(member, dict) else None
    names = [str(name)] if services.service_name_refusal(name) is None else list(unnamed)
    return [id_ for one in names for id_ in unnamed.pop(one, ())]


def _told(member: object) -> tuple[tuple[str, str], ...] | None:
    """Service and path of each entry that a raw one stands for, None if they cannot be told."""
    if not isinstance(member, dict) or services.service_name_refusal(member.get("service")):
        return None
    try:
        paths = services.read_log_paths(member.get("log_path"))
    except ValueError:
        return None
    return tuple((str(member["service"]), path) for path in paths)


def _unknown_fields(key: str, members: list[Any]) -> Iterator[str]:
    """A sentence for each name, for the first few."""
    names: dict[str, int] = {}
    for number, member in enumerate(members, 1):
        if isinstance(member, dict) and not member.keys() <= _KNOWN:
            for name in member.keys() - _KNOWN:
                names.setdefault(name, number)
    for name, number in sorted(names.items(), key=lambda item: item[1])[:_WARNINGS]:
        meant = services.nearest(name, _FIELDS)
        yield f"{key}: entry {number}: {services.shown(name)!r} is an unknown field and is ignored; {meant}"
    if len(names) > _WARNINGS:
        yield f"{key}: {len(names) - _WARNINGS} more unknown fields are ignored"
