# SPDX-License-Identifier: Apache-2.0
"""`logagent status`: asks the running agent through the socket in data_dir."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from logagent.admin.client import fetch_status
from logagent.cli.common import Exit, config_option, json_option, load
from logagent.cli.tables import print_table
from logagent.errors import AgentNotRunning
from logagent.ops.shown import printable

# Column heading -> field of /status.
SERVICE_COLUMNS = {
    "service": "service",
    "log_path": "log_path",
    "topic": "topic",
    "from": "source",
    "files": "files",
}
FILE_COLUMNS = {"service": "service", "path": "path", "size": "size_bytes", "acked": "acked_offset_bytes"}
BROKER_COLUMNS = {"broker": "id", "address": "address"}
STATE_COLUMNS = {"state": "state", "reason": "reason"}


@click.command(
    short_help="Print how the running agent is.",
    epilog="""Example: logagent status -c /etc/logagent/logagent.ini --json

    Exit codes: 0 all is well, 2 the configuration is wrong, 3 no agent runs, 5 one runs and something is
    wrong.""",
)
@config_option
@json_option
def status(config: str | None, as_json: bool) -> int:
    """Print what the running agent reads, how far it is, and what is wrong.

    It asks the agent that works on the data_dir of the configuration.
    """
    settings = load(config)
    try:
        document = fetch_status(settings.agent.data_dir)
    except AgentNotRunning as error:
        click.echo(f"{error}; start one with: logagent run -c {printable(str(settings.ini_path))}", err=True)
        return Exit.NOT_RUNNING
    if as_json:
        click.echo(json.dumps(document))
    else:
        _print(document)
    return Exit.UNHEALTHY if document.get("reasons") or document.get("state") == "degraded" else Exit.OK


def _print(document: dict[str, Any]) -> None:
    up = timedelta(seconds=int(document.get("uptime_s", 0)))
    click.echo(
        f"logagent {document.get('version')} on host {document.get('host_id')}: {document.get('state')},"
        f" up {up}, process {document.get('pid')}\n"
    )
    entries = [
        {"service": service.get("service"), **entry}
        for service in document.get("services", [])
        for entry in service.get("entries", [])
    ]
    rates = [
        (service.get("service"), _rate(service), service.get("lines_read"), service.get("lines_acked"))
        for service in document.get("services", [])
    ]
    print_table("Services", ("service", "lines/s at most", "lines read", "lines acked"), rates)
    _print_objects("Entries", SERVICE_COLUMNS | STATE_COLUMNS, entries)
    _print_objects("Files", FILE_COLUMNS | {"lag": "lag_bytes"} | STATE_COLUMNS, document.get("files", []))
    _print_etcd(document.get("etcd"))
    _print_objects("Brokers", BROKER_COLUMNS | STATE_COLUMNS, document.get("brokers", []))
    for reason in document.get("reasons", []):
        click.echo(f"not well: {printable(str(reason))}")


def _print_etcd(etcd: dict[str, Any] | None) -> None:
    """How things are with Etcd, and which of its lists are in force."""
    if not etcd:
        return
    click.echo(
        f"Etcd: {etcd.get('state')}, {_cell(etcd.get('api'))} at {printable(str(etcd.get('member') or 'nobody'))}"
    )
    applied = [(key, one.get("revision"), one.get("sha256", "")[:12]) for key, one in etcd["applied"].items()]
    print_table("Lists in Etcd", ("key", "revision", "sha256"), applied)


def _print_objects(title: str, columns: dict[str, str], objects: Sequence[dict[str, Any]]) -> None:
    print_table(
        title, list(columns), [[_cell(thing.get(field)) for field in columns.values()] for thing in objects]
    )


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _rate(service: dict[str, Any]) -> str:
    rate = service.get("send_rate_lines_per_s")
    return "unlimited" if rate is None else f"{rate:g}"
