# SPDX-License-Identifier: Apache-2.0
"""`logagent dead-letter`: what Kafka refused for good, sent once more or dropped."""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from logagent import clock
from logagent.cli.common import Exit, config_option, json_option, load, warn
from logagent.cli.tables import print_table
from logagent.config.proposal import count
from logagent.config.settings import Settings
from logagent.errors import DeadLetterFailed
from logagent.kafka.connections import Cluster
from logagent.ops.shown import shown
from logagent.senders.dead_letter import FILE_NAME, DeadRecord, Letter, letters, remove
from logagent.senders.redelivery import Redelivery
from logagent.spawn import Spawner

SCHEMA = 1
KAFKA_TIMEOUT_S = 5.0
COLUMNS = ("id", "refused at", "service", "topic", "path", "offset", "bytes", "reason")


@click.group(
    short_help="List, resend or drop what Kafka refused for good.",
    epilog="""Example: logagent dead-letter list --service nginx

    Exit codes: 0 done, 1 failed or something stays in the file, 2 the configuration or the usage is wrong.""",
)
def dead_letter() -> None:
    """Work with the dead-letter file: the records that Kafka refused for good. The agent may run meanwhile."""


def _choice(command: Callable[..., Any]) -> Callable[..., Any]:
    """What chooses records."""
    ids = click.argument("ids", metavar="[ID]...", nargs=-1)
    topic = click.option("--topic", metavar="NAME", help="Only those for this topic.")
    service = click.option("--service", metavar="NAME", help="Only those of this service.")
    return ids(topic(service(config_option(command))))


@dead_letter.command(
    "list",
    short_help="Print what is in the file.",
    epilog="""Example: logagent dead-letter list --topic nginx_log""",
)
@_choice
@json_option
def list_(
    config: str | None, service: str | None, topic: str | None, ids: tuple[str, ...], as_json: bool
) -> int:
    """Print the records with these IDs, or all; an ID may be cut short."""
    settings = load(config)
    path = settings.agent.data_dir / FILE_NAME
    chosen = _chosen(path, service, topic, ids)
    found = [letter for letter in _read(path) if letter.id in chosen]
    size = path.stat().st_size if path.exists() else 0
    if as_json:
        bounds = {"size_bytes": size, "limit_bytes": settings.kafka.dead_letter_max_bytes}
        click.echo(json.dumps({"schema": SCHEMA, **bounds, "letters": [_document(one) for one in found]}))
        return Exit.OK
    print_table("Dead letters", COLUMNS, map(_row, found))
    full = f"{size} of {settings.kafka.dead_letter_max_bytes} bytes"
    click.echo(f"{count(len(found), 'record')}; the file has {full}" if found else "no dead letters")
    return Exit.OK


@dead_letter.command(
    short_help="Send records once more.",
    epilog="""Example: logagent dead-letter resend --topic nginx_log

    Do it when what made Kafka refuse them is mended, such as the topic's max.message.bytes. What arrives is taken out
    of the file. If the command itself is killed, what it had sent stays in the file and would be sent again.

    Exit codes: 0 all chosen records are in Kafka, 1 some are not and stay in the file, 2 the configuration or the
    usage is wrong.""",
)
@_choice
def resend(config: str | None, service: str | None, topic: str | None, ids: tuple[str, ...]) -> int:
    """Send the records with these IDs, or all, to their topic once more; those of a file in their order."""
    settings = load(config)
    path = settings.agent.data_dir / FILE_NAME
    with _alone(settings):
        chosen = _chosen(path, service, topic, ids)
        if not chosen:
            click.echo("no dead letters")
            return Exit.OK
        sent, stay = _post(settings, path, chosen)
    click.echo(f"{count(sent, 'record')} arrived")
    if stay:
        click.echo(f"{count(stay, 'record')} could not be sent and stay in the file", err=True)
    return Exit.FAILED if stay else Exit.OK


