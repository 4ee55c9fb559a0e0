# SPDX-License-Identifier: Apache-2.0
"""A path or glob becomes paths that exist, and the directories in which a change would matter. Works on bytes."""

import heapq
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

from logagent.clock import wall
from logagent.config.services import Entry
from logagent.sources.globs import MAX_DEPTH, Place, Route, is_magic, name_pattern, parts_of
from logagent.sources.settled import Stamp, stamp_of

MAX_DIRECTORIES = 10_000
"""So many directories are looked into for one pattern. Each of them costs a watch, and its names a look per sweep."""

MAX_PATHS = 100_000
"""So many paths are taken for one pattern."""

SORTED_AT_ONCE = 2000


@dataclass(frozen=True)
class Pattern:
    """An absolute path or glob. `*`, `?` and `[…]` match within a name, `**` up to `MAX_DEPTH` directories.

    What `excludes` name (globs like that, or of bare names for whatever has such a name below `base`) it does not;
    there, `**` goes as deep as it likes.
    """

    path: bytes
    excludes: tuple[bytes, ...] = ()

    @staticmethod
    def of(entry: Entry) -> "Pattern":
        """What an entry names."""
        return Pattern(os.fsencode(entry.log_path), tuple(map(os.fsencode, entry.exclude)))

    @cached_property
    def parts(self) -> tuple[bytes, ...]:
        """The names of the path."""
        return parts_of(self.path)

    @cached_property
    def base(self) -> bytes:
        """The directory down to which the path has no wildcard."""
        return b"/" + b"/".join(self.parts[: self.base_depth])

    @cached_property
    def base_depth(self) -> int:
        """How many names `base` has."""
        magic = (number for number, part in enumerate(self.parts[:-1]) if is_magic(part))
        return next(magic, max(0, len(self.parts) - 1))

    @cached_property
    def literal(self) -> bool:
        """Whether it names just one path."""
        return not any(map(is_magic, self.parts))

    @cached_property
    def route(self) -> Route:
        """How one gets from name to name."""
        return Route(self.parts, deepest=MAX_DEPTH)

    @cached_property
    def _one_path(self) -> bytes | None:
        return b"/" + b"/".join(self.parts) if self.literal else None

    @cached_property
    def _excluded_names(self) -> re.Pattern[bytes] | None:
        names = [name_pattern(exclude).pattern for exclude in self.excludes if b"/" not in exclude]
        return re.compile(b"|".join(names), re.DOTALL) if names else None

    @cached_property
    def _excluded_routes(self) -> tuple[Route, ...]:
        return tuple(Route(parts_of(exclude), hidden=True) for exclude in self.excludes if b"/" in exclude)

    def excludes_path(self, path: bytes) -> bool:
        """Whether the path, or a directory above it, is excluded."""
        if not self.excludes:
            return False
        names = _names(path)
        bare, depth = self._excluded_names, self.base_depth
        if (
            bare is not None
            and names[:depth] == list(self.parts[:depth])
            and any(map(bare.match, names[depth:]))
        ):
            return True
        return any(route.names(names, below=True) for route in self._excluded_routes)

    def matches(self, path: bytes) -> bool:
        """Whether the path is one that this pattern names."""
        if self._one_path is not None:
            named = path == self._one_path
        else:
            named = path.startswith(self.base) and self.route.names(_names(path), below=False)
        return (named or path == self.path) and not self.excludes_path(path)


@dataclass(slots=True)
class Found:
    """What a scan saw: matching paths (files of any kind) in order, the directories looked into, those that could not
    be, and whether there is more than is looked at (`limit`: a sentence, or empty).
    """

    pattern: Pattern
    paths: list[bytes] = field(default_factory=list)
    named: set[bytes] = field(default_factory=set)
    """As `paths`, to ask for."""

    directories: set[bytes] = field(default_factory=set)
    unreadable: dict[bytes, str] = field(default_factory=dict)
    limit: str = ""
    stamps: dict[bytes, Stamp | None] = field(default_factory=dict)
    """Of each directory, as of before it was looked into."""

    unsure: bool = False
    """What was found may change without a trace in a stamp: there are links, or directories changed just now."""

    @property
    def settled(self) -> bool:
        """Whether the same would be found as long as the stamps stay as they are."""
        return not (self.unsure or self.unreadable or self.limit)

    def stamp(self, directory: bytes) -> None:
        """It is about to be looked into."""
        self.stamps[directory] = stamp = stamp_of(directory)
        self.unsure |= stamp is not None and not stamp.is_older(wall())

    def take(self, path: bytes) -> None:
        """The pattern names this path."""
        if len(self.named) >= MAX_PATHS:
            self.limit = f"it names more than {MAX_PATHS:,} files; the others are not read"
        else:
            self.named.add(path)


