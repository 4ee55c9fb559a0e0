# SPDX-License-Identifier: Apache-2.0
"""`logagent init`: proposes a configuration from the log files of this host and writes it, never over anything."""

import errno
import os
import shlex
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from logagent.cli.common import Exit, warn
from logagent.cli.log_files import find_log_files
from logagent.cli.tables import print_table
from logagent.config import ini
from logagent.config.proposal import Proposal, count, propose, render, size_text
from logagent.config.services import PathRules
from logagent.config.settings import KEYS, default_data_dir
from logagent.config.values import Address
from logagent.errors import ConfigError, Fault, KafkaError
from logagent.kafka.connections import Cluster
from logagent.ops.shown import printable, shown
from logagent.spawn import Spawner

PROBE_S = 3.0
"""How long Kafka may take to answer before the file is written all the same."""

_KEYS = {key.dotted: key for key in KEYS}
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that has no hard links."""


@click.command(
    short_help="Write a configuration for this host.",
    epilog="""Example: logagent init --kafka kafka1:9092,kafka2:9092 --output /etc/logagent/logagent.ini

    Exit codes: 0 the file is written, 1 you declined, 2 wrong usage: there is a file of this name, or
    nobody to ask for the address of Kafka.""",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Kafka brokers. Without it the terminal is asked.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(readable=False),
    default="logagent.ini",
    show_default=True,
    help="The file to write; never one that exists.",
)
@click.option("--yes", is_flag=True, help="Write without asking for confirmation.")
@click.option("--root", default="/var/log", type=click.Path(readable=False), hidden=True)
def init(kafka: str | None, output: str, yes: bool, root: str) -> int:
    """Write a configuration for this host: propose a service for each kind of log under /var/log.

    Reads the names and first bytes of log files, changes none of them, and asks Kafka whether it is there.
    """
    if os.path.lexists(output):
        raise _exists(output)
    addresses = _addresses(kafka)
    proposal = _propose(root)
    _show(proposal, root)
    _probe(addresses)
    if not yes and _on_terminal() and not click.confirm(f"Write {_shown(output)}?", default=True):
        click.echo("Nothing was written.")
        return Exit.FAILED
    _write(Path(output), render(proposal, addresses))
    _say_what_next(output, proposal)
    return Exit.OK


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _addresses(option: str | None) -> tuple[Address, ...]:
    if option is not None:
        try:
            return _read_addresses(option)
        except click.BadParameter as error:
            raise _wrong("--kafka", option, error.message) from error
    if not _on_terminal():
        raise _wrong(
            "--kafka", "", "it is missing and there is no terminal to ask; expected --kafka HOST:PORT"
        )
    answer: tuple[Address, ...] = click.prompt(
        "Kafka brokers, HOST:PORT with commas between them",
        default="localhost:9092",
        value_proc=_read_addresses,
    )
    return answer


def _read_addresses(text: str) -> tuple[Address, ...]:
    """A prompt shows the message of BadParameter and asks again."""
    key = _KEYS["kafka_addr"]
    try:
        addresses: tuple[Address, ...] = key.read(text.strip())
    except ValueError as error:
        raise click.BadParameter(key.kind.refusal(error)) from error
    return addresses


def _propose(root: str) -> Proposal:
    home = default_data_dir(os.environ, root=os.geteuid() == 0) or "/"
    denied = _KEYS["files.denied_paths"].default_value()
    rules = PathRules(allowed=(), denied=denied, own_log=None, data_dir=home)
    place = os.fsencode(os.path.abspath(root))
    return propose(find_log_files(place, rules), place, rules)


def _show(proposal: Proposal, root: str) -> None:
    rows = [
        (
            service.name,
            ", ".join(service.log_paths),
            service.topic,
            service.files,
            size_text(service.size_bytes),
        )
        for service in proposal.services
    ]
    print_table("Proposed services", ("service", "log_path", "topic", "files", "size"), rows)
    if not rows:
        click.echo(f"No log file below {_shown(root)} can be read; the file gets an example to fill in.")
    if proposal.left_out:
        click.echo("Found, but left out; the file lists each with its reason:")
        for file in proposal.left_out[:5]:
            click.echo(f"  {shown(file.path)}: {shown(file.refusal)}")
        if len(proposal.left_out) > 5:
            click.echo(f"  and {len(proposal.left_out) - 5} more")


def _probe(addresses: tuple[Address, ...]) -> None:
    """Tell whether Kafka answers; a file for a Kafka that is not up yet is fine."""
    cluster = Cluster(addresses, "logagent", PROBE_S, Spawner(_tell_failure))
    try:
        brokers = cluster.refresh(()).brokers
    except KafkaError as error:
        warn(f"{error}; the file can be written all the same, and the agent keeps trying.")
        return
    click.echo(f"Kafka answers: {count(len(brokers), 'broker')}.")


def _tell_failure(_name: str, error: BaseException, _restart_in_s: float | None) -> None:
    warn(f"asking Kafka failed: {shown(error)}")


def _write(path: Path, text: str) -> None:
    """Put the whole file there at once, after it was read back; nothing that is there is touched."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    draft = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        _verify(draft, path)
        _publish(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _verify(draft: Path, path: Path) -> None:
    try:
        ini.load(draft)
    except ConfigError as error:
        named = str(draft), str(path)
        raise ConfigError(
            tuple(replace(fault, file=fault.file.replace(*named)) for fault in error.faults)
        ) from error


def _publish(draft: Path, path: Path) -> None:
    """A hard link appears at once and fails if anything has the name, a dangling symbolic link included."""
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise _exists(str(path)) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(draft, path)


def _copy(draft: Path, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise _exists(str(path)) from error
    with open(descriptor, "wb") as file:
        file.write(draft.read_bytes())


def _say_what_next(output: str, proposal: Proposal) -> None:
    services = count(len(proposal.services), "service") if proposal.services else "an example to fill in"
    click.echo(f"Wrote {_shown(output)}: {services}. Look it over, then:")
    for command in ("check", "run"):
        click.echo(f"  logagent {command} -c {printable(shlex.quote(output))}")


def _shown(path: str) -> str:
    return printable(path)


def _exists(output: str) -> ConfigError:
    see = f"logagent check -c {shlex.quote(output)} shows what it says"
    return _wrong("--output", output, f"it exists and is left alone; expected a new file name ({see})")


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return _wrong("--output", str(path), f"it cannot be written: {error.strerror}")


def _wrong(option: str, value: str, expected: str) -> ConfigError:
    return ConfigError((Fault("", "", option, value, expected),))
