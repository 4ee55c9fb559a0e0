# SPDX-License-Identifier: Apache-2.0
"""Tables for people and plain columns for scripts. Only for commands that print them: the agent does without rich."""

import os
from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from logagent.ops.shown import printable


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for a person on a terminal, plain columns elsewhere; control characters are shown escaped."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not cells:
        return
    # Without colours rich would still print bold; NO_COLOR means no escape codes here.
    console = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
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
