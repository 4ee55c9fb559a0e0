# SPDX-License-Identifier: Apache-2.0
"""Which file is at which path now, and which one was there before it: generations of a path are read in order."""

from collections import defaultdict

from logagent.sources.tailed_file import TailedFile


class Generations:
    """Per service and path."""

    def __init__(self) -> None:
        self._now: defaultdict[str, dict[bytes, TailedFile]] = defaultdict(dict)
        self._before: defaultdict[str, dict[bytes, TailedFile]] = defaultdict(dict)

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
        self._before[file.service][file.path] = file

    def take_before(self, file: TailedFile) -> TailedFile | None:
        """The file that was at the path of this one and is not let go yet."""
        before = self._before[file.service].pop(file.path, None)
        return None if before is file or before is None or before.closed or before.retired else before

    def before(self, service: str, path: bytes) -> TailedFile | None:
        """The file that left a path last."""
        return self._before[service].get(path)

    def last_two(self, service: str, path: bytes) -> list[TailedFile]:
        """The file that is read for a path, and the one that left it last."""
        now = self._now[service].get(path)
        before = self._before[service].get(path) or (now and now.predecessor)
        return [file for file in (now, before) if file is not None]

    def drop(self, file: TailedFile) -> None:
        """The file is closed."""
        for known in (self._now, self._before):
            if known[file.service].get(file.path) is file:
                del known[file.service][file.path]
