# SPDX-License-Identifier: Apache-2.0
"""`logagent positions`: what is stored of every file, and starting over."""

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from logagent import clock
from logagent.cli.common import Exit, config_option, load
from logagent.cli.tables import print_table
from logagent.config.settings import Settings
from logagent.errors import StateError
from logagent.ops.shown import shown
from logagent.sources.explain import look
from logagent.state.changes import STARTED_OVER, Changes, FileId, Position
from logagent.state.data_dir import DataDir
from logagent.state.database import read_positions
from logagent.state.journal import NAMES, Journal
from logagent.state.keeper import NAME, Keeper

SCHEMA = 1
COLUMNS = ("service", "path", "acked", "size seen", "gone since", "log_path", "identity")


@click.group(
    short_help="List, export or reset the stored positions.",
    epilog="""Example: logagent positions list --service nginx

    Exit codes: 0 done, 1 failed, 2 the configuration or the usage is wrong, 4 an agent runs (reset).""",
)
def positions() -> None:
    """Work with what is stored of every file: up to where its lines are acknowledged."""


def _choice(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose positions."""
    path = click.option("--path", metavar="PATH", type=click.Path(), help="Only of the file at PATH.")
    service = click.option("--service", metavar="NAME", help="Only of this service.")
    return service(path(config_option(command)))


@positions.command(
    "list",
    short_help="Print the stored positions.",
    epilog="""Example: logagent positions list --path /var/log/nginx/access.log""",
)
@_choice
def list_(config: str | None, service: str | None, path: str | None) -> int:
    """Print up to where each file is acknowledged, also while the agent runs."""
    settings = load(config)
    chosen = _chosen(_stored(settings), settings, service, path)
    print_table("Positions", COLUMNS, map(_row, chosen))
    if not chosen:
        click.echo("no positions")
    return Exit.OK


@positions.command(
    short_help="Print the stored positions as JSON.",
    epilog="""Example: logagent positions export > positions.json""",
)
@_choice
def export(config: str | None, service: str | None, path: str | None) -> int:
    """Print everything that is stored as JSON, also while the agent runs."""
    settings = load(config)
    chosen = _chosen(_stored(settings), settings, service, path)
    click.echo(json.dumps({"schema": SCHEMA, "positions": [_document(position) for position in chosen]}))
    return Exit.OK


@positions.command(
    short_help="Have files read again from their beginning.",
    epilog="""Example: logagent positions reset --service nginx --yes

    The next start of the agent reads the chosen files from their beginning, whatever start_at says, so their
    lines are sent again. It works only while no agent runs on the data_dir.

    Exit codes: 0 done, 1 failed, 2 the configuration or the usage is wrong, 4 an agent runs.""",
)
@_choice
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(config: str | None, service: str | None, path: str | None, yes: bool) -> int:
    """Have the chosen files, or all, read again from their beginning."""
    settings = load(config)
    if not (settings.agent.data_dir / NAME).exists():
        click.echo("no positions")
        return Exit.OK
    with _state_alone(settings) as (keeper, stored):
        chosen = _chosen(stored, settings, service, path)
        if not chosen:
            click.echo("no positions")
            return Exit.OK
        if not yes:
            _ask(chosen)
        over = {position.id: _from_the_start(position) for position in chosen}
        keeper.save(Changes(over, unmarked=set(over)))
        keeper.back_up()
        _forget_batches(settings, set(over))
    click.echo(f"{len(chosen)} files will be read from their beginning")
    return Exit.OK


@contextmanager
def _state_alone(settings: Settings) -> Iterator[tuple[Keeper, list[Position]]]:
    """The state, for writing. Raises DataDirLocked while an agent runs, StateError if it cannot be written."""
    data_dir = DataDir(settings.agent.data_dir)
    keeper = Keeper(data_dir.path, clock.wall)
    try:
        stored = keeper.open()
        if keeper.trouble:
            raise StateError(keeper.trouble)
        yield keeper, stored
    finally:
        keeper.close()
        data_dir.release()


def _forget_batches(settings: Settings, files: set[FileId]) -> None:
    """Batches of these files alone that were on their way: their lines go again, whatever became of them."""
    if not all((settings.agent.data_dir / name).exists() for name in NAMES):
        return
    journal = Journal(settings.agent.data_dir)
    for record in journal.found.open:
        cuts = (record.segments, *(cut.segments for cut in record.earlier_cuts))
        if {(note.service, note.identity) for cut in cuts for note in cut} <= files:
            journal.release(record.key)
    journal.close()


def _from_the_start(position: Position) -> Position:
    return replace(position, offset=0, marker_digest=b"", gone_since_s=0, delivered_offset=STARTED_OVER)


def _ask(chosen: list[Position]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes if you mean it")
    print_table("To be read from their beginning", COLUMNS, map(_row, chosen))
    click.confirm(f"Send the lines of {len(chosen)} files again?", abort=True)


def _stored(settings: Settings) -> list[Position]:
    path = settings.agent.data_dir / NAME
    return read_positions(path) if path.exists() else []


def _chosen(
    stored: list[Position], settings: Settings, service: str | None, path: str | None
) -> list[Position]:
    if service is not None:
        stored = [position for position in stored if position.service == service]
    if path is not None:
        raw = os.fsencode(os.path.abspath(path))
        # The file may have been found under another name than it has now.
        identity = look(raw, settings.path_rules.refusal).identity
        stored = [position for position in stored if position.path == raw or position.identity == identity]
    return sorted(stored, key=lambda position: (position.service, position.path, position.identity))


def _row(position: Position) -> tuple[object, ...]:
    gone = datetime.fromtimestamp(position.gone_since_s, UTC).isoformat() if position.gone_since_s else "-"
    return (
        position.service,
        shown(position.path),
        position.offset,
        position.size_bytes or "-",
        gone,
        position.log_path,
        position.identity,
    )


def _document(position: Position) -> dict[str, object]:
    return {
        "service": position.service,
        "log_path": position.log_path,
        "path": shown(position.path),
        "path_base64": base64.b64encode(position.path).decode("ascii"),
        "identity": position.identity,
        "offset_bytes": position.offset,
        "size_bytes": position.size_bytes,
        "head_bytes": position.head_bytes,
        "head_digest": position.head_digest.hex(),
        "marker_digest": position.marker_digest.hex(),
        "boot_id": position.boot_id,
        "gone_since_s": position.gone_since_s or None,
    }
