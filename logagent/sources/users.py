# SPDX-License-Identifier: Apache-2.0
"""For which entries a directory is watched, and which of them a name in it is of interest to. Pure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logagent.sources.watches import EntryFiles

User = tuple[bytes, "EntryFiles"]
"""The directory as the entry spells it, and the entry."""


class Users:
    """A thousand entries may have a plain path each in one directory: an event there concerns one of them, not all."""

    def __init__(self) -> None:
        self._all: dict[User, bytes] = {}
        self._globs: dict[User, None] = {}
        self._plain: dict[bytes, dict[User, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[User]:
        return iter(list(self._all))

    def __contains__(self, user: User) -> bool:
        return user in self._all

    def add(self, user: User) -> None:
        """The directory is watched for this one, too."""
        name = _next_name(*user)
        self._all[user] = name
        if user[1].pattern.literal:
            self._plain.setdefault(name, {})[user] = None
        else:
            self._globs[user] = None

    def remove(self, state: "EntryFiles") -> None:
        """It is not watched for this entry any more."""
        for user in [user for user in self._all if user[1] is state]:
            name = self._all.pop(user)
            self._globs.pop(user, None)
            plain = self._plain.get(name, {})
            plain.pop(user, None)
            if not plain:
                self._plain.pop(name, None)

    def concerned(self, name: bytes) -> list[User]:
        """Who may name this name, or something below it."""
        return [*self._plain.get(name, ()), *self._globs]


def _next_name(spelled: bytes, state: "EntryFiles") -> bytes:
    """The name that the path of an entry has behind a directory above it; empty if it does not lead there."""
    path, above = b"/" + b"/".join(state.pattern.parts), spelled.rstrip(b"/") + b"/"
    return path[len(above) :].split(b"/", 1)[0] if path.startswith(above) else b""
