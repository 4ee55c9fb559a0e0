# SPDX-License-Identifier: Apache-2.0
"""Every key of the INI file, declared once, and the frozen values that the agent is built from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from logagent.config import values
from logagent.config.services import SERVICE_KEYS, Entry, PathRules
from logagent.config.values import Address, Key

__all__ = [
    "ALL_KEYS",
    "KEYS",
    "SECTIONS",
    "SERVICE_KEYS",
    "Address",
    "AgentSettings",
    "Entry",
    "EtcdSettings",
    "FilesSettings",
    "KafkaSettings",
    "Key",
    "Settings",
    "changed_restart_keys",
    "default_data_dir",
    "value_of",
]

SECTIONS: Final[Mapping[str, str]] = {
    "": "The seven keys of the top stand before the first section.",
    "agent": "The agent itself.",
    "etcd": "How to get at Etcd, where etcd_addr names one.",
    "kafka": "How records are collected and sent.",
    "files": "How log files are read.",
    "services": "What to ship: one [[name]] per service.",
}
"""Section names in the order in which they are written, with one sentence each."""

SYSTEM_CA: Final = "system"
"""The word that stands for the certificate authorities of the system."""

KEYS: Final[tuple[Key, ...]] = (
    Key(
        "",
        "etcd_addr",
        values.addresses(2379, at_least=0),
        "Etcd servers; empty for a single host whose services all stand in this file.",
        default="",
        sample="",
    ),
    Key(
        "",
        "etcd_timeout",
        values.whole(1, 300, "seconds"),
        "Longest wait for an answer of Etcd.",
        default="5",
        field="etcd_timeout_s",
    ),
    Key(
        "",
        "etcd_watch_key",
        # What ends with a slash is a prefix to a Store, and %s/groups is the key of the host's groups.
        values.matching(
            r"(?!.*%s.*%s)(?!.*(?:/|%s/groups)\Z).*%s.*",
            "a key with %s, for the host, in it exactly once, that ends neither with / nor with %s/groups",
        ),
        "Etcd key that holds the services of this host.",
        default="/logagent/%s/logconfig",
    ),
    Key(
        "",
        "kafka_addr",
        values.addresses(9092, at_least=1),
        "Kafka brokers to ask first; one that answers is enough.",
        required=True,
        sample="localhost:9092",
    ),
    Key(
        "",
        "thread_num",
        values.whole(1, 64),
        "Requests that are sent to Kafka at the same time.",
        default="4",
    ),
    Key(
        "",
        "log",
        values.file_path(),
        "The agent's own log; a relative path is relative to this file.",
        default_words="standard error",
    ),
    Key(
        "",
        "level",
        values.choice("debug", "trace", "info", "warn", "error"),
        "How much goes into the agent's own log.",
        default="info",
        reloadable=True,
        sample="info",
    ),
    Key(
        "agent",
        "host_id",
        values.matching(
            r"(?!\.{1,2}\Z)[A-Za-z0-9._:-]{1,253}", "1 to 253 letters, digits, dots, colons, _ or -"
        ),
        "Name of this host in Etcd and in records.",
        default_words="the primary IPv4 address at the first start",
    ),
    Key(
        "agent",
        "data_dir",
        values.file_path(),
        "Directory of positions and sockets; relative to this file.",
        default_words="/var/lib/logagent as root, else logagent in $XDG_STATE_HOME or ~/.local/state",
    ),
    Key(
        "agent",
        "admin_addr",
        values.listen_address(),
        "Read-only HTTP: metrics, health and status; the address taken is written to admin.addr in data_dir.",
        default="127.0.0.1:0",
    ),
    Key(
        "agent",
        "memory_limit",
        values.size(64 * values.MIB, 1024 * values.GIB),
        "Resident memory that the agent stays below; full buffers make it stop reading.",
        default="96MiB",
        field="memory_limit_bytes",
    ),
    Key(
        "agent",
        "shutdown_timeout_s",
        values.decimal(0, 3600, "seconds"),
        "Longest wait at a stop for lines that were read to be acknowledged.",
        default="15",
        reloadable=True,
    ),
    Key(
        "agent", "log_format", values.choice("text", "json"), "Lines of the agent's own log.", default="text"
    ),
    Key(
        "etcd",
        "api",
        values.choice("auto", "v3", "v2"),
        "Interface of the server; auto looks once and remembers.",
        default="auto",
    ),
    Key(
        "etcd",
        "user",
        values.matching(r"[^\s:]{1,200}", "a user name without white space and colons"),
        "User, where the server wants one; it needs password_file.",
        default_words="none",
    ),
    Key(
        "etcd",
        "password_file",
        values.file_path(),
        "File whose first line is the password, readable only for the agent; relative to this file.",
        default_words="none",
    ),
    Key(
        "etcd",
        "ca",
        values.file_path(),
        f"Certificates of the authorities to trust, or the word {SYSTEM_CA}; given, all connections use TLS.",
        default_words="none, connections are not encrypted",
    ),
    Key(
        "etcd",
        "cert",
        values.file_path(),
        "Client certificate, without a CommonName where the server has users; it needs key and ca.",
        default_words="none",
    ),
    Key(
        "etcd",
        "key",
        values.file_path(),
        "Private key of cert.",
        default_words="none",
    ),
    Key(
        "etcd",
        "accept_empty",
        values.yes_or_no(),
        "Whether to stop everything when a restored or emptied Etcd holds no services; no keeps the last ones.",
        default="no",
        reloadable=True,
    ),
    Key(
        "etcd",
        "publish_status",
        values.yes_or_no(),
        "Whether the agent writes its own state into Etcd, for the console.",
        default="yes",
    ),
    Key(
        "kafka",
        "linger_ms",
        values.whole(0, 10_000, "milliseconds"),
        "Wait for more lines before a batch is sent.",
        default="50",
    ),
    Key(
        "kafka",
        "batch_bytes",
        values.size(1024, 950_000),
        "A batch of this size is sent at once.",
        default="950000",
    ),
    Key(
        "kafka",
        "partitioner",
        values.choice("file", "round_robin", "random"),
        "Partition of a record: a stable one per file (keeps the order), in turn per batch, or at random.",
        default="file",
    ),
    Key(
        "files",
        "start_at",
        values.choice("beginning", "end"),
        "Where to start in files that are there when a service is first seen.",
        default="beginning",
        reloadable=True,
    ),
    Key(
        "files",
        "rescan_s",
        values.decimal(1, 3600, "seconds"),
        "Time between two full looks for new files.",
        default="30",
        reloadable=True,
    ),
    Key(
        "files",
        "rotate_wait_s",
        values.decimal(0, 3600, "seconds"),
        "How long a renamed or deleted file is still read after its last line.",
        default="10",
        reloadable=True,
    ),
    Key(
        "files",
        "max_line_bytes",
        values.size(64, 1_000_000),
        "Longer lines are cut to this and counted; leave room for the rest of the record.",
        default="999900",
        reloadable=True,
    ),
    Key(
        "files",
        "allowed_paths",
        values.directories(bare_names=False),
        "Only files below these directories are read; empty for all.",
        default="",
        reloadable=True,
    ),
    Key(
        "files",
        "denied_paths",
        values.directories(bare_names=True),
        "Files below these directories are never read, even if allowed; replaces the default.",
        default="/etc, /root, /proc, /sys, /dev, /boot, .ssh",
        reloadable=True,
    ),
)

ALL_KEYS: Final[tuple[Key, ...]] = KEYS + SERVICE_KEYS


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """[agent]; `host_id` None means the primary IPv4 address, `admin_addr` None no TCP listener."""

    host_id: str | None
    data_dir: Path
    admin_addr: Address | None
    memory_limit_bytes: int
    shutdown_timeout_s: float
    log_format: Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """[etcd]; paths are absolute, `ca` may also be `SYSTEM_CA`; without `ca` there is no TLS."""

    api: Literal["auto", "v3", "v2"]
    user: str | None
    password_file: Path | None
    ca: Path | str | None
    cert: Path | None
    key: Path | None
    accept_empty: bool
    publish_status: bool


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """[kafka]."""

    linger_ms: int
    batch_bytes: int
    partitioner: Literal["file", "round_robin", "random"]


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """[files]; paths are absolute, but for bare names in `denied_paths` (see `PathRules`)."""

    start_at: Literal["beginning", "end"]
    rescan_s: float
    rotate_wait_s: float
    max_line_bytes: int
    allowed_paths: tuple[str, ...]
    denied_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the operator wrote, checked, with defaults filled in and paths made absolute.

    `origins` has `FILE:LINE` of every written key by dotted name (`agent.data_dir`, `services.nginx.topic`);
    `rates_lines_per_s` the rates that services write themselves.
    """

    ini_path: Path
    etcd_addr: tuple[Address, ...]
    etcd_timeout_s: int
    etcd_watch_key: str
    kafka_addr: tuple[Address, ...]
    thread_num: int
    log: Path | None
    level: Literal["debug", "trace", "info", "warn", "error"]
    agent: AgentSettings
    etcd: EtcdSettings
    kafka: KafkaSettings
    files: FilesSettings
    entries: tuple[Entry, ...]
    rates_lines_per_s: Mapping[str, float | None]
    origins: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def path_rules(self) -> PathRules:
        """Which files may be read."""
        own_log = None if self.log is None else str(self.log)
        return PathRules(self.files.allowed_paths, self.files.denied_paths, own_log, str(self.agent.data_dir))


