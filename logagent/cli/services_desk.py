# SPDX-License-Identifier: Apache-2.0
"""What the commands below `logagent services` share: which document, reading it, changing it."""

import getpass
import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import click

from logagent.cli.common import config_option, load, warn
from logagent.cli.services_print import print_json
from logagent.clock import wall
from logagent.config.settings import KEYS, Settings
from logagent.control import cache, documents, edits
from logagent.control.connect import Cluster
from logagent.control.documents import Document
from logagent.control.edits import Author, Outcome, Place, State
from logagent.control.keys import Keys, group_name_refusal
from logagent.errors import (
    ConfigError,
    DataDirUnusable,
    EditConflict,
    EtcdError,
    Fault,
    OutcomeUnknown,
)
from logagent.ops.shown import shown
from logagent.spawn import Spawner
from logagent.state.data_dir import primary_address
from logagent.stores.store import ABSENT, Item, Snapshot, Store

COMMENT_CHARACTERS: Final = 1000
FILE_BYTES: Final = 16 * 1024 * 1024
"""More is not read of a file: no document may be nearly as large."""

Answer = TypeVar("Answer")


class Ask(Protocol):
    """Has a member of Etcd do something: the first that answers."""

    def __call__(self, operation: Callable[[Store], Answer]) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Written:
    """What is in force; `version` None: no record of the history tells of it."""

    revision: int
    version: str | None


