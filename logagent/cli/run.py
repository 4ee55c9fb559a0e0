# SPDX-License-Identifier: Apache-2.0
"""`logagent run`."""

import sys

import click

from logagent import agent
from logagent.cli.common import config_option, load, warn
from logagent.errors import ConfigError, Fault
from logagent.ops.shown import printable


@click.command(
    short_help="Ship the log files, until stopped.",
    epilog="""Example: logagent run -c /etc/logagent/logagent.ini

    SIGTERM and SIGINT stop the agent once it has sent what it read; SIGHUP makes it read its configuration
    again.

    Exit codes: 0 stopped as asked, 1 failed, 2 the configuration is wrong, 4 another agent works on the same
    data_dir.""",
)
@config_option
def run(config: str | None) -> int:
    """Ship the log files that the configuration names, until stopped."""
    settings = load(config)
    # The agent tells warnings to its log: standard error needs them if that is elsewhere.
    if settings.log is not None:
        for sentence in settings.warnings:
            warn(sentence)
    if not settings.entries and not settings.etcd_addr:
        expected = (
            "it names no service; expected at least one [[name]] with log_path and topic"
            " (logagent init --output FILE proposes some)"
        )
        raise ConfigError((Fault(str(settings.ini_path), "services", "", "", expected),))
    return agent.run(settings, say if sys.stdout.isatty() else say_nothing)


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    click.echo(printable(sentence))


def say_nothing(sentence: str) -> None:
    """Off a terminal the log tells it all."""
