# SPDX-License-Identifier: Apache-2.0
"""What `logagent init` proposes for the log files of a host, and the INI text that says it. Pure."""

import glob
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from logagent.config.reference import comment
from logagent.config.services import PathRules
from logagent.config.settings import ALL_KEYS, SECTIONS
from logagent.config.values import GIB, KIB, MIB, Address, Key, join_list
from logagent.ops.shown import shown

SYSTEM = "system"
"""The service of what lies directly in the directory that was looked at, as syslog does."""

_PLAIN_NAMES: Final = frozenset({"syslog", "messages", "secure", "maillog", "cron"})
_SUFFIXES: Final = (".log", "_log")
_MORE_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {"mysql": (".err",), "mariadb": (".err",)}
_KNOWN: Final[Mapping[str, str]] = {
    SYSTEM: "The host itself: syslog, messages, authentication, packages.",
    "nginx": "Web server: requests and errors.",
    "apache2": "Web server: requests and errors.",
    "httpd": "Web server: requests and errors.",
    "postgresql": "Database.",
    "mysql": "Database.",
    "mariadb": "Database.",
    "redis": "Key-value store.",
}
_BUSY: Final = frozenset({"nginx", "apache2", "httpd"})
_OWN_DIRECTORY: Final = "logagent"
# app-20260131.log, app.2026-01-31.log and app.1.log are old if app.log lies beside them.
_ROTATED = re.compile(r"(.+?)(?:[-_.](?:\d{8}|\d{4}-\d{2}-\d{2})(?:[-_.T]?\d+)*|\.\d{1,3})")
_MOST_PATTERNS = 8
_MOST_NOTES = 100

_HEAD = """\
# Proposed by `logagent init` from the log files of this host. Look it over, then:
#   logagent check -c FILE    prints what is in force, or every fault
#   logagent run -c FILE      ships the files
# A # after white space starts a comment. All keys and their meaning: logagent.ini.sample.
"""

_EXAMPLE = """\
# Nothing was found that can be read. An example; take the # away and name your own files:
# [[app]]
# log_path = /var/log/app/*.log
# topic = app_log
# send_rate = 1000
"""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file (or, with a refusal, a directory) that was found.

    `refusal` says why it is not to be read, `advice` what the operator can do about that.
    """

    path: bytes
    size_bytes: int = 0
    refusal: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A proposed service: paths and globs as log_path takes them, and what they match now."""

    name: str
    log_paths: tuple[str, ...]
    topic: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to ship, and what was found but left out, with reasons."""

    services: tuple[Service, ...]
    left_out: tuple[LogFile, ...]


def is_log_name(path: bytes, root: bytes) -> bool:
    """Whether a file is called like a live log; compressed, rotated and binary ones have other names."""
    parts = path.removeprefix(root.rstrip(b"/") + b"/").split(b"/")
    name = parts[-1].decode("utf-8", "surrogateescape")
    if name.startswith("."):
        return False
    if len(parts) == 1 and name in _PLAIN_NAMES:
        return True
    return name.endswith(_suffixes(parts[0].decode("utf-8", "surrogateescape")))


def propose(files: Sequence[LogFile], root: bytes, rules: PathRules) -> Proposal:
    """One service for each directory in `root` and one for what lies directly in it."""
    judged = _judge(files, root, rules)
    groups: dict[str, list[LogFile]] = defaultdict(list)
    for file in judged:
        groups[_group(file.path, root)].append(file)
    services: list[Service] = []
    for group, members in sorted(groups.items()):
        good = [file for file in members if not file.refusal]
        if good:
            name = _unique(_safe(group) if group else SYSTEM, {service.name for service in services})
            patterns = tuple(_patterns(members, group, root.decode("utf-8", "surrogateescape")))
            size_bytes = sum(file.size_bytes for file in good)
            services.append(Service(name, patterns, f"{name}_log", len(good), size_bytes))
    return Proposal(tuple(services), tuple(file for file in judged if file.refusal))


def render(proposal: Proposal, kafka_addr: tuple[Address, ...]) -> str:
    """The text of the INI file."""
    parts = [_HEAD, f"{comment(_key('kafka_addr'))}\nkafka_addr = {join_list(kafka_addr)}\n"]
    for section, key in (("agent", "agent.data_dir"), ("files", "files.start_at")):
        parts.append(f"[{section}]\n# {SECTIONS[section]}\n\n{comment(_key(key))}\n{_inactive(_key(key))}\n")
    rate = comment(_key("services.send_rate"))
    parts.append(f"[services]\n# {SECTIONS['services']}\n\n# send_rate: {rate.removeprefix('# ')}\n")
    parts.extend(_render_service(service) for service in proposal.services)
    if not proposal.services:
        parts.append(_EXAMPLE)
    if proposal.left_out:
        parts.append("\n".join(_render_left_out(proposal.left_out)) + "\n")
    return "\n".join(parts)


def size_text(size_bytes: int) -> str:
    """A size for people."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} bytes"