@dead_letter.command(
    short_help="Throw records away.",
    epilog="""Example: logagent dead-letter drop 5f0c21d9 --yes

    Exit codes: 0 done, 1 failed, 2 the configuration or the usage is wrong.""",
)
@_choice
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(config: str | None, service: str | None, topic: str | None, ids: tuple[str, ...], yes: bool) -> int:
    """Throw the records with these IDs, or all, away for good."""
    settings = load(config)
    path = settings.agent.data_dir / FILE_NAME
    with _alone(settings):
        chosen = _chosen(path, service, topic, ids)
        if not chosen:
            click.echo("no dead letters")
            return Exit.OK
        if not yes:
            _ask(path, chosen)
        dropped = _take_out(path, chosen)
    click.echo(f"{count(dropped, 'record')} dropped")
    return Exit.OK


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two of these commands at once would send the same."""
    place = settings.agent.data_dir
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise DeadLetterFailed(f"data_dir {place} cannot be used: {error.strerror}") from error
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DeadLetterFailed("another dead-letter command is at work; try again when it is done") from error


def _read(path: Path) -> Iterator[Letter]:
    try:
        yield from letters(path)
    except OSError as error:
        raise DeadLetterFailed(f"{path} cannot be read: {error.strerror}") from error


def _take_out(path: Path, ids: set[str]) -> int:
    try:
        return remove(path, ids.__contains__)
    except OSError as error:
        raise DeadLetterFailed(f"{path} cannot be written: {error.strerror}") from error


def _chosen(path: Path, service: str | None, topic: str | None, wanted: tuple[str, ...]) -> set[str]:
    """The ids that are meant. What nobody can read is meant only by its id, or by no choice at all."""
    known: dict[str, tuple[str, str] | None] = {}
    for letter in _read(path):
        record = letter.record
        known[letter.id] = None if record is None else (record.service, record.topic)
    named = {_whole(one, known) for one in wanted} if wanted else set(known)
    return {
        one
        for one in named
        if (service is None and topic is None)
        or ((place := known[one]) and service in (None, place[0]) and topic in (None, place[1]))
    }


def _whole(start: str, known: dict[str, Any]) -> str:
    found = [one for one in known if one.startswith(start)]
    if len(found) != 1 or not start:
        many = f"{len(found)} records have" if found else "no record has"
        raise click.UsageError(f"{many} an id that begins with {start!r}; see logagent dead-letter list")
    return found[0]


def _post(settings: Settings, path: Path, chosen: set[str]) -> tuple[int, int]:
    """How many arrived and are out of the file, and how many stay."""
    cluster = Cluster(settings.kafka_addr, "logagent", KAFKA_TIMEOUT_S, Spawner(_tell_failure))
    redelivery = Redelivery(cluster, wall=clock.wall, clock=clock.monotonic)
    arrived: set[str] = set()
    refused = 0
    left: list[str] = []
    try:
        for posted in redelivery.send(_sendable(path, chosen, left)):
            if posted.refusal:
                refused += 1
                warn(f"{posted.id}: {posted.refusal}")
            else:
                arrived.add(posted.id)
    finally:
        redelivery.close()
        sent = _take_out(path, arrived) if arrived else 0
    return sent, refused + len(left)


def _sendable(path: Path, chosen: Collection[str], left: list[str]) -> Iterator[tuple[str, DeadRecord]]:
    """Whole records; the ids of the others go into `left`."""
    done = set[str]()
    for letter in _read(path):
        if letter.id not in chosen or letter.id in done:
            continue
        done.add(letter.id)
        record = letter.record
        if record is None:
            left.append(letter.id)
            warn(f"{letter.id}: nobody can read this line of the file")
        elif record.line_bytes is not None:
            left.append(letter.id)
            size = f"{len(record.value)} of {record.line_bytes} bytes"
            warn(
                f"{letter.id}: only {size} are here; the line begins at byte {record.offset} of {shown(record.path)}"
            )
        else:
            yield letter.id, record


def _ask(path: Path, chosen: Collection[str]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes if you mean it")
    print_table("To be dropped", COLUMNS, (_row(letter) for letter in _read(path) if letter.id in chosen))
    click.confirm(f"Throw {count(len(chosen), 'record')} away for good?", abort=True)


def _tell_failure(_name: str, error: BaseException, _restart_in_s: float | None) -> None:
    warn(f"asking Kafka failed: {shown(error)}")


def _row(letter: Letter) -> tuple[object, ...]:
    record = letter.record
    if record is None:
        return letter.id, "-", "-", "-", "-", "-", letter.line_bytes, "nobody can read this line of the file"
    size = len(record.value) if record.line_bytes is None else f"{len(record.value)} of {record.line_bytes}"
    path = shown(record.path)
    return letter.id, letter.time, record.service, record.topic, path, record.offset, size, record.reason


def _document(letter: Letter) -> dict[str, object]:
    record = letter.record
    if record is None:
        return {"id": letter.id, "readable": False}
    return {"id": letter.id, "readable": True, **json.loads(record.to_json())}
