# SPDX-License-Identifier: Apache-2.0
"""How a single value is written: text to value and back, and the words that say what is expected. Pure."""

import ipaddress
import os
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_UNITS = {"": 1, "kib": KIB, "mib": MIB, "gib": GIB}
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_COMMA = re.compile(r"(?<!\\),")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_PATH_LIMIT_BYTES = 4095  # PATH_MAX less the closing NUL


class Address(NamedTuple):
    """A host name or IP address (IPv6 without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of value a key takes.

    `read` turns text into the value or raises ValueError, whose text (if any) says what is wrong with it;
    `expected` says what any value must be; `show` writes a value as it may be written in the file.
    """

    expected: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str

    def refusal(self, error: ValueError) -> str:
        """The clause for a `Fault`."""
        return f"{error}; expected {self.expected}" if str(error) else f"expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the INI file. Parser, error texts, sample file and documentation page come from here.

    `section` is empty at the top of the file; `default` is the text that stands for an absent key (None: no
    value); `default_words` describes a default that depends on other things; `field` is the attribute of the
    settings object; `reloadable` keys take effect at HUP; `sample` is an active line of the shipped sample.
    """

    section: str
    name: str
    kind: Kind
    sentence: str
    default: str | None = None
    default_words: str = ""
    field: str = ""
    reloadable: bool = False
    required: bool = False
    sample: str | None = None

    @property
    def attribute(self) -> str:
        """Name in the settings object."""
        return self.field or self.name

    @property
    def dotted(self) -> str:
        """Name with its section."""
        return f"{self.section}.{self.name}" if self.section else self.name

    def read(self, text: str) -> Any:
        """The value of written text. An optional key with nothing after the `=` is as good as absent."""
        if not text and self.default is None and not self.required:
            return None
        return self.kind.read(text)

    def default_value(self) -> Any:
        """The value of an absent key."""
        return None if self.default is None else self.kind.read(self.default)

    def show(self, value: Any) -> str:
        """The value as it may be written in the file."""
        return "" if value is None and self.default is None else self.kind.show(value)


def split_list(text: str) -> list[str]:
    r"""Members of a comma list, without the white space round them; `\,` is a comma inside a member."""
    if not text.strip():
        return []
    parts = _COMMA.split(text) if "," in text else [text]
    members = [part.strip().replace("\\,", ",") for part in parts]
    if not all(members):
        raise ValueError("there is nothing between two commas or at one end of the list")
    return members


def join_list(members: tuple[object, ...]) -> str:
    """The inverse of `split_list`."""
    return ", ".join(str(member).replace(",", "\\,") for member in members)


def whole(low: int, high: int, unit: str = "") -> Kind:
    """An integer within the bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError
        return int(within(int(text), low, high))

    return Kind(f"a whole number{unit and f' of {unit}'} from {low} to {high}", read)


def decimal(low: float, high: float, unit: str) -> Kind:
    """A number within the bounds, fractions allowed."""

    def read(text: str) -> float:
        return within(plain_number(text), low, high)

    return Kind(f"a number of {unit} from {low:.15g} to {high:.15g}", read, "{:.15g}".format)


def plain_number(text: str) -> float:
    """A number in plain digits, such as 12 or 0.5. Neither exponents nor words such as nan, inf or true."""
    if not _PLAIN_NUMBER.fullmatch(text):
        raise ValueError
    return float(text)


def within(number: float, low: float, high: float) -> float:
    """The number, unless it is out of the bounds."""
    if not low <= number <= high:
        raise ValueError("out of range")
    return number


def size(low: int, high: int) -> Kind:
    """Bytes, with an optional suffix KiB, MiB or GiB."""

    def read(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})\s*([KMG]iB|)", text, re.IGNORECASE)
        if not match:
            raise ValueError
        return int(within(int(match[1]) * _UNITS[match[2].lower()], low, high))

    expected = f"a size from {show_size(low)} to {show_size(high)}, in bytes or with KiB, MiB or GiB"
    return Kind(expected, read, show_size)


