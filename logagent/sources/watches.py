# SPDX-License-Identifier: Apache-2.0
"""Turns inotify's events on directories into news about files and entries."""

import os
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field

from logagent.config.services import Entry
from logagent.ops.events import Events
from logagent.sources import discovery, file_systems
from logagent.sources.discovery import Pattern
from logagent.sources.ignored import Ignored
from logagent.sources.rotation import FileKey
from logagent.sources.settled import Settled
from logagent.sources.tailed_file import TailedFile
from logagent.sources.users import Users
from logagent.sources.watcher import Watcher


@dataclass(slots=True, eq=False)
class EntryFiles:
    """One entry while it runs."""

    entry: Entry
    pattern: Pattern
    scanned: bool = False
    known_before: bool = False
    polled: bool = False
    rescan_planned: bool = False
    missing_told: bool = False
    scan_s: float = 0.0
    """How long the last look for its files took."""

    settled: Settled | None = None
    """What was found then, if it can be told that the same would be found again."""

    found_count: int = 0
    """Files found in the last scan and since."""

    refused: dict[bytes, str] = field(default_factory=dict)
    ignored: dict[bytes, Ignored] = field(default_factory=dict)
    """Files that are too old to be read, as they were when they were first seen."""

    parked: dict[bytes, Ignored] = field(default_factory=dict)
    """Files that were read to their end and closed, to make room for others, as they were then."""

    waiting: bool = False
    """In the last scan there was no room for some files."""

    in_turn_told: bool = False
    lost: bool = False
    """A parked file is not at its path any more."""

    noticed: dict[bytes, FileKey] = field(default_factory=dict)
    """What lay at paths when they were to be opened for the first time, as long as it was not."""

    noticed_s: float = 0.0
    """When that was, by the wall clock."""

    since_s: dict[bytes, float] = field(default_factory=dict)
    """Paths that are not opened yet, and when the generation before was last written (wall clock)."""

    directories: set[bytes] = field(default_factory=set)
    files: dict[TailedFile, None] = field(default_factory=dict)

    def forget_refused(self, paths: Iterable[bytes]) -> None:
        """What hindered these is over."""
        for path in paths:
            self.refused.pop(path, None)


