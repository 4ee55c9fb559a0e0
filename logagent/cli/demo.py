# SPDX-License-Identifier: Apache-2.0
"""`logagent demo`."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from logagent.admin.client import fetch_status
from logagent.demo.picture import take
from logagent.demo.run import Options, run

ASK_WITHIN_S = 0.4  # the screen does not wait longer for an agent that is being killed


@click.command(
    epilog="""Example: logagent demo --seconds 20

    Needs the extra: pip install 'logagent[demo]'. Without --kafka the broker is an in-memory test broker."""
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    metavar="N",
    help="Write for N seconds, then count and end.",
)
@click.option("--kafka", metavar="HOST:PORT", default="", help="Use this Kafka, with a new topic.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep logs, INI and output there.",
)
@click.option(
    "--chaos", is_flag=True, help="Kill the agent, and a real broker of its own, with -9 at random."
)
@click.option("--picture", type=click.Path(path_type=Path), hidden=True)
@click.option("--inject", type=click.Choice(["drop", "double"]), default=None, hidden=True)
def demo(
    seconds: float | None,
    kafka: str,
    keep: Path | None,
    *,
    chaos: bool,
    picture: Path | None,
    inject: str | None,
) -> int:
    """Watch logagent at work and count every line.

    A writer, the agent, a broker and a consumer, each a process of its own, and a screen that compares them.

    Exits with 0 if every line arrived exactly once, with 1 if not.
    """
    if kafka and not _is_address(kafka):
        raise click.BadParameter(f"{kafka!r} is not HOST:PORT", param_hint="--kafka")

    def ask(data: Path) -> dict[str, Any]:
        return fetch_status(data, ASK_WITHIN_S)

    if picture:
        take(ask, picture)
        return 0
    options = Options(seconds, kafka, keep, chaos, inject or "")
    return run(options, ask, Console(file=sys.stdout))


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65_536
