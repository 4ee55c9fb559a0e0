# SPDX-License-Identifier: Apache-2.0
"""What a service is and which are refused: one validator for every place that services come from. Pure."""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from logagent.config import values
from logagent.config.values import Key, Kind
from logagent.errors import Fault

UNLIMITED = "unlimited"
FAULTY: Final = object()
"""Stands for a value whose fault has been reported already."""

Where = Callable[[int, str], str]
"""(index of the raw entry, key) to the file, with line if known, that a fault names."""

_GLOB_CHARACTERS = frozenset("*?[")
_RATE_LOW, _RATE_HIGH = 0.001, 1_000_000_000.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or glob of a service, and where its lines go.

    `send_rate_lines_per_s` None is unlimited and holds for the whole service; `start_at` None is that of
    [files].
    """

    service: str
    log_path: str
    topic: str
    send_rate_lines_per_s: float | None = None
    format: Literal["raw", "json"] = "raw"
    headers: Literal["none", "origin"] = "none"
    key: Literal["none", "service", "path"] = "none"
    start_at: Literal["beginning", "end"] | None = None
    source: str = "ini"

    @property
    def id(self) -> tuple[str, str]:
        """The key by which entries are merged, compared and remembered."""
        return self.service, self.log_path


@dataclass(frozen=True, slots=True)
class PathRules:
    """Which paths may be read. Denied beats allowed; nothing allowed means everything is.

    A denied word without a slash denies directories of that name anywhere. `data_dir` and `own_log` keep the
    agent from reading itself.
    """

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    own_log: str | None
    data_dir: str

    def refusal(self, path: str) -> str | None:
        """Why the file of this absolute path may not be read, or None."""
        denied = self._denied(path, path)
        if denied or self._own(path):
            return denied or self._own(path)
        if self.allowed and not any(_is_under(path, base) for base in self.allowed):
            return "it is outside allowed_paths"
        return None

    def refusal_as_written(self, log_path: str) -> str | None:
        """As `refusal`, also for a glob, of which only what stands before the first wildcard is judged."""
        if not is_glob(log_path):
            return self.refusal(log_path)
        prefix = static_prefix(log_path)
        denied = self._denied(prefix, log_path)
        if denied:
            return denied
        if _is_under(prefix, self.data_dir):
            return "it is in the agent's data_dir"
        if self.allowed and not any(
            _is_under(prefix, base) or _is_under(base, prefix) for base in self.allowed
        ):
            return "it is outside allowed_paths"
        return None

    def _denied(self, path: str, whole_path: str) -> str | None:
        names = whole_path.split("/")
        for rule in self.denied:
            if rule in names if "/" not in rule else path.startswith(rule) and _is_under(path, rule):
                return f"{rule} is in denied_paths"
        return None

    def _own(self, path: str) -> str | None:
        if _is_under(path, self.data_dir):
            return "it is in the agent's data_dir"
        # The rotated ones too (agent.log.1, agent.log-20260101): they would feed the agent its own words.
        if self.own_log and (
            path == self.own_log or path.startswith((f"{self.own_log}.", f"{self.own_log}-"))
        ):
            return "it is the agent's own log"
        return None


def is_glob(log_path: str) -> bool:
    """Whether there is a wildcard in it."""
    return not _GLOB_CHARACTERS.isdisjoint(log_path)


def static_prefix(log_path: str) -> str:
    """The directory up to the first name with a wildcard; of a plain path the path itself."""
    names = log_path.split("/")
    plain = next((at for at, name in enumerate(names) if is_glob(name)), len(names))
    return "/".join(names[:plain]) or "/"


def _is_under(path: str, base: str) -> bool:
    return base in ("/", path) or path.startswith(base + "/")


def _read_log_paths(text: str) -> tuple[str, ...]:
    members = values.split_list(text)
    if not members:
        raise ValueError
    for member in members:
        values.check_path_text(member)
        if member.endswith("/"):
            raise ValueError(f"{member!r} is a directory")
    return tuple(values.absolute(member) for member in members)


def _read_rate(text: str) -> float | None:
    """Lines per second; None is unlimited."""
    if text == UNLIMITED:
        return None
    return values.within(values.plain_number(text), _RATE_LOW, _RATE_HIGH)


def _show_rate(rate: float | None) -> str:
    return UNLIMITED if rate is None else f"{rate:.15g}"


_LOG_PATHS = Kind(
    "an absolute file path or glob, several with commas between them (a comma inside a path is written \\,)",
    _read_log_paths,
    values.join_list,
)
_TOPIC = values.matching(
    r"(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,249}", "a topic of 1 to 249 letters, digits, dots, _ or -"
)
_RATE = Kind(f"lines per second from {_RATE_LOW} to {_RATE_HIGH:.0f}, or {UNLIMITED}", _read_rate, _show_rate)

SERVICE_KEYS: Final[tuple[Key, ...]] = (
    Key(
        "services",
        "log_path",
        _LOG_PATHS,
        "Files to ship; a file that appears later is taken from its first byte.",
        required=True,
        reloadable=True,
        sample="/var/log/nginx/access.log, /var/log/nginx/error.log",
    ),
    Key(
        "services",
        "topic",
        _TOPIC,
        "Kafka topic that gets the lines.",
        required=True,
        reloadable=True,
        sample="nginx_log",
    ),
    Key(
        "services",
        "send_rate",
        _RATE,
        "Limit of the whole service, shared by all its files.",
        default=UNLIMITED,
        reloadable=True,
        field="send_rate_lines_per_s",
    ),
    Key(
        "services",
        "format",
        values.choice("raw", "json"),
        "Record value: the bytes of the line, or a JSON object.",
        default="raw",
        reloadable=True,
    ),
    Key(
        "services",
        "headers",
        values.choice("none", "origin"),
        "Record headers: none, or host, service, path, offset.",
        default="none",
        reloadable=True,
    ),
    Key(
        "services",
        "key",
        values.choice("none", "service", "path"),
        "Record key.",
        default="none",
        reloadable=True,
    ),
    Key(
        "services",
        "start_at",
        values.choice("beginning", "end"),
        "Where to start in files that are there when the service is first seen.",
        default_words="start_at of [files]",
        reloadable=True,
    ),
)

_DEFAULTS: Final = {key.attribute: key.default_value() for key in SERVICE_KEYS if not key.required}


@dataclass(frozen=True, slots=True)
class Validated:
    """`members` has the entries of each raw entry in turn, none for a refused one.

    `rates_lines_per_s` are those that good entries write, by service.
    """

    members: tuple[tuple[Entry, ...], ...]
    faults: tuple[Fault, ...]
    rates_lines_per_s: Mapping[str, float | None]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, in the order in which they are written."""
        return tuple(entry for member in self.members for entry in member)


