# SPDX-License-Identifier: Apache-2.0
"""`logagent services`: the services in Etcd, looked at; what changes them is in services_edit."""

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from logagent.cli.common import Exit, json_option, warn
from logagent.cli.services_desk import (
    Desk,
    file_bytes,
    file_name,
    file_option,
    open_desk,
    place_options,
    wrong,
)
from logagent.cli.services_edit import edit, rollback, set_
from logagent.cli.services_merged import print_merged
from logagent.cli.services_print import (
    changes_json,
    entry_json,
    print_changes,
    print_json,
    print_unified,
    shown_rate,
    tell_refused,
    unified,
)
from logagent.cli.tables import print_table
from logagent.config.services import Entry
from logagent.control import differences, documents, edits
from logagent.control.documents import Document
from logagent.control.edits import Version
from logagent.ops.shown import printable
from logagent.stores.store import ABSENT, Item


@click.group(
    short_help="Look at and change the services in Etcd.",
    epilog="""Example: logagent services set --file web.json --comment 'second virtual host'

    Exit codes: 0 done, 1 failed, also if somebody else was faster, 2 wrong configuration, document or usage.""",
)
def services() -> None:
    """Look at and change the services that lie in Etcd, of this host, another one or a group.

    Every change replaces exactly the document that was read before, and keeps what was there in a history. Documents
    are checked as the agent checks them, with the path rules of the configuration here; fields that nobody knows
    are kept.
    """


@click.command(
    short_help="Print the services of a host or group.",
    epilog="""Example: logagent services get --merged

    Exit codes: 0 done, also if there is no document, 1 Etcd failed, 2 the configuration or usage is wrong.""",
)
@place_options
@click.option(
    "--merged", is_flag=True, help="All layers together: this configuration, host, groups, default."
)
@click.option("--raw", is_flag=True, help="The document exactly as it is stored, for set --file.")
@json_option
def get(
    config: str | None, host: str | None, group: str | None, merged: bool, raw: bool, as_json: bool
) -> int:
    """Print the document of a host or group, with its revision in Etcd and its SHA-256.

    With --merged: what a host ships, which layer each entry comes from, and what is hidden by a higher layer.
    """
    if raw and (merged or as_json):
        raise wrong("--raw", "", "expected it without --merged and --json")
    desk = open_desk(config, host, group)
    if merged:
        print_merged(desk, as_json=as_json)
        return Exit.OK
    item = desk.load(desk.place.key).items.get(desk.place.key)
    if raw:
        if item is not None:
            sys.stdout.buffer.write(item.value)
        return Exit.OK
    if as_json:
        print_json(**_document(desk, item))
    elif item is None:
        click.echo(f"{printable(desk.place.key)} does not exist.")
    else:
        _print_document(desk, item)
    return Exit.OK


@click.command(
    short_help="Show what a document would change.",
    epilog="""Example: logagent services diff --file web.json --group web

    Exit codes: 0 done, whether something differs or not, 1 Etcd failed, 2 the document, the configuration or
    usage is wrong.""",
)
@place_options
@file_option
@json_option
def diff(config: str | None, host: str | None, group: str | None, file: str, as_json: bool) -> int:
    """Show what the document in FILE would change, entry by entry and as a unified diff. Nothing is written."""
    desk = open_desk(config, host, group)
    new = file_bytes(file)
    desk.check(new, file_name(file), as_json=as_json)
    item = desk.load(desk.place.key).items.get(desk.place.key)
    old = None if item is None else item.value
    names = desk.place.key, file_name(file)
    changed = not differences.same(old, new)
    if as_json:
        print_json(
            changed=changed,
            key=desk.place.key,
            revision=ABSENT if item is None else item.revision,
            changes=changes_json(old, new),
            diff=unified(old, new, *names),
        )
    elif changed:
        print_changes(old, new)
        print_unified(old, new, *names)
    else:
        click.echo(f"{printable(file_name(file))} changes nothing in {printable(desk.place.key)}.")
    return Exit.OK


@click.command(
    short_help="List the changes of a document.",
    epilog="""Example: logagent services history --group web

    Exit codes: 0 done, 1 Etcd failed, 2 the configuration or usage is wrong.""",
)
@place_options
@json_option
def history(config: str | None, host: str | None, group: str | None, as_json: bool) -> int:
    """List the last changes of a document, newest first: who, when, why, and how many entries before and after.

    A version named before-... is what a change found there that was written without logagent. Any version can be
    given to `logagent services rollback`.
    """
    desk = open_desk(config, host, group)
    rows = edits.versions(desk.read())
    if as_json:
        print_json(key=desk.place.key, versions=[_version(row) for row in rows])
    elif rows:
        columns = ("version", "time (UTC)", "who", "comment", "entries", "from revision", "revision", "")
        print_table(f"History of {desk.place.key}", columns, [_history_row(row) for row in rows])
    else:
        click.echo(f"{printable(desk.place.key)} has no history.")
    return Exit.OK


for command in (get, set_, edit, diff, history, rollback):
    services.add_command(command)


def _document(desk: Desk, item: Item | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": desk.place.key, "revision": ABSENT, "sha256": None, "document": None}
    if item is None:
        return fields
    document = desk.understand(item)
    try:
        value = documents.parse(item.value, "entries", documents.LIMIT_ENTRIES)
    except ValueError:
        value = None
    return fields | {
        "revision": item.revision,
        "sha256": hashlib.sha256(item.value).hexdigest(),
        "document": value,
        "entries": [entry_json(entry) for entry in document.entries],
        "faults": [str(fault) for fault in document.faults],
        "warnings": list(document.warnings),
    }


def _print_document(desk: Desk, item: Item) -> None:
    document = desk.understand(item)
    click.echo(f"{printable(desk.place.key)}, revision {item.revision}")
    click.echo(f"SHA-256 {hashlib.sha256(item.value).hexdigest()}\n")
    print_table("Services", ("service", "log_path", "topic", "lines/s", "format"), _rows(document.entries))
    if not document.entries:
        click.echo("It names no service.")
    _print_disabled(document)
    tell_refused(document.faults)
    for sentence in document.warnings:
        warn(sentence)


def _print_disabled(document: Document) -> None:
    print_table("Disabled in lower layers", ("service", "log_path"), sorted(document.disabled))


def _rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    return [(one.service, one.log_path, one.topic, shown_rate(one), one.format) for one in entries]


def _version(row: Version) -> dict[str, Any]:
    return {
        "version": row.name,
        "time": None if row.at is None else row.at.isoformat(),
        "who": row.who,
        "comment": row.comment,
        "entries_before": row.before,
        "entries_after": row.after,
        "from_revision": row.from_revision,
        "revision": row.revision,
        "in_force": row.current,
    }


def _history_row(row: Version) -> tuple[object, ...]:
    before = "" if row.from_revision is None else f"{_count(row.before)} -> "
    return (
        row.name,
        "-" if row.at is None else f"{row.at:%Y-%m-%d %H:%M:%S}",
        row.who or "written without logagent",
        row.comment or "-",
        f"{before}{_count(row.after)}",
        "-" if row.from_revision is None else row.from_revision,
        row.revision,
        "in force" if row.current else "",
    )


def _count(entries: int | None) -> str:
    return "?" if entries is None else str(entries)
