# SPDX-License-Identifier: Apache-2.0
"""A path or glob becomes paths that exist, and the directories in which a change would matter. Works on bytes."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

SETTLED_S = 2
"""Time stamps are coarse: a directory that was changed just before it was listed may change again under the same."""

MAX_DEPTH = 16
"""How deep `**` goes."""

_MAGIC = re.compile(rb"[*?\[]")
_TOKEN = re.compile(rb"\[[!^]?(?:\][^\]]*|[^\]]+)\]|.", re.DOTALL)
"""A set like [a-z], [!0-9] or []x], or a single byte."""


@dataclass(frozen=True)
class Pattern:
    """An absolute path or glob. `*`, `?` and `[…]` match within a name, `**` any number of directories.

    What `excludes` name (globs like that, or of bare names for whatever has such a name below `base`) it does not.
    """

    path: bytes
    excludes: tuple[bytes, ...] = ()

    @cached_property
    def parts(self) -> tuple[bytes, ...]:
        """The names of the path."""
        return tuple(part for part in self.path.split(b"/") if part)

    @cached_property
    def base(self) -> bytes:
        """The directory down to which the path has no wildcard."""
        fixed: list[bytes] = []
        for part in self.parts[:-1]:
            if _MAGIC.search(part):
                break
            fixed.append(part)
        return b"/" + b"/".join(fixed)

    @cached_property
    def literal(self) -> bool:
        """Whether it names just one path."""
        return not any(_MAGIC.search(part) for part in self.parts)

    @cached_property
    def _regex(self) -> re.Pattern[bytes]:
        return re.compile(_path_regex(self.parts, hidden=False) + rb"\Z", re.DOTALL)

    @cached_property
    def _excluded(self) -> re.Pattern[bytes] | None:
        """What is excluded, and everything below it."""
        if not self.excludes:
            return None
        base = re.escape(b"" if self.base == b"/" else self.base)
        choices = []
        for exclude in self.excludes:
            if b"/" in exclude:
                parts = tuple(part for part in exclude.split(b"/") if part)
                choices.append(_path_regex(parts, hidden=True))
            else:
                choices.append(base + rb"(?:/[^/]+)*/" + _name_regex(exclude).pattern)
        return re.compile(b"(?:" + b"|".join(choices) + rb")(?:/.*)?\Z", re.DOTALL)

    def excludes_path(self, path: bytes) -> bool:
        """Whether the path, or a directory above it, is excluded."""
        return self._excluded is not None and self._excluded.match(path) is not None

    def matches(self, path: bytes) -> bool:
        """Whether the path is one that this pattern names."""
        named = self._regex.match(path) is not None or path == self.path
        return named and not self.excludes_path(path)


@dataclass(slots=True)
class Found:
    """What a scan saw: matching paths (files of any kind), the directories looked into, and those that could not be."""

    paths: list[bytes]
    directories: set[bytes]
    unreadable: dict[bytes, str]
    pattern: Pattern
    stamps: dict[bytes, int] = field(default_factory=dict)
    """When each directory looked into was changed last, as of before that."""

    links: bool = False
    """There are links among what was found: what they lead to may change without a trace in a directory."""

    def settled(self) -> bool:
        """Whether a directory that has changed since can be told by its time stamp."""
        old_ns = time.time_ns() - SETTLED_S * 1_000_000_000
        return not (self.links or self.unreadable) and all(stamp < old_ns for stamp in self.stamps.values())


def scan(pattern: Pattern) -> Found:
    """Look for everything that the pattern names. Never raises for what lies on the disk."""
    found = Found([], set(), {}, pattern)
    depth = len([part for part in pattern.base.split(b"/") if part])
    if not pattern.excludes_path(pattern.base):
        _walk(pattern.base, pattern.parts[depth:], found, MAX_DEPTH)
    if os.path.lexists(pattern.path) and not pattern.excludes_path(pattern.path):
        found.paths.append(pattern.path)  # its name has characters that also make globs
        found.directories.add(os.path.dirname(pattern.path))
    found.paths = sorted(set(found.paths))
    return found


def nearest_directory(path: bytes) -> bytes:
    """The deepest directory above `path` (or itself) that exists: where its appearance will show first."""
    while path != b"/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _walk(directory: bytes, parts: tuple[bytes, ...], found: Found, depth: int) -> None:
    found.directories.add(directory)
    found.stamps[directory] = stamp(directory)
    head, rest = parts[0], parts[1:]
    if head == b"**":
        _walk_any_depth(directory, parts, found, depth)
    elif _MAGIC.search(head):
        name = _name_regex(head)
        for entry in _entries(directory, found):
            hidden = entry.name.startswith(b".") and not head.startswith(b".")
            if not hidden and name.fullmatch(entry.name):
                _take(entry.path, rest, found, depth, link=entry.is_symlink())
    elif not found.pattern.excludes_path(os.path.join(directory, head)) and _exists(directory, head, found):
        _take(os.path.join(directory, head), rest, found, depth, link=True)


def stamp(directory: bytes) -> int:
    """When an entry of the directory came or went, or its mode changed, last; in ns. 0 when it cannot be seen."""
    try:
        return os.stat(directory).st_ctime_ns
    except OSError:
        return 0


def _exists(directory: bytes, name: bytes, found: Found) -> bool:
    try:
        os.lstat(os.path.join(directory, name))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        found.unreadable[directory] = str(error.strerror)
        return False
    return True


def _walk_any_depth(directory: bytes, parts: tuple[bytes, ...], found: Found, depth: int) -> None:
    rest = parts[1:]
    if rest:
        _walk(directory, rest, found, depth)
    if depth == 0:
        return
    for entry in _entries(directory, found):
        # Links are not followed: one to a parent would be walked for ever.
        if entry.is_dir(follow_symlinks=False):
            _walk(entry.path, parts, found, depth - 1)
        elif not rest:
            _take(entry.path, rest, found, depth, link=entry.is_symlink())


def _take(path: bytes, rest: tuple[bytes, ...], found: Found, depth: int, *, link: bool) -> None:
    if not rest:
        found.paths.append(path)
        found.links = found.links or link
    elif os.path.isdir(path):
        _walk(path, rest, found, depth)


def _entries(directory: bytes, found: Found) -> Iterator["os.DirEntry[bytes]"]:
    try:
        with os.scandir(directory) as entries:
            if found.pattern.excludes:
                # Before anybody looks into them.
                yield from (entry for entry in entries if not found.pattern.excludes_path(entry.path))
            else:
                yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        found.unreadable[directory] = str(error.strerror)


def _path_regex(parts: tuple[bytes, ...], *, hidden: bool) -> bytes:
    """`hidden`: wildcards match names with a dot in front, too."""
    pieces = []
    for number, part in enumerate(parts, 1):
        if part == b"**":
            pieces.append(rb"(?:/[^/]+)" + (b"+" if number == len(parts) else b"*"))
        elif _MAGIC.search(part):
            dotted = hidden or part.startswith(b".")
            pieces.append((b"/" if dotted else rb"/(?!\.)") + _name_regex(part).pattern)
        else:
            pieces.append(b"/" + re.escape(part))
    return b"".join(pieces)


def _name_regex(part: bytes) -> re.Pattern[bytes]:
    """One name with wildcards. Nothing in it matches a slash: the regex of a whole path is put together from these."""
    try:
        return re.compile(b"".join(_translated(token) for token in _TOKEN.findall(part)), re.DOTALL)
    except re.error:
        return re.compile(re.escape(part))  # a set that makes no sense, like [z-a], stands for itself


def _translated(token: bytes) -> bytes:
    if token == b"*":
        return b"[^/]*"
    if token == b"?":
        return b"[^/]"
    if len(token) > 1 and token.startswith(b"["):
        inverted = token[1:2] in (b"!", b"^")
        members = token[1 + inverted : -1].replace(b"\\", rb"\\").replace(b"[", rb"\[").replace(b"]", rb"\]")
        return b"(?!/)[" + (b"^" if inverted else b"") + members.replace(b"^", rb"\^") + b"]"
    return re.escape(token)