def show_size(size_bytes: int) -> str:
    """Exact: `96MiB`, and plain bytes where no suffix fits."""
    for suffix, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{suffix}"
    return str(size_bytes)


def choice(*words: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return Kind(f"one of {', '.join(words)}", read)


def yes_or_no() -> Kind:
    """The words yes and no, as a bool."""

    def read(text: str) -> bool:
        if text not in ("yes", "no"):
            raise ValueError
        return text == "yes"

    return Kind("yes or no", read, lambda value: "yes" if value else "no")


def matching(pattern: str, expected: str) -> Kind:
    """Text that matches the whole regular expression."""
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError
        return text

    return Kind(expected, read)


def read_address(text: str, default_port: int | None, lowest_port: int = 1) -> Address:
    """`host`, `host:port`, `[IPv6]` or `[IPv6]:port`."""
    if "://" in text:
        raise ValueError(f"{text!r} has a scheme before the host")
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    if port is not None and ":" in port:
        raise ValueError(f"{text!r} has too many colons (an IPv6 address is written in square brackets)")
    valid = _is_ipv6(host) if bracketed else _is_host(host)
    if not valid:
        raise ValueError(
            f"{host!r} is not {'an IPv6 address' if bracketed else 'a host name or IPv4 address'}"
        )
    if port is None:
        if default_port is None:
            raise ValueError("the port is missing")
        return Address(host, default_port)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not lowest_port <= int(port) <= 65535:
        raise ValueError(f"{port!r} is not a port from {lowest_port} to 65535")
    return Address(host, int(port))


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    if not labels[-1].isdigit():
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def addresses(default_port: int, *, at_least: int) -> Kind:
    """A comma list; the same address twice counts once."""

    def read(text: str) -> tuple[Address, ...]:
        members = split_list(text)
        if len(members) < at_least:
            raise ValueError
        return tuple(dict.fromkeys(read_address(member, default_port) for member in members))

    expected = (
        f"host:port or [IPv6]:port, several with commas between them (port {default_port} may be left out)"
    )
    return Kind(expected, read, join_list)


def listen_address() -> Kind:
    """An address to listen on, port 0 for any free one; the word `off` is None."""

    def read(text: str) -> Address | None:
        return None if text == "off" else read_address(text, None, lowest_port=0)

    def show(address: Address | None) -> str:
        return "off" if address is None else str(address)

    return Kind("host:port or [IPv6]:port (port 0 takes a free one), or off", read, show)


def file_path() -> Kind:
    r"""One path, which may be relative to something; commas in it are written `\,`."""

    def read(text: str) -> str:
        members = split_list(text)
        if len(members) != 1:
            raise ValueError("there is a bare comma in it" if members else "")
        return check_path_text(members[0])

    return Kind("one path (a comma inside it is written \\,)", read, lambda path: join_list((path,)))


def directories(bare_names: bool) -> Kind:
    """Absolute directories; with `bare_names` also names such as .ssh, for any directory of that name."""

    def read(text: str) -> tuple[str, ...]:
        return tuple(directory(member) for member in split_list(text))

    def directory(member: str) -> str:
        check_path_text(member)
        if bare_names and "/" not in member and member not in (".", ".."):
            return member
        return absolute(member)

    names = ", or a bare name for directories of that name anywhere" if bare_names else ""
    return Kind(f"absolute directories with commas between them{names}", read, join_list)


def absolute(path: str) -> str:
    """The path without doubled slashes and `.`; relative ones and `..` are refused."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} does not start with /")
    if ".." in path.split("/"):
        raise ValueError(f"{path!r} contains ..")
    return "/" + posixpath.normpath(path).lstrip("/")


def check_path_text(path: str) -> str:
    """The path as it is, if the kernel could take it."""
    try:
        length_bytes = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise ValueError("it cannot be encoded as a file name") from None
    if "\0" in path or length_bytes > _PATH_LIMIT_BYTES:
        raise ValueError("no file can have this name")
    return path
