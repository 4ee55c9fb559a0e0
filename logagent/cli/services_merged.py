# SPDX-License-Identifier: Apache-2.0
"""`logagent services get --merged`: what the agent of a host makes of all layers."""

from typing import Final

import click

from logagent.cli.common import warn
from logagent.cli.services_desk import Desk, own_host, wrong
from logagent.cli.services_print import entry_json, print_json, shown_rate, tell_refused
from logagent.cli.tables import print_table
from logagent.control import layers, steering
from logagent.control.layers import Merged
from logagent.control.steering import Held
from logagent.ops.shown import printable

ROUNDS: Final = 3
"""Groups may change while their lists are read."""


def print_merged(desk: Desk, *, as_json: bool) -> None:
    """All layers of a host together, which of them each entry comes from, and what is hidden by a higher one."""
    if desk.host is None:
        raise wrong("--merged", "", "expected it with a host, not with --group")
    held = _read(desk)
    own = desk.host == own_host(desk.settings)
    merged = layers.merge(
        desk.settings.entries if own else (),
        desk.settings.rates_lines_per_s if own else {},
        tuple(held.documents.values()),
    )
    if as_json:
        _print_json(desk, held, merged, own=own)
    else:
        _print(desk, held, merged, own=own)


def _read(desk: Desk) -> Held:
    held = Held()
    for _ in range(ROUNDS):
        snapshot = desk.load(desk.keys.groups, *steering.scope(desk.keys, held.groups))
        before, held = held.groups, held.after(snapshot, desk.keys, desk.settings.path_rules)
        if held.groups == before:
            break
    return held


def _print_json(desk: Desk, held: Held, merged: Merged, *, own: bool) -> None:
    hidden = [{**entry_json(one.entry), "by": one.by, "disabled": one.disabled} for one in merged.hidden]
    print_json(
        host=desk.host,
        ini=own,
        groups=held.groups,
        documents={
            one.key: {"revision": one.revision, "sha256": one.sha256, "layer": one.source}
            for one in held.documents.values()
        },
        entries=[entry_json(entry) for entry in merged.entries],
        hidden=hidden,
        faults=[str(fault) for fault in held.faults],
    )


def _print(desk: Desk, held: Held, merged: Merged, *, own: bool) -> None:
    click.echo(f"Host {printable(str(desk.host))}, groups: {printable(', '.join(held.groups)) or 'none'}\n")
    documents = [(one.source, one.key, one.revision) for one in held.documents.values()]
    print_table("Layers in Etcd", ("layer", "key", "revision"), documents)
    entries = [
        (one.service, one.log_path, one.topic, shown_rate(one), one.format, one.source)
        for one in merged.entries
    ]
    print_table("Services", ("service", "log_path", "topic", "lines/s", "format", "from"), entries)
    if not entries:
        click.echo("No layer names a service.")
    hidden = [
        (
            one.entry.service,
            one.entry.log_path,
            one.entry.source,
            "disabled" if one.disabled else "replaced",
            one.by,
        )
        for one in merged.hidden
    ]
    print_table("Not in force", ("service", "log_path", "from", "", "by"), hidden)
    if not own:
        warn(f"the INI of host {desk.host} is not known here; what it names comes on top")
    tell_refused(held.faults)
