# SPDX-License-Identifier: Apache-2.0
"""Which file is at which path now, and which ones were there before it: generations of a path are read in order."""

from collections import defaultdict

from logagent.sources.tailed_file import TailedFile


class Generations:
    """Per service and path. Of a file that never left its path no more is kept than that it is there."""

    def __init__(self) -> None:
        self._now: defaultdict[str, dict[bytes, TailedFile]] = defaultdict(dict)
        self._before: defaultdict[str, dict[bytes, TailedFile]] = defaultdict(dict)
        self._left: dict[tuple[str, bytes], dict[TailedFile, None]] = {}
        """All that left a path and are still open, in that order."""

        self._places: dict[TailedFile, dict[bytes, None]] = {}
        """The paths that a file left."""

    def at(self, service: str, path: bytes) -> TailedFile | None:
        """The file that is read for a path."""
        return self._now[service].get(path)

    def is_current(self, file: TailedFile) -> bool:
        """Whether the file is still the one at its path."""
        return self._now[file.service].get(file.path) is file

    def arrive(self, file: TailedFile) -> None:
        """The file is at its path now."""
        self._now[file.service][file.path] = file

    def leave(self, file: TailedFile) -> None:
        """The file is not at its path any more; the next one there comes after it."""
        if self.is_current(file):
            del self._now[file.service][file.path]
        self.comes_before(file, file.path)

    def comes_before(self, file: TailedFile, path: bytes) -> None:
        """The next file at a path comes after this one."""
        self._before[file.service][path] = file
        self._left.setdefault((file.service, path), {})[file] = None
        self._places.setdefault(file, {})[path] = None

    def take_before(self, file: TailedFile) -> TailedFile | None:
        """The file that was at the path of this one and is not let go yet."""
        before = self._before[file.service].pop(file.path, None)
        return None if before is file or before is None or before.closed or before.retired else before

    def before(self, service: str, path: bytes) -> TailedFile | None:
        """The file that left a path last."""
        return self._before[service].get(path)

    def all(self, service: str, path: bytes) -> list[TailedFile]:
        """The files that are or were at a path and are still open: in a hurry more than two."""
        found = dict(self._left.get((service, path), {}))
        now = self.at(service, path)
        if now is not None:
            found[now] = None
        return list(found)

    def comes_last_at(self, file: TailedFile) -> list[bytes]:
        """Paths of which the next file comes after this one."""
        before = self._before[file.service]
        return [path for path in self._places.get(file, ()) if before.get(path) is file]

    def drop(self, file: TailedFile) -> None:
        """The file is closed, or it is at none of these paths any more."""
        for path in {file.path, *self._places.pop(file, ())}:
            for known in (self._now[file.service], self._before[file.service]):
                if known.get(path) is file:
                    del known[path]
            left = self._left.get((file.service, path), {})
            left.pop(file, None)
            if not left:
                self._left.pop((file.service, path), None)
