# SPDX-License-Identifier: Apache-2.0
"""What the commands share: exit codes, the option for the configuration, tables."""

import os
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from logagent.config import ini
from logagent.config.settings import Settings
from logagent.ops.shown import printable


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILED = 1
    CONFIG = 2
    """The configuration or the command line is wrong."""
    NOT_RUNNING = 3
    LOCKED = 4
    """Another agent works on data_dir."""
    UNHEALTHY = 5
    INTERRUPTED = 130


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option -c/--config of a command."""
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        help="The configuration. Without it: $LOGAGENT_CONFIG, ./logagent.ini, /etc/logagent/logagent.ini.",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --json of a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def load(config: str | None) -> Settings:
    """The settings that `-c` means. Raises ConfigError with all faults."""
    return ini.load(ini.find(config, os.environ))


def warn(sentence: str) -> None:
    """A sentence on standard error that stops nothing."""
    click.echo(f"warning: {printable(sentence)}", err=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for a person on a terminal, plain columns elsewhere; control characters are shown escaped."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not cells:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        click.echo("\n".join(_plain(title, columns, cells)))
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _plain(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterable[str]:
    rows = [list(columns), *cells]
    widths = [max(len(row[number]) for row in rows) for number in range(len(columns))]
    yield title
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
