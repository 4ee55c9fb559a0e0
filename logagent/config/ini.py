# SPDX-License-Identifier: Apache-2.0
"""Finds and reads the INI file: `Settings`, or one ConfigError with all faults. Only user of ConfigObj."""

import ipaddress
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import configobj

from logagent.config import lines, services
from logagent.config.settings import (
    KEYS,
    SECTIONS,
    SERVICE_KEYS,
    SYSTEM_CA,
    Address,
    AgentSettings,
    EtcdSettings,
    FilesSettings,
    KafkaSettings,
    Key,
    Settings,
    default_data_dir,
)
from logagent.errors import ConfigError, Fault

SYSTEM_PATH = Path("/etc/logagent/logagent.ini")
_NEEDS = {
    "etcd": (
        ("user", "password_file"),
        ("password_file", "user"),
        ("cert", "key"),
        ("key", "cert"),
        ("cert", "ca"),
    )
}
"""Keys of a section that need another key of it."""

_LIMIT_BYTES = 4 * 1024 * 1024


def find(option: str | None, environ: Mapping[str, str]) -> Path:
    """The file of `-c`, else $LOGAGENT_CONFIG, else ./logagent.ini, else /etc/logagent/logagent.ini.

    The first two are taken as they are, the others if they exist. Raises ConfigError if none does.
    """
    named = option or environ.get("LOGAGENT_CONFIG")
    if named:
        return Path(named)
    for candidate in (Path("logagent.ini"), SYSTEM_PATH):
        if candidate.exists():
            return candidate
    expected = (
        "no such file, nor ./logagent.ini; expected one of them, -c FILE or $LOGAGENT_CONFIG"
        " (logagent init writes one)"
    )
    raise ConfigError((Fault(str(SYSTEM_PATH), "", "", "", expected),))


def load(path: Path, *, environ: Mapping[str, str] = os.environ, root: bool | None = None) -> Settings:
    """Read and check the whole file. Raises ConfigError with all faults, in the order of the file.

    `environ` and `root` (default: are we?) only decide where data_dir is if it is not written.
    """
    reading = _Reading(path, _decode(path, _read_bytes(path)))
    home = default_data_dir(environ, root=os.geteuid() == 0 if root is None else root)
    settings = reading.settings(home)
    if reading.faults:
        raise ConfigError(tuple(sorted(reading.faults, key=reading.line_of)))
    return settings


