# SPDX-License-Identifier: Apache-2.0
"""From what runs to what should run: a plan, as a function of two lists of entries. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from logagent.config.services import Entry


@dataclass(frozen=True, slots=True)
class Plan:
    """Entries to start, to change in place, and to stop. An entry that is in none of them is not touched."""

    start: tuple[Entry, ...]
    change: tuple[Entry, ...]
    stop: tuple[Entry, ...]


NOTHING = Plan((), (), ())


def plan(running: Iterable[Entry], wanted: Iterable[Entry]) -> Plan:
    """Compare by (service, log_path)."""
    now = {entry.id: entry for entry in running}
    then = {entry.id: entry for entry in wanted}
    return Plan(
        start=tuple(entry for id_, entry in then.items() if id_ not in now),
        change=tuple(entry for id_, entry in then.items() if id_ in now and now[id_] != entry),
        stop=tuple(entry for id_, entry in now.items() if id_ not in then),
    )
