# SPDX-License-Identifier: Apache-2.0
"""The command `logagent`, and how errors become sentences and exit codes."""

import importlib

import click

from logagent import __version__
from logagent.cli.common import Exit
from logagent.errors import ConfigError, DataDirLocked, LogagentError
from logagent.ops.shown import printable

COMMANDS = (
    "init", "check", "run", "status", "explain", "services", "positions", "dead-letter", "demo", "completion",
)  # fmt: skip


class _Commands(click.Group):
    """Loads the module of a command only when that command is asked for: the agent needs no tables."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"logagent.cli.{name}"), name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: logagent init --kafka localhost:9092 && logagent check && logagent run",
)
@click.version_option(__version__, prog_name="logagent", message="%(prog)s %(version)s")
def main() -> None:
    """Ship log files to Kafka without losing a line.

    Exit codes: 0 done, 1 failed, 2 wrong configuration or usage, 3 no agent runs, 4 another agent works on
    the same data_dir, 5 the agent is not well.
    """


def execute(args: list[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code.

    A reader of our output that leaves early ends the process quietly: click takes care of that.
    """
    try:
        code = main.main(args, prog_name="logagent", standalone_mode=False)
        return int(code or Exit.OK)
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LogagentError as error:
        return _tell(error)


def _tell(error: LogagentError) -> int:
    # A fault per line; anything else in them stays on its line.
    for line in [str(fault) for fault in error.faults] if isinstance(error, ConfigError) else [str(error)]:
        click.echo(printable(line), err=True)
    if isinstance(error, ConfigError):
        return Exit.CONFIG
    return Exit.LOCKED if isinstance(error, DataDirLocked) else Exit.FAILED
