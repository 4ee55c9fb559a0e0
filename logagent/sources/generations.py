# SPDX-License-Identifier: Apache-2.0
"""Which file is at which path now, and which one was there before it: generations of a path are read in order."""

from logagent.sources.tailed_file import TailedFile


class Generations:
    """Per service and path."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, bytes], TailedFile] = {}
        self._before: dict[tuple[str, bytes], TailedFile] = {}
        self._all: dict[tuple[str, bytes], dict[TailedFile, None]] = {}
        self._places: dict[TailedFile, set[tuple[str, bytes]]] = {}

    def at(self, service: str, path: bytes) -> TailedFile | None:
        """The file that is read for a path."""
        return self._now.get((service, path))

    def is_current(self, file: TailedFile) -> bool:
        """Whether the file is still the one at its path."""
        return self._now.get((file.service, file.path)) is file

    def arrive(self, file: TailedFile) -> None:
        """The file is at its path now."""
        self._now[file.service, file.path] = file
        self._remember(file, file.path)

    def leave(self, file: TailedFile) -> None:
        """The file is not at its path any more; the next one there comes after it."""
        if self.is_current(file):
            del self._now[file.service, file.path]
        self.comes_before(file, file.path)

    def comes_before(self, file: TailedFile, path: bytes) -> None:
        """The next file at a path comes after this one."""
        self._before[file.service, path] = file
        self._remember(file, path)

    def take_before(self, file: TailedFile) -> TailedFile | None:
        """The file that was at the path of this one and is not let go yet."""
        before = self._before.pop((file.service, file.path), None)
        return None if before is file or before is None or before.closed or before.retired else before

    def before(self, service: str, path: bytes) -> TailedFile | None:
        """The file that left a path last."""
        return self._before.get((service, path))

    def all(self, service: str, path: bytes) -> list[TailedFile]:
        """The files that are or were at a path and are still open: in a hurry more than two."""
        return list(self._all.get((service, path), ()))

    def comes_last_at(self, file: TailedFile) -> list[bytes]:
        """Paths of which the next file comes after this one."""
        places = self._places.get(file, ())
        return [path for service, path in places if self._before.get((service, path)) is file]

    def drop(self, file: TailedFile) -> None:
        """The file is closed, or it is at none of these paths any more."""
        for place in self._places.pop(file, ()):
            for known in (self._now, self._before):
                if known.get(place) is file:
                    del known[place]
            del self._all[place][file]
            if not self._all[place]:
                del self._all[place]

    def _remember(self, file: TailedFile, path: bytes) -> None:
        place = file.service, path
        self._all.setdefault(place, {})[file] = None
        self._places.setdefault(file, set()).add(place)
