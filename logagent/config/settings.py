# SPDX-License-Identifier: Apache-2.0
"""The frozen values that the agent is built from, and how a reload changes them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from logagent.config.keys import ALL_KEYS, KEYS, SECTIONS, SYSTEM_CA
from logagent.config.services import SERVICE_KEYS, Entry, PathRules
from logagent.config.values import Address, FreeSpace, Key

__all__ = [
    "ALL_KEYS",
    "KEYS",
    "SECTIONS",
    "SERVICE_KEYS",
    "SYSTEM_CA",
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


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """[agent]; `host_id` None means the primary IPv4 address, `admin_addr` None no TCP listener."""

    host_id: str | None
    data_dir: Path
    admin_addr: Address | None
    memory_limit_bytes: int
    shutdown_timeout_s: float
    state_sync: Literal["normal", "full"]
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
    delivery: Literal["exactly_once", "at_least_once"]
    intent_give_up_s: float
    dead_letter_full: Literal["block", "drop"]
    dead_letter_max_bytes: int


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """[files]; paths are absolute, but for bare names in `denied_paths` (see `PathRules`)."""

    start_at: Literal["beginning", "end"]
    rescan_s: float
    rotate_wait_s: float
    copy_wait_s: float
    hold_deleted_bytes: int
    hold_deleted_min_free: FreeSpace
    max_line_bytes: int
    oversize: Literal["cut", "split", "dead_letter"]
    allowed_paths: tuple[str, ...]
    denied_paths: tuple[str, ...]
    max_open: int
    poll: tuple[str, ...]
    forget_after_days: float


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