class Watches:
    """Which directories are watched for whom, and which files are known under which real names.

    `on_modified(file)`: it was written. `on_path(entry, path)`: a path that the entry names, or what it leads to, came,
    went or changed. `on_beside(entry, path)`: a name came or went that is made of the
    name of one of its files (`original_names` tells which these may be). `on_rescan(entry)`: directories changed.
    `on_overflow()`: events were lost. `is_polled(directory)`: the operator says that nobody tells of changes there.
    """

    def __init__(
        self,
        entries: Mapping[tuple[str, str], EntryFiles],
        *,
        on_modified: Callable[[TailedFile], None],
        on_path: Callable[[EntryFiles, bytes], None],
        on_beside: Callable[[EntryFiles, bytes], None],
        on_rescan: Callable[[EntryFiles], None],
        on_overflow: Callable[[], None],
        original_names: Callable[[bytes], Iterable[bytes]],
        is_polled: Callable[[bytes], bool],
        events: Events,
    ) -> None:
        self._original_names = original_names
        self._is_polled = is_polled
        self._entries = entries
        self._on_modified = on_modified
        self._on_path = on_path
        self._on_beside = on_beside
        self._on_rescan = on_rescan
        self._events = events
        self._names: dict[bytes, TailedFile | tuple[TailedFile, ...]] = {}
        """By real path; nearly always one."""

        self._users: dict[bytes, Users] = {}
        self._watcher: Watcher[TailedFile] = Watcher(
            on_modified=self._modified,
            on_written=on_modified,
            on_entry=self._entry_changed,
            on_directory_gone=self._directory_gone,
            on_overflow=on_overflow,
        )

    def run(self) -> None:
        """The greenlet."""
        self._watcher.run()

    def close(self) -> None:
        """Stop watching."""
        self._watcher.close()

    def remember(self, file: TailedFile) -> None:
        """Tell of changes to this file, wherever a link led to it."""
        others = tuple(known for known in self._at(file.real_path) if known is not file)
        self._names[file.real_path] = (*others, file) if others else file
        self._watcher.forget_writes()
        directory = os.path.dirname(file.real_path)
        state = self._entries.get((file.service, file.log_path))
        if state is not None and (directory, state) not in self._users.get(directory, ()):
            self._cover(state, directory)

    def named(self, directory: bytes, name: bytes) -> tuple[TailedFile, ...]:
        """The files that really lie there."""
        return self._at(os.path.join(directory, name))

    def _at(self, real_path: bytes) -> tuple[TailedFile, ...]:
        files = self._names.get(real_path, ())
        return files if isinstance(files, tuple) else (files,)

    def forget(self, file: TailedFile) -> None:
        """Tell no more of this file."""
        others = tuple(known for known in self._at(file.real_path) if known is not file)
        self._names.pop(file.real_path, None)
        if others:
            self._names[file.real_path] = others
        self._watcher.forget_writes()

    def cover(self, state: EntryFiles, directories: Collection[bytes]) -> Generator[None, None, bool]:
        """Watch directories for an entry, and the one in which its base directory comes and goes; True if any is new.

        A directory that is removed does not tell so itself while a file in it is open. In steps: after any of
        them it may be given up.
        """
        news = self._cover(state, discovery.nearest_directory(os.path.dirname(state.pattern.base)))
        for directory in directories:
            yield
            news |= self._cover(state, directory)
        return news

    def _cover(self, state: EntryFiles, directory: bytes) -> bool:
        real = os.path.realpath(directory)
        if (directory, state) in self._users.get(real, ()):
            return False
        try:
            self._watcher.watch(real)
        except OSError as error:
            if os.path.isdir(real) and not state.polled:
                state.polled = True
                self._events.inotify_failed(path=real, error=str(error))
            return False
        state.polled = state.polled or self._is_polled(real) or self._is_polled(directory)
        kind = "" if state.polled else file_systems.remote_kind(real)
        if kind:
            state.polled = True
            self._events.files_polled(path=real, kind=kind)
        self._users.setdefault(real, Users()).add((directory, state))
        state.directories.add(real)
        return True

    def uncover(self, state: EntryFiles) -> None:
        """The entry is gone: directories that nobody else needs are watched no more."""
        for real in state.directories:
            users = self._users.get(real)
            if users is not None:
                users.remove(state)
            if not users:
                self._users.pop(real, None)
                self._watcher.unwatch(real)
        state.directories.clear()

    def _modified(self, directory: bytes, name: bytes) -> Collection[TailedFile] | None:
        files = self.named(directory, name)
        if files:
            for file in files:
                self._on_modified(file)
            return files
        for spelled, state in list(self._users.get(directory, ())):
            path = os.path.join(spelled, name) if state.ignored or state.parked else b""
            if path in state.ignored or path in state.parked:
                self._on_path(state, path)
        return None

    def _entry_changed(self, directory: bytes, name: bytes, moved: bool) -> None:
        if moved and os.path.join(directory, name) in self._users:
            self._directory_gone(os.path.join(directory, name))
        for file in self.named(directory, name):
            owner = self._entries.get((file.service, file.log_path))
            if owner is not None and file.left_path_s is None:
                self._on_path(owner, file.path)
        if moved:
            self._tell_beside(directory, name)
        users = self._users.get(directory)
        for spelled, state in [] if users is None else users.concerned(name):
            path = os.path.join(spelled, name)
            if state.pattern.matches(path):
                self._on_path(state, path)
            if state.pattern.base.startswith(path) or (not state.pattern.literal and os.path.isdir(path)):
                self._on_rescan(state)

    def _tell_beside(self, directory: bytes, name: bytes) -> None:
        states: dict[EntryFiles, None] = {}
        for other in self._original_names(name):
            for file in self.named(directory, other):
                state = self._entries.get((file.service, file.log_path))
                if state is not None and not state.pattern.matches(
                    os.path.join(os.path.dirname(file.path), name)
                ):
                    states[state] = None
        for state in states:
            self._on_beside(state, os.path.join(directory, name))

    def _directory_gone(self, directory: bytes) -> None:
        self._watcher.unwatch(directory)
        for _, state in self._users.pop(directory, ()):
            state.directories.discard(directory)
            self._on_rescan(state)