@dataclass(slots=True)
class _Draft:
    """One raw entry while it is read."""

    index: int
    service: str
    values: dict[str, Any] = field(default_factory=dict)
    good: bool = True


class _Validation:
    def __init__(self, rules: PathRules, source: str, where: Where) -> None:
        self.faults: list[Fault] = []
        self._rules = rules
        self._source = source
        self._where = where
        self.rates: dict[str, float | None] = {}
        self._paths: set[tuple[str, str]] = set()

    def draft(self, index: int, raw: Mapping[str, object]) -> _Draft:
        name = raw.get("service", "")
        draft = _Draft(index, name if isinstance(name, str) else "")
        refusal = service_name_refusal(name)
        if name is FAULTY:
            draft.good = False
        elif refusal:
            self._refuse(draft, "service", name, refusal)
        for key in SERVICE_KEYS:
            if key.name in raw:
                self._read(draft, key, raw[key.name])
            elif key.required:
                self._refuse(draft, key.name, "", f"{key.name} is missing; expected {key.kind.expected}")
        self._check_paths(draft)
        self._check_rate(draft)
        return draft

    def entries(self, draft: _Draft) -> list[Entry]:
        fields = {**_DEFAULTS, **draft.values, "service": draft.service, "source": self._source}
        fields["send_rate_lines_per_s"] = self.rates.get(draft.service)
        return [Entry(**{**fields, "log_path": path}) for path in draft.values["log_path"]]

    def _read(self, draft: _Draft, key: Key, value: object) -> None:
        if value is FAULTY:
            draft.good = False
            return
        try:
            draft.values[key.attribute] = key.read(_as_text(value, number=key.kind is _RATE))
        except ValueError as error:
            self._refuse(draft, key.name, value, key.kind.refusal(error))

    def _check_paths(self, draft: _Draft) -> None:
        for path in draft.values.get("log_path") or ():
            refusal = self._rules.refusal_as_written(path)
            if refusal:
                self._refuse(draft, "log_path", path, f"this path may not be read: {refusal}")
            elif (draft.service, path) in self._paths:
                self._refuse(draft, "log_path", path, "expected each path once in a service")
            self._paths.add((draft.service, path))

    def _check_rate(self, draft: _Draft) -> None:
        rate_key = "send_rate_lines_per_s"
        if rate_key not in draft.values:
            return
        rate = draft.values[rate_key]
        if draft.good:
            self.rates.setdefault(draft.service, rate)
        known = self.rates.get(draft.service, rate)
        if known != rate:
            expected = f"expected one rate for the whole service, which has {_show_rate(known)} already"
            self._refuse(draft, "send_rate", _show_rate(rate), expected)

    def _refuse(self, draft: _Draft, key: str, value: object, expected: str) -> None:
        draft.good = False
        section = f"services.{shown(draft.service)}" if draft.service else "services"
        self.faults.append(Fault(self._where(draft.index, key), section, key, shown(value), expected))


