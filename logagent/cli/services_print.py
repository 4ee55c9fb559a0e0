# SPDX-License-Identifier: Apache-2.0
"""How the commands below `logagent services` show entries and changes, to people and to programs."""

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from logagent.cli.common import warn
from logagent.cli.tables import print_table
from logagent.config.services import Entry
from logagent.control import differences
from logagent.errors import Fault
from logagent.ops.shown import printable

SCHEMA: Final = 1
ENTRY_FIELDS: Final = (
    "service",
    "log_path",
    "topic",
    "send_rate_lines_per_s",
    "format",
    "headers",
    "key",
    "start_at",
    "source",
)


def print_json(**fields: Any) -> None:
    """One JSON object on a line."""
    click.echo(json.dumps({"schema": SCHEMA, **fields}))


def print_changes(old: bytes | None, new: bytes | None) -> None:
    """What differs, entry by entry, for people."""
    rows = [(one.what, one.service, one.log_path, _told(one)) for one in differences.changes(old, new)]
    print_table("Changes", ("", "service", "log_path", "fields"), rows)
    if not rows and not differences.same(old, new):
        click.echo("No entry changes; the order or what stands around them does.")


def _told(change: differences.EntryChange) -> str:
    if change.what == "changed":
        return ", ".join(f"{field.name}: {field.old} -> {field.new}" for field in change.fields)
    return ", ".join(
        f"{field.name} {field.new if change.what == 'added' else field.old}" for field in change.fields
    )


def unified(old: bytes | None, new: bytes | None, old_name: str, new_name: str) -> str:
    """What differs, line by line, for programs."""
    return "\n".join(differences.unified(old, new, old_name, new_name))


def print_unified(old: bytes | None, new: bytes | None, old_name: str, new_name: str) -> None:
    """What differs, line by line, for people."""
    for line in differences.unified(old, new, old_name, new_name):
        click.echo(printable(line))
    click.echo()


def changes_json(old: bytes | None, new: bytes | None) -> list[dict[str, Any]]:
    """What differs, entry by entry, for programs."""
    return [
        {
            "what": one.what,
            "service": one.service,
            "log_path": one.log_path,
            "fields": [{"name": field.name, "old": field.old, "new": field.new} for field in one.fields],
        }
        for one in differences.changes(old, new)
    ]


def entry_json(entry: Entry) -> dict[str, object]:
    """An entry for programs."""
    return {name: getattr(entry, name) for name in ENTRY_FIELDS}


def shown_rate(entry: Entry) -> str:
    """The rate of an entry for people."""
    rate = entry.send_rate_lines_per_s
    return "unlimited" if rate is None else f"{rate:g}"


def tell_refused(faults: Sequence[Fault]) -> None:
    """What of a document that lies in Etcd no agent takes."""
    for fault in faults:
        warn(f"agents refuse this: {fault}")
