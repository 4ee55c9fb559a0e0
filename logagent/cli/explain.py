# SPDX-License-Identifier: Apache-2.0
"""`logagent explain`: asks the running agent about a path, or works it out from configuration and state."""

import json
import os
from collections.abc import Iterator
from typing import Any

import click

from logagent.admin.client import fetch_explanation
from logagent.cli.common import Exit, config_option, json_option, load, warn
from logagent.cli.tables import print_table
from logagent.config.settings import Settings
from logagent.errors import AgentNotRunning, StateError
from logagent.ops.shown import printable
from logagent.sources import explain as explaining
from logagent.state.changes import Position
from logagent.state.database import read_positions
from logagent.state.keeper import NAME

FILE_COLUMNS = {
    "path": "path",
    "size": "size_bytes",
    "read": "read_offset_bytes",
    "acked": "acked_offset_bytes",
    "state": "state",
    "reason": "reason",
    "waits for": "waits_for",
    "identity": "identity",
}
POSITION_COLUMNS = {"service": "service", "path": "path", "offset": "offset_bytes", "identity": "identity"}


@click.command(
    short_help="Say why a file is read, or is not.",
    epilog="""Example: logagent explain /var/log/nginx/access.log

    Exit codes: 0 the file is read, or would be, 1 it is not, 2 the configuration is wrong.""",
)
@click.argument("path", type=click.Path())
@config_option
@json_option
def explain(path: str, config: str | None, as_json: bool) -> int:
    """Say which entries name the file at PATH, how far it is read, what it waits for, or why it is not read.

    It asks the agent that works on the data_dir of the configuration; if none runs, the configuration and
    the stored positions answer.
    """
    settings = load(config)
    raw = os.fsencode(os.path.abspath(path))
    try:
        document = fetch_explanation(settings.agent.data_dir, raw)
    except AgentNotRunning:
        document = explaining.explain(
            explaining.look(raw, settings.path_rules.refusal), settings.entries, _positions(settings)
        )
    if as_json:
        click.echo(json.dumps(document))
    else:
        _print(document)
    read = any(entry["verdict"] in ("read", "would be read") for entry in document["entries"])
    return Exit.OK if read else Exit.FAILED


def _positions(settings: Settings) -> list[Position]:
    path = settings.agent.data_dir / NAME
    if not path.exists():
        return []
    try:
        return read_positions(path)
    except StateError as error:
        warn(str(error))
        return []


def _print(document: dict[str, Any]) -> None:
    click.echo(f"{document['path']} ({printable(document['from'])})")
    for sentence in _about_the_file(document):
        click.echo(f"  {printable(sentence)}")
    entries = document["entries"]
    named = [entry for entry in entries if entry["verdict"] != "not named"]
    if not named:
        click.echo("  no entry names it")
    rows = [
        (entry["service"], entry["log_path"], entry["topic"], entry["verdict"], entry["reason"])
        for entry in entries
    ]
    click.echo()
    print_table("Entries", ("service", "log_path", "topic", "verdict", "reason"), rows)
    _objects("Files that are read", FILE_COLUMNS, [file for entry in entries for file in entry["files"]])
    _objects("Stored positions", POSITION_COLUMNS, document["positions"])


def _about_the_file(document: dict[str, Any]) -> Iterator[str]:
    if document["problem"]:
        yield document["problem"]
        return
    yield f"{document['size_bytes']} bytes, identity {document['identity']}"
    if document["real_path"] != document["path"]:
        yield f"it really is {document['real_path']}"


def _objects(title: str, columns: dict[str, str], objects: list[dict[str, Any]]) -> None:
    cells = [
        ["-" if thing[field] in (None, "") else thing[field] for field in columns.values()]
        for thing in objects
    ]
    print_table(title, list(columns), cells)