def validate(
    raw: Sequence[Mapping[str, object]], rules: PathRules, *, source: str, where: Where
) -> Validated:
    """Entries of all good members of `raw`, and every fault of the others.

    A member has the key `service` and those of `SERVICE_KEYS`; values are text, the rate may be a number.
    Other keys are not looked at. A comma list of paths becomes several entries.
    """
    validation = _Validation(rules, source, where)
    drafts = [validation.draft(index, member) for index, member in enumerate(raw)]
    # After all drafts: a missing rate is that of any other entry of the service, also of a later one.
    members = tuple(tuple(validation.entries(draft)) if draft.good else () for draft in drafts)
    return Validated(members, tuple(validation.faults), validation.rates)


def read_log_paths(value: object) -> tuple[str, ...]:
    """The paths that a written `log_path` stands for. Raises ValueError if they cannot be told."""
    paths: tuple[str, ...] = _LOG_PATHS.read(_as_text(value, number=False))
    return paths


def service_name_refusal(name: object) -> str | None:
    """Why this cannot be the name of a service, or None."""
    fits = isinstance(name, str) and 0 < len(name) <= 249 and name == name.strip() and name.isprintable()
    if fits and "/" not in str(name):
        return None
    return "expected a service name of 1 to 249 printable characters without a slash"


def _as_text(value: object, *, number: bool) -> str:
    """Numbers become the text that an INI would have, so that both meet the same grammar."""
    if isinstance(value, str):
        return value
    if number and isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(float(value)) if abs(value) <= _RATE_HIGH else "too large"
    raise ValueError


def shown(value: object) -> str:
    """A value as faults show it: one line, not long; what is not text as JSON writes it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)[:200]
    printable = text[:200]
    if not printable.isprintable():
        printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in printable)
    return printable if len(text) <= 120 else printable[:117] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Which known name may have been meant, as a clause."""
    names = list(known)
    near = difflib.get_close_matches(name[:100].lower(), names, n=1)
    return f"did you mean {near[0]}?" if near else f"known here are {', '.join(names)}"