def value_of(settings: Settings, key: Key) -> Any:
    """The effective value of a key of `KEYS`."""
    return getattr(getattr(settings, key.section) if key.section else settings, key.attribute)


def changed_restart_keys(old: Settings, new: Settings) -> tuple[str, ...]:
    """Dotted names of the keys that differ but take effect only at the next start."""
    return tuple(
        key.dotted for key in KEYS if not key.reloadable and value_of(old, key) != value_of(new, key)
    )


def reloaded(old: Settings, new: Settings) -> Settings:
    """`old` with the entries and every reloadable value of `new`; the rest waits for the next start."""
    kept = {key.dotted for key in KEYS if not key.reloadable}
    sections = {}
    for name in ("agent", "etcd", "kafka", "files"):
        section = getattr(old, name)
        changes = {
            key.attribute: value_of(new, key)
            for key in KEYS
            if key.section == name and key.dotted not in kept
        }
        sections[name] = replace(section, **changes)
    top = {key.attribute: value_of(new, key) for key in KEYS if not key.section and key.dotted not in kept}
    return replace(old, entries=new.entries, origins=new.origins, warnings=new.warnings, **sections, **top)


def default_data_dir(environ: Mapping[str, str], *, root: bool) -> str | None:
    """Where positions lie if nobody says so; None if the environment names no home."""
    if root:
        return "/var/lib/logagent"
    state = environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):  # the XDG specification has relative ones ignored
        return f"{state}/logagent"
    home = environ.get("HOME", "")
    return f"{home}/.local/state/logagent" if home.startswith("/") else None
