# SPDX-License-Identifier: Apache-2.0
"""What the commands share: exit codes, options, loading the configuration."""

import os
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import click

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
        # Only for completion: ini.load says better what is wrong with a file.
        type=click.Path(readable=False),
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
