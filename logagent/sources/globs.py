# SPDX-License-Identifier: Apache-2.0
"""Which paths a glob names, at a price that neither the glob nor a name on the disk can drive up. Pure; on bytes.

Within a name `*`, `?` and `[…]` match; the name `**` matches any number of directories, up to `MAX_DEPTH`.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

MAX_DEPTH = 16
"""How deep `**` goes."""

ANY_DEPTH = b"**"
NAME_BYTES = 255
"""No name on a disk is longer."""

_MAGIC = re.compile(rb"[*?\[]")
_NOTHING = re.compile(rb"(?!)")

Place = frozenset[int]
"""Which parts of a glob the next name may match. With `**` these are several: it may end before each name."""


def is_magic(part: bytes) -> bool:
    """Whether there is a wildcard in it."""
    return _MAGIC.search(part) is not None


def parts_of(path: bytes) -> tuple[bytes, ...]:
    """The names of a path; several `**` in a row say no more than one."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part and not (part == ANY_DEPTH and parts[-1:] == [ANY_DEPTH]):
            parts.append(part)
    return tuple(parts)


def name_pattern(part: bytes) -> re.Pattern[bytes]:
    """Matches the whole of each name that one part of a glob means.

    Every `*` takes as little as it can together with what follows it, and never thinks better of it: so a match takes
    at most len(name) x len(part) steps. (What stands between two stars has a fixed length, so that its first
    occurrence is as good as any other.)
    """
    try:
        pieces = list(_pieces(part))
    except ValueError:
        pieces = [[re.escape(part)]]  # a set that makes no sense, like [z-a], stands for itself
    if sum(map(len, pieces)) > NAME_BYTES:
        return _NOTHING
    first, *others = (b"".join(piece) for piece in pieces)
    if not others:
        return re.compile(first + rb"\Z", re.DOTALL)
    between = b"".join(b"(?>.*?" + piece + b")" for piece in others[:-1])
    return re.compile(first + between + b".*" + others[-1] + rb"\Z", re.DOTALL)


def _pieces(part: bytes) -> Iterator[list[bytes]]:
    """What stands before, between and behind the stars: regular expressions for a byte each. Raises ValueError."""
    piece: list[bytes] = []
    position = 0
    while position < len(part):
        end = _set_end(part, position)
        if part[position : position + 1] == b"*":
            yield piece
            piece = []
            end = len(part) - len(part[position:].lstrip(b"*"))  # a run of stars is one
        elif end > position + 1:
            piece.append(_set(part[position + 1 : end - 1]))
        else:
            byte = part[position:end]
            piece.append(b"." if byte == b"?" else re.escape(byte))
        position = end
    yield piece


def _set_end(part: bytes, position: int) -> int:
    """Where a set that begins here ends ([a-z], [!0-9], []x]); one further if none does."""
    if part[position : position + 1] != b"[":
        return position + 1
    first = position + 2 if part[position + 1 : position + 2] in (b"!", b"^") else position + 1
    end = part.find(b"]", first + 1)
    return position + 1 if end < 0 else end + 1


def _set(inside: bytes) -> bytes:
    """One byte of a set. Raises ValueError for a range that runs backwards."""
    inverted = inside[:1] in (b"!", b"^")
    members = inside[inverted:]
    taken: set[int] = set()
    position = 0
    while position < len(members):
        low = high = members[position]
        if members[position + 1 : position + 2] == b"-" and position + 2 < len(members):
            high = members[position + 2]
            position += 2
        if low > high:
            raise ValueError(members)
        taken.update(range(low, high + 1))
        position += 1
    return b"[" + (b"^" if inverted else b"") + b"".join(b"\\x%02x" % byte for byte in sorted(taken)) + b"]"


class Route:
    """The parts of a glob, and how one gets from name to name through them.

    `hidden`: wildcards match names with a dot in front, too. `deepest`: how many names all `**` may match together.
    """

    def __init__(self, parts: tuple[bytes, ...], *, hidden: bool = False, deepest: int | None = None) -> None:
        self.parts = parts
        self.end = len(parts)
        self._hidden = hidden
        self._deepest = deepest

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[bytes] | None, ...]:
        return tuple(
            name_pattern(part) if is_magic(part) and part != ANY_DEPTH else None for part in self.parts
        )

    @cached_property
    def _any_depth_before(self) -> tuple[int, ...]:
        return tuple(self.parts[:number].count(ANY_DEPTH) for number in range(self.end))

    def place(self, numbers: Iterable[int]) -> Place:
        """Where one is before these parts: a `**` that is not the last one may match nothing."""
        here = set(numbers)
        here |= {number + 1 for number in here if number + 1 < self.end and self.parts[number] == ANY_DEPTH}
        return frozenset(here)

    def literals(self, here: Place) -> list[int]:
        """Parts without a wildcard that may come next."""
        return [number for number in here if not self._is_wild(number)]

    def wild(self, here: Place) -> bool:
        """Whether anything with a wildcard may come next."""
        return any(map(self._is_wild, here))

    def deeper(self, here: Place, level: int) -> list[int]:
        """Those `**` that may match a name which has `level` names before it."""
        return [
            number
            for number in here
            if self.parts[number] == ANY_DEPTH
            and (self._deepest is None or level - number + self._any_depth_before[number] < self._deepest)
        ]

    def after(self, here: Place, name: bytes) -> list[int]:
        """The parts that come after those that match just this name; `end` among them if it may be the last one."""
        return [number + 1 for number in here if self._matches(number, name)]

    def names(self, names: Iterable[bytes], *, below: bool) -> bool:
        """Whether these names make a path that the glob names; with `below`, whether they begin with one."""
        here = self.place([0] if self.end else [])
        reached = not self.end  # the glob of / itself
        for level, name in enumerate(names):
            if reached and below:
                return True
            further = self.after(here, name)
            deeper = self.deeper(here, level)
            reached = self.end in further or self.end - 1 in deeper
            here = self.place([number for number in (*further, *deeper) if number < self.end])
            if not (here or reached):
                return False
        return reached

    def _is_wild(self, number: int) -> bool:
        return self._patterns[number] is not None or self.parts[number] == ANY_DEPTH

    def _matches(self, number: int, name: bytes) -> bool:
        part, pattern = self.parts[number], self._patterns[number]
        if pattern is None:
            return part == name and part != ANY_DEPTH
        hidden = name.startswith(b".") and not (self._hidden or part.startswith(b"."))
        return not hidden and pattern.match(name) is not None