def _judge(files: Sequence[LogFile], root: bytes, rules: PathRules) -> list[LogFile]:
    """The same files in order, each with its refusal."""
    paths = {file.path for file in files}
    return [
        file if file.refusal else LogFile(file.path, file.size_bytes, _refusal(file.path, paths, root, rules))
        for file in sorted(files, key=lambda file: file.path)
    ]


def _refusal(path: bytes, paths: set[bytes], root: bytes, rules: PathRules) -> str:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8, so the INI cannot name it"
    if not text.isprintable() or "'" in text or '"' in text:
        return "its name has control characters or quotes, so the INI cannot name it"
    if _group(path, root) == _OWN_DIRECTORY:
        return "it is the agent's own log by its place"
    denied = rules.refusal(text)
    if denied:
        return denied
    if not is_log_name(path, root):
        return "its name is not that of a live log"
    stem, suffix = posixpath.splitext(text)
    match = _ROTATED.fullmatch(stem)
    if match and (match[1] + suffix).encode() in paths:
        return f"it is a rotated {posixpath.basename(match[1] + suffix)}"
    return ""


def _group(path: bytes, root: bytes) -> str:
    """The directory in `root` that the file is in, empty for `root` itself."""
    first, slash, _ = path.removeprefix(root.rstrip(b"/") + b"/").partition(b"/")
    return first.decode("utf-8", "surrogateescape") if slash else ""


def _suffixes(group: str) -> tuple[str, ...]:
    return (*_SUFFIXES, *_MORE_SUFFIXES.get(group, ()))


def _patterns(members: Sequence[LogFile], group: str, root: str) -> list[str]:
    """Paths and globs that match every good member and no other."""
    directories: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for file in members:
        directory, name = posixpath.split(file.path.decode("utf-8", "surrogateescape"))
        directories[directory].append((name, not file.refusal))
    patterns = [
        pattern
        for directory, names in directories.items()
        for pattern in _directory_patterns(directory, names, _suffixes(group))
    ]
    # Many directories below one, as containers have them: one glob, if it brings in nothing else.
    if len(patterns) > _MOST_PATTERNS and all(
        not file.refusal and file.path.endswith(b".log") for file in members
    ):
        return [posixpath.join(glob.escape(posixpath.join(root, group)), "**/*.log")]
    return patterns


def _directory_patterns(
    directory: str, names: Sequence[tuple[str, bool]], suffixes: Sequence[str]
) -> Iterator[str]:
    """A glob for each kind of name, or the files themselves if the glob would match one that is left out."""
    place = glob.escape(directory)
    rest = [name for name, good in names if good]
    for suffix in suffixes:
        alike = [(name, good) for name, good in names if name.endswith(suffix)]
        if any(good for _, good in alike) and all(good for _, good in alike):
            rest = [name for name in rest if not name.endswith(suffix)]
            yield posixpath.join(place, f"*{suffix}")
    yield from (posixpath.join(place, glob.escape(name)) for name in rest)


def _safe(name: str) -> str:
    """A name that suits a service and, with _log behind it, a topic."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:200] or "logs"


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    return unique


def _key(dotted: str) -> Key:
    return next(key for key in ALL_KEYS if key.dotted == dotted)


def _inactive(key: Key) -> str:
    return f"# {key.name} = {key.default or ''}".rstrip()


def _render_service(service: Service) -> str:
    known = f"{_KNOWN[service.name]} " if service.name in _KNOWN else ""
    paths = join_list(service.log_paths)
    quoted = f'"{paths}"' if "#" in paths else paths
    return (
        f"[[{service.name}]]\n"
        f"# {known}{count(service.files, 'file')}, {size_text(service.size_bytes)} when this was written.\n"
        f"log_path = {quoted}\n"
        f"topic = {service.topic}\n"
        f"# send_rate = {5000 if service.name in _BUSY else 1000}\n"
    )


def _render_left_out(files: Sequence[LogFile]) -> Iterator[str]:
    yield "# Found, but left out above:"
    for file in files[:_MOST_NOTES]:
        yield f"#   {shown(file.path)}: {shown(file.refusal)}" + (f"; {file.advice}" if file.advice else "")
    if len(files) > _MOST_NOTES:
        yield f"#   and {len(files) - _MOST_NOTES} more"


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