@dataclass(frozen=True, slots=True)
class Desk:
    """One services document in Etcd. `host` is None for that of a group."""

    settings: Settings
    host: str | None
    keys: Keys
    place: Place
    ask: Ask

    def load(self, *keys: str) -> Snapshot:
        """What is there now."""
        return self.ask(lambda store: store.load(keys))

    def read(self) -> State:
        """The document and its history."""
        return edits.read(self.place, self.load(self.place.key, self.place.audit).items)

    def understand(self, item: Item) -> Document:
        """The document as an agent would read it that has none yet."""
        return documents.read(item.value, item.revision, self.place.key, self.settings.path_rules)

    def check(self, value: bytes, name: str, *, as_json: bool = False) -> None:
        """Raise ConfigError with every fault of a document from `name`; warn of what agents will ignore."""
        document = documents.read(value, ABSENT, name, self.settings.path_rules)
        if document.faults:
            if as_json:
                faults = [str(fault) for fault in document.faults]
                print_json(changed=False, key=self.place.key, faults=faults)
            raise ConfigError(document.faults)
        for sentence in document.warnings:
            warn(sentence)

    def write(self, state: State, new: bytes | None, author: Author) -> Written:
        """Put `new` (None: nothing) in the place of what `state` has.

        Raises EditConflict if it is not there any more, OutcomeUnknown if also reading again does not tell.
        """
        sent = edits.change(state, new, author, wall(), secrets.token_hex(3))
        try:
            revision = self.ask(lambda store: store.commit(sent.guards, sent.writes))
        except OutcomeUnknown as error:
            return self._find_out(state, sent, error)
        if revision is None:
            raise EditConflict(f"{self._overtaken(state, self.read())}; nothing was written")
        return Written(revision, sent.version)

    def _find_out(self, state: State, sent: edits.Change, unknown: OutcomeUnknown) -> Written:
        key = self.place.key
        try:
            now = self.read()
        except EtcdError as error:
            raise OutcomeUnknown(
                f"{unknown}; whether {key} was changed is unknown, for reading it again failed too: {error}"
            ) from error
        outcome = edits.outcome(sent, now)
        if outcome is Outcome.NOT_WRITTEN:
            raise OutcomeUnknown(
                f"{unknown}; reading {key} again shows that it was not changed so far; to repeat it is safe"
            ) from unknown
        if outcome is Outcome.REPLACED:
            raise EditConflict(f"{self._overtaken(state, now)}; before that, this change was in force")
        warn(f"{unknown}; reading {key} again shows that the change is {outcome.value}")
        return Written(now.revision, sent.version)

    def _overtaken(self, state: State, now: State) -> str:
        record = edits.overtaken_by(state, now)
        by = f"by {record.who} (version {record.version})" if record else "without logagent"
        return f"{self.place.key} was changed meanwhile {by}; it is at revision {now.revision} now"


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which document: -c, --host, --group."""
    group = click.option(
        "--group", metavar="NAME", help="The document of a group; default is that of all hosts."
    )
    host = click.option("--host", metavar="ID", help="The document of this host. Without it: of the own one.")
    return config_option(host(group(command)))


def open_desk(config: str | None, host: str | None, group: str | None) -> Desk:
    """The document that the options mean. Raises ConfigError if there is no Etcd or the options are wrong."""
    settings = load(config)
    if not settings.etcd_addr:
        expected = "it names no Etcd; expected HOST:PORT, because services lie in Etcd only then"
        raise ConfigError((Fault(str(settings.ini_path), "", "etcd_addr", "", expected),))
    if group is not None:
        if host is not None:
            raise wrong("--group", group, "expected --host or --group, not both")
        refusal = group_name_refusal(group)
        if refusal:
            raise wrong("--group", group, refusal)
        keys = Keys(settings.etcd_watch_key, _own_host_if_known(settings))
        place = Place(keys.group(group), keys.group_audit(group))
        return Desk(settings, None, keys, place, connect(settings, keys.host))
    keys = Keys(settings.etcd_watch_key, own_host(settings) if host is None else _host(host))
    return Desk(settings, keys.host, keys, Place(keys.services, keys.audit), connect(settings, keys.host))


def own_host(settings: Settings) -> str:
    """The id of this host as an agent on it has it, or would have it at its first start; nothing is written."""
    if settings.agent.host_id:
        return settings.agent.host_id
    file = settings.agent.data_dir / "host_id"
    try:
        return file.read_text("utf-8").strip() or primary_address()
    except FileNotFoundError:
        return primary_address()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirUnusable(f"{file} cannot be read: {error}; name the host with --host") from error


def _own_host_if_known(settings: Settings) -> str:
    """The keys of a group do not need it."""
    try:
        return own_host(settings)
    except DataDirUnusable:
        return ""


def connect(settings: Settings, host: str) -> Ask:
    """The members that the configuration names, in the API that the agent of `host` uses, if it runs here."""
    members = Cluster(settings, host, Spawner(_tell_failure)).members()
    cached, _reason = cache.load(settings.agent.data_dir / cache.FILE_NAME, settings.etcd_watch_key, host)
    if cached is not None:
        members.remember(cached.api)
    told = {""}

    def ask(operation: Callable[[Store], Answer]) -> Answer:
        try:
            return members.first_answering(operation)
        finally:
            if members.warning not in told:
                told.add(members.warning)
                warn(members.warning)

    return ask


def _tell_failure(_name: str, error: BaseException, _restart_in_s: float | None) -> None:
    warn(f"talking to Etcd failed: {shown(error)}")


def _host(text: str) -> str:
    key = next(key for key in KEYS if key.dotted == "agent.host_id")
    try:
        return str(key.kind.read(text))
    except ValueError as error:
        raise wrong("--host", text, key.kind.refusal(error)) from error


def wrong(option: str, value: str, expected: str) -> ConfigError:
    """What is wrong with an option."""
    return ConfigError((Fault("", "", option, value, expected),))


def author(comment: str | None, default: str = "") -> Author:
    """Who runs this command, through sudo or not."""
    text = " ".join((comment or default).split())
    if len(text) > COMMENT_CHARACTERS:
        raise wrong("--comment", "", f"expected at most {COMMENT_CHARACTERS} characters")
    return Author(f"{os.environ.get('SUDO_USER') or _login()}@{socket.gethostname()}", text)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name in the environment, none in the user database
        return f"uid {os.getuid()}"


def file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --file of a command."""
    return click.option(
        "-f",
        "--file",
        "file",
        metavar="FILE|-",
        required=True,
        type=click.Path(readable=False, allow_dash=True),
        help="The document, JSON; - is standard input.",
    )(command)


def file_bytes(file: str) -> bytes:
    """What is in the file or comes from standard input."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(FILE_BYTES)
        with Path(file).open("rb") as stream:
            return stream.read(FILE_BYTES)
    except OSError as error:
        raise wrong("--file", file, f"it cannot be read: {error.strerror}") from error


def file_name(file: str) -> str:
    """How faults and diffs call the file."""
    return "standard input" if file == "-" else file
