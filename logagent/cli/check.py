# SPDX-License-Identifier: Apache-2.0
"""`logagent check`: reads, writes nothing, asks nobody."""

import json
from itertools import groupby
from operator import attrgetter
from typing import Any

import click

from logagent.cli.common import Exit, config_option, json_option, load, warn
from logagent.cli.tables import print_table
from logagent.config import report
from logagent.config.services import Entry
from logagent.config.settings import Settings
from logagent.errors import ConfigError

SCHEMA = 1


@click.command(
    short_help="Print the settings in force, or every fault.",
    epilog="""Example: logagent check -c /etc/logagent/logagent.ini

    Exit codes: 0 the agent would start with it, 2 something is wrong with it. `logagent init` writes a first
    configuration.""",
)
@config_option
@json_option
def check(config: str | None, as_json: bool) -> int:
    """Print the settings in force and where each comes from, or every fault of the configuration.

    It writes nothing and asks nobody, neither Kafka nor the running agent.
    """
    try:
        settings = load(config)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"schema": SCHEMA, "faults": [_fault(fault) for fault in error.faults]}))
        raise
    if as_json:
        click.echo(json.dumps(_document(settings)))
        return Exit.OK
    print_table(
        f"Settings of {settings.ini_path}", ("section", "key", "value", "from"), report.rows(settings)
    )
    print_table(
        "Services", ("service", "log_path", "topic", "lines/s", "format", "from"), _services(settings)
    )
    for sentence in settings.warnings:
        warn(sentence)
    return Exit.OK


def _services(settings: Settings) -> list[tuple[str, ...]]:
    return [
        (entry.service, entry.log_path, entry.topic, _rate(entry), entry.format, entry.source)
        for entry in settings.entries
    ]


def _rate(entry: Entry) -> str:
    rate = entry.send_rate_lines_per_s
    return "unlimited" if rate is None else f"{rate:g}"


def _fault(fault: Any) -> dict[str, str]:
    return {name: getattr(fault, name) for name in ("file", "section", "key", "value", "expected")}


def _document(settings: Settings) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "file": str(settings.ini_path),
        "settings": [row._asdict() for row in report.rows(settings)],
        "services": [
            {"service": service, "entries": [_entry(entry) for entry in entries]}
            for service, entries in groupby(settings.entries, key=attrgetter("service"))
        ],
        "warnings": settings.warnings,
    }


def _entry(entry: Entry) -> dict[str, object]:
    names = ("log_path", "topic", "send_rate_lines_per_s", "format", "headers", "key", "start_at", "source")
    return {name: getattr(entry, name) for name in names}