def _read_bytes(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a FIFO must be refused, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _unreadable(path, "no such file; expected an INI file") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be opened: {error.strerror}") from error
    except ValueError:
        raise _unreadable(path, "no file can have this name") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable(path, "this is a directory or a special file; expected an INI file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return content


def _decode(path: Path, content: bytes) -> str:
    if len(content) > _LIMIT_BYTES:
        raise _unreadable(path, f"expected an INI file of at most {_LIMIT_BYTES} bytes")
    nul = content.find(b"\0")
    if nul >= 0:
        line = content.count(b"\n", 0, nul) + 1
        raise _unreadable(f"{path}:{line}", "expected text in UTF-8; there is a NUL byte in this line")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unreadable(f"{path}:{line}", "expected text in UTF-8; this line is not") from error


def _unreadable(place: Path | str, expected: str) -> ConfigError:
    return ConfigError((Fault(str(place), "", "", "", expected),))


class _Reading:
    """One pass over one file; collects faults and origins."""

    def __init__(self, path: Path, text: str) -> None:
        self.faults: list[Fault] = []
        self._path = path
        self._base = Path(os.path.abspath(path)).parent
        self._origins: dict[str, str] = {}
        self._page = lines.prepare(text)
        self._headers = {section: number for number, section in reversed(self._page.headers.items())}
        for problem in self._page.problems:
            self._refuse(problem.line, problem.section, problem.key, problem.value, problem.expected)
        self._root = self._parse()

    def line_of(self, fault: Fault) -> int:
        """0 for faults of the file as a whole."""
        return int(fault.file[len(str(self._path)) + 1 :] or 0)

    def settings(self, default_dir: str | None) -> Settings:
        """What is written, with defaults for the rest; only right if there are no faults afterwards."""
        self._refuse_strangers()
        values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for key in KEYS:
            values[key.section][key.attribute] = self._value(key)
        top, agent = values[""], values["agent"]
        if agent["data_dir"] is None and default_dir is None:
            self._refuse(0, ("agent",), "data_dir", "", "expected a directory, as $HOME gives no default")
        agent["data_dir"] = self._absolute(agent["data_dir"] or default_dir or ".")
        top["log"] = self._absolute(top["log"]) if top["log"] else None
        etcd = values["etcd"]
        for name in ("password_file", "ca", "cert", "key"):
            if etcd[name] is not None and (name, etcd[name]) != ("ca", SYSTEM_CA):
                etcd[name] = self._absolute(etcd[name])
        self._refuse_lonely("etcd", etcd)
        if (agent["state_sync"], values["kafka"]["delivery"]) == ("full", "at_least_once"):
            number = self._number(("agent",), "state_sync") or 0
            expected = "expected normal beside [kafka] delivery = at_least_once, which notes no batches"
            self._refuse(number, ("agent",), "state_sync", "full", expected)
        settings = Settings(
            ini_path=self._path,
            agent=AgentSettings(**agent),
            etcd=EtcdSettings(**etcd),
            kafka=KafkaSettings(**values["kafka"]),
            files=FilesSettings(**values["files"]),
            entries=(),
            rates_lines_per_s={},
            origins=self._origins,
            warnings=(),
            **top,
        )
        written = self._services(settings.path_rules)
        settings = replace(settings, entries=written.entries, rates_lines_per_s=written.rates_lines_per_s)
        return replace(settings, warnings=tuple(_warnings(settings)))

    def _refuse_lonely(self, section: str, values: Mapping[str, Any]) -> None:
        """Keys that mean nothing without another one."""
        for name, needed in _NEEDS[section]:
            if values[name] is not None and values[needed] is None:
                number = self._number((section,), name) or 0
                self._refuse(number, (section,), name, str(values[name]), f"it needs {needed} beside it")

    def _parse(self) -> configobj.ConfigObj:
        skeleton = self._page.skeleton
        try:
            return configobj.ConfigObj(skeleton, interpolation=False, list_values=False, raise_errors=False)
        except configobj.ConfigObjError as failure:
            for error in failure.errors:
                self._refuse_structure(error)
            return failure.config

    def _refuse_structure(self, error: configobj.ConfigObjError) -> None:
        number = error.line_number or 0
        if number in self._page.assignments:
            section, key, value = self._page.assignments[number]
            self._refuse(
                number, section, key, value or "", "expected each key once; it is written above already"
            )
            return
        twice = isinstance(error, configobj.DuplicateError)
        expected = "each section once" if twice else "a section with one bracket less around it"
        self._refuse(number, self._page.headers.get(number, ()), "", "", f"expected {expected}")

    def _services(self, rules: services.PathRules) -> services.Validated:
        sections = self._subsections(("services",))
        raw: list[dict[str, object]] = []
        for section in sections:
            written = {key.name: self._written(section, key.name) for key in SERVICE_KEYS}
            member = {name: _raw(line) for name, line in written.items() if line}
            raw.append({"service": section[-1], **member})

        def where(index: int, key: str) -> str:
            section = sections[index]
            return self._place(self._number(section, key) or self._headers[section])

        validated = services.validate(raw, rules, source="ini", where=where)
        self.faults.extend(validated.faults)
        return validated

    def _value(self, key: Key) -> Any:
        """The value as read; the default stands in for a faulty one, so that the rest can be checked."""
        section = (key.section,) if key.section else ()
        line = self._written(section, key.name)
        if line is None and key.required:
            self._refuse(0, section, key.name, "", f"it is missing; expected {key.kind.expected}")
        if line is None or line.value is None:
            return key.default_value()
        try:
            return key.read(line.value)
        except ValueError as error:
            number = self._number(section, key.name) or 0
            self._refuse(number, section, key.name, line.value, key.kind.refusal(error))
            return key.default_value()

    def _refuse_strangers(self) -> None:
        """Unknown keys and sections, and sections where none belong."""
        self._refuse_unknown_keys((), [key.name for key in KEYS if not key.section])
        for section in self._subsections(()):
            name = section[0]
            if name not in SECTIONS:
                near = services.nearest(name, [known for known in SECTIONS if known])
                self._refuse(self._headers[section], section, "", "", f"unknown section; {near}")
                continue
            self._refuse_unknown_keys(section, [key.name for key in KEYS if key.section == name])
            for inner in self._subsections(section):
                if name == "services":
                    self._refuse_unknown_keys(inner, [key.name for key in SERVICE_KEYS])
                    self._refuse_sections(self._subsections(inner))
                else:
                    self._refuse_sections([inner])

    def _refuse_sections(self, sections: list[lines.Section]) -> None:
        for section in sections:
            self._refuse(self._headers[section], section, "", "", "expected no section here")

    def _refuse_unknown_keys(self, section: lines.Section, known: list[str]) -> None:
        for name in self._node(section).scalars:
            number = self._number(section, name)
            if number and name not in known:
                value = self._page.assignments[number].value or ""
                self._refuse(number, section, name, value, _unknown_key(name, known, section))

    def _node(self, section: lines.Section) -> configobj.Section:
        node: configobj.Section = self._root
        for name in section:
            inner = node.get(name)
            node = inner if isinstance(inner, configobj.Section) else configobj.ConfigObj()
        return node

    def _subsections(self, outer: lines.Section) -> list[lines.Section]:
        """Those that are in the file too: after a faulty section line ConfigObj mistakes the outer one."""
        return [(*outer, name) for name in self._node(outer).sections if (*outer, name) in self._headers]

    def _number(self, section: lines.Section, name: str) -> int | None:
        """The line of a key, unless it belongs to another section in the file (see `_subsections`)."""
        number = self._node(section).get(name)
        if isinstance(number, str) and self._page.assignments[int(number)].section == section:
            return int(number)
        return None

    def _written(self, section: lines.Section, name: str) -> lines.Assignment | None:
        number = self._number(section, name)
        if number is None:
            return None
        self._origins[".".join((*section, name))] = f"{self._path.name}:{number}"
        return self._page.assignments[number]

    def _absolute(self, path: str) -> Path:
        return Path(os.path.abspath(self._base / path))

    def _place(self, number: int) -> str:
        return f"{self._path}:{number}" if number else str(self._path)

    def _refuse(self, number: int, section: lines.Section, key: str, value: str, expected: str) -> None:
        label = services.shown(".".join(section))
        self.faults.append(Fault(self._place(number), label, key, services.shown(value), expected))


def _raw(line: lines.Assignment) -> object:
    return services.FAULTY if line.value is None else line.value


def _unknown_key(name: str, known: list[str], section: lines.Section) -> str:
    if section == ("services",):
        return "expected no keys here, only a section [[name]] for each service"
    homes = [key.section for key in KEYS if key.name == name]
    if homes:
        return (
            f"unknown key here; it belongs {f'into [{homes[0]}]' if homes[0] else 'above the first section'}"
        )
    return f"unknown key; {services.nearest(name, known)}"


def _warnings(settings: Settings) -> Iterable[str]:
    if (
        settings.etcd.user
        and settings.etcd.ca is None
        and not all(_is_loopback(one) for one in settings.etcd_addr)
    ):
        yield "[etcd] user is set and ca is not, so the password goes over the network in clear."
    if not settings.etcd_addr and not settings.entries:
        yield "There is no service in [services] and no etcd_addr, so there is nothing to read."


def _is_loopback(address: Address) -> bool:
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"
