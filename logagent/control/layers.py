# SPDX-License-Identifier: Apache-2.0
"""One list of entries out of INI, host, groups and default: the highest layer that names an entry decides. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from logagent.config import services
from logagent.config.services import Entry
from logagent.control.documents import Document, parse
from logagent.control.keys import DEFAULT_GROUP, group_name_refusal
from logagent.errors import Fault

INI: Final = "ini"
LIMIT_GROUPS: Final = 50

Rates = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Hidden:
    """An entry that is not in force because the layer `by` has the same one, or disables it."""

    entry: Entry
    by: str
    disabled: bool


@dataclass(frozen=True, slots=True)
class Merged:
    """`entries` are in force, the highest layer's first, each layer in its own order."""

    entries: tuple[Entry, ...]
    hidden: tuple[Hidden, ...]


def merge(ini: Sequence[Entry], ini_rates: Rates, documents: Sequence[Document]) -> Merged:
    """`documents` are sorted, the highest first.

    An entry is known by (service, log_path). The rate of a service is that of the highest layer that writes one, for
    all its entries; unlimited if none does.
    """
    rates: dict[str, float | None] = {}
    for layer in (ini_rates, *(document.rates_lines_per_s for document in documents)):
        rates = {**layer, **rates}
    decided: dict[tuple[str, str], tuple[str, bool]] = {}
    entries: list[Entry] = []
    hidden: list[Hidden] = []
    layers = [(INI, tuple(ini), frozenset[tuple[str, str]]())]
    layers += [(one.source, one.entries, one.disabled) for one in documents]
    for source, members, disabled in layers:
        for entry in members:
            if entry.id in decided:
                hidden.append(Hidden(entry, *decided[entry.id]))
            else:
                entries.append(_with_rate(entry, rates.get(entry.service)))
        for id_ in disabled:
            decided.setdefault(id_, (source, True))
        for entry in members:
            decided.setdefault(entry.id, (source, False))
    return Merged(tuple(entries), tuple(hidden))


def _with_rate(entry: Entry, rate: float | None) -> Entry:
    return entry if entry.send_rate_lines_per_s == rate else replace(entry, send_rate_lines_per_s=rate)


def groups(value: bytes | None, key: str = "groups") -> tuple[str, ...] | Fault:
    """The groups of a host, the highest first, from the value of its groups key; an absent one means none."""
    if value is None:
        return ()
    try:
        names = parse(value, "group names", LIMIT_GROUPS)
    except ValueError as error:
        return Fault(key, "", "", "", str(error))
    for at, name in enumerate(names):
        refusal = group_name_refusal(name)
        if name == DEFAULT_GROUP:
            refusal = "expected no default here, as it counts for every host, below all groups"
        elif name in names[:at]:
            refusal = "expected each group once"
        if refusal:
            return Fault(f"{key}: member {at + 1}", "", "", services.shown(name), refusal)
    return tuple(names)