def scan(pattern: Pattern) -> Found:
    """Look for everything that the pattern names, at one go. Never raises for what lies on the disk."""
    steps = search(pattern)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def search(pattern: Pattern) -> Generator[None, None, Found]:
    """As `scan`, in steps of a few system calls and at most a name each; it may be given up after any of them.

    Every directory is looked into once, however many ways through the pattern lead there; those further up first.
    """
    found = Found(pattern)
    waiting = deque([(pattern.base, pattern.base_depth, pattern.route.place([pattern.base_depth]))])
    if pattern.excludes_path(pattern.base) or not pattern.parts:
        waiting.clear()
    while waiting:
        directory, level, here = waiting.popleft()
        found.directories.add(directory)
        found.stamp(directory)
        yield
        below: dict[bytes, set[int]] = {}
        yield from _look_into(directory, level, here, found, below)
        for path, numbers in below.items():
            if len(found.directories) + len(waiting) >= MAX_DIRECTORIES:
                found.limit = (
                    f"it leads into more than {MAX_DIRECTORIES:,} directories; the others are not looked into"
                )
                break
            waiting.append((path, level + 1, pattern.route.place(numbers)))
    if not pattern.literal:
        _look_for_the_name_itself(found)
    yield from _put_in_order(found)
    return found


def nearest_directory(path: bytes) -> bytes:
    """The deepest directory above `path` (or itself) that exists: where its appearance will show first."""
    while path != b"/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _look_into(
    directory: bytes, level: int, here: Place, found: Found, below: dict[bytes, set[int]]
) -> Iterator[None]:
    """Take what is named in one directory, and put where to go on into `below`."""
    route = found.pattern.route
    try:
        for number in route.literals(here):
            path = os.path.join(directory, route.parts[number])
            mode = 0 if found.pattern.excludes_path(path) else _mode(path)
            if mode:
                found.unsure |= stat.S_ISLNK(mode)
                _go_on(path, partial(os.path.isdir, path), [number + 1], found, below)
            yield
        if route.wild(here):
            with os.scandir(directory) as entries:
                for entry in entries:
                    _look_at(entry, level, here, found, below)
                    yield
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        found.unreadable[directory] = str(error.strerror)


def _look_for_the_name_itself(found: Found) -> None:
    """The characters that make globs may stand in names, too."""
    path = found.pattern.path
    directory = os.path.dirname(path)
    if directory not in found.stamps:
        found.stamp(directory)
    if os.path.lexists(path) and not found.pattern.excludes_path(path):
        found.directories.add(directory)
        found.unsure |= os.path.islink(path)
        found.take(path)


def _look_at(
    entry: "os.DirEntry[bytes]", level: int, here: Place, found: Found, below: dict[bytes, set[int]]
) -> None:
    route = found.pattern.route
    further, deeper = route.after(here, entry.name), route.deeper(here, level)
    # Excluded directories are not even looked into.
    if not (further or deeper) or found.pattern.excludes_path(entry.path):
        return
    found.unsure |= entry.is_symlink()
    _go_on(entry.path, partial(_is_dir, entry), further, found, below)
    if deeper:
        # Links are not followed: one to a parent would be walked for ever.
        if entry.is_dir(follow_symlinks=False):
            _remember(below, entry.path, deeper)
        elif route.end - 1 in deeper:
            found.take(entry.path)


def _go_on(
    path: bytes, is_dir: Callable[[], bool], numbers: list[int], found: Found, below: dict[bytes, set[int]]
) -> None:
    """A part without `**` matches this path: it is named, or perhaps something below it is."""
    end = found.pattern.route.end
    if end in numbers:
        found.take(path)
    before_end = [number for number in numbers if number != end]
    if before_end and is_dir():
        _remember(below, path, before_end)


def _remember(below: dict[bytes, set[int]], path: bytes, numbers: list[int]) -> None:
    if path in below or len(below) <= MAX_DIRECTORIES:
        below.setdefault(path, set()).update(numbers)


def _is_dir(entry: "os.DirEntry[bytes]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link in a circle, or to where nobody may look


def _mode(path: bytes) -> int:
    """Of the path itself; 0 if nothing is there. Raises OSError if that cannot be seen."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _put_in_order(found: Found) -> Iterator[None]:
    """Sorting as many paths as there may be takes too long for one step."""
    paths = list(found.named)
    runs = []
    for begin in range(0, len(paths), SORTED_AT_ONCE):
        runs.append(sorted(paths[begin : begin + SORTED_AT_ONCE]))
        yield
    if len(runs) == 1:
        found.paths = runs[0]
        return
    for path in heapq.merge(*runs):
        found.paths.append(path)
        yield


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name]
