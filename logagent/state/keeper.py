# SPDX-License-Identifier: Apache-2.0
"""Keeps the state in data_dir whatever happens to it: damaged files are moved aside, positions come from a copy.

Nothing here may stop the agent: where the state cannot be written, positions stay in memory until it can be.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from logagent.clock import WallClock
from logagent.errors import StateAnew, StateDamaged, StateError
from logagent.state.changes import Changes, Mark, Position
from logagent.state.database import Database, back_up, make_private, put_in_place, read_positions, translated

NAME = "state.db"
KEPT_DAMAGED = 5
"""So that a disk that damages files does not get full of them as well."""

FROM_COPY = "its copy of an hour ago or less"
FROM_NOTHING = "nowhere: all files are read from their beginning"


class Keeper:
    """Opens, and opens again. `save`, `back_up` and what loads block: call them in a thread, one at a time.

    `fault` is what was wrong with the state since the start, a sentence, empty if nothing was; `trouble` is why it
    cannot be written now; `lost` says that positions, or the newest of them, are gone; `recovery` is what was done
    about a damage, until somebody takes it to tell it. `journal_sequence` is what was saved with the positions.
    """

    def __init__(self, directory: Path, wall: WallClock, *, full_sync: bool = False) -> None:
        self.path = directory / NAME
        self.copy = directory / f"{NAME}.bak"
        self._wall = wall
        self._full_sync = full_sync
        self._database: Database | None = None
        self.recovery: StateAnew | None = None
        self.fault = ""
        self.trouble = ""
        self.lost = False
        self.journal_sequence = 0

    def open(self) -> list[Position]:
        """All positions; never raises. If the state is damaged `recovery` says what was done about it."""
        try:
            return self._open()
        except StateError as error:
            self.trouble = str(error)
            return self._readable()

    def save(self, changes: Changes) -> None:
        """Write what has changed. Raises StateAnew if everything is to be written first, StateError if it cannot."""
        if self._database is None:
            self._open()
            self.trouble = ""
            anew, self.recovery = self.recovery or StateAnew(), None
            raise anew
        try:
            self._database.save(changes)
        except StateDamaged:
            self.close()
            raise

    def load_marks(self, service: str, identity: str) -> list[Mark]:
        """The marks of one file; none while there is no database, or none that can be read."""
        try:
            return [] if self._database is None else self._database.load_marks(service, identity)
        except StateError:
            return []  # they only spare repetitions; what is wrong shows when positions are saved

    def load_renders(self) -> dict[bytes, bytes]:
        """All renders; none while there is no database, or none that can be read."""
        try:
            return {} if self._database is None else self._database.load_renders()
        except StateError:
            return {}  # batches that name them cannot be built again then

    def back_up(self) -> None:
        """Write the copy anew, and give space back. Raises StateError."""
        if self._database is not None:
            back_up(self.path, self.copy)
            self._database.compact()

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> list[Position]:
        try:
            return self._take(before_migration=self.copy)
        except StateDamaged as damage:
            kept_as, source = self._move_aside(), self._restore()
            self.lost = True
            self.fault = f"{damage}; it is kept as {kept_as}, positions come from {source}"
            self.recovery = StateAnew(str(damage), kept_as, source)
            return self._take(before_migration=None)

    def _take(self, before_migration: Path | None) -> list[Position]:
        with translated(self.path, "cannot be looked at"):
            if before_migration is not None and self.copy.exists() and not _holds_something(self.path):
                raise StateDamaged(f"{self.path}: it is empty or gone, and its copy is not")
        database = Database(self.path, before_migration, full_sync=self._full_sync)
        try:
            self.journal_sequence = database.load_journal_sequence()
            positions = database.load_positions()
        except StateError:
            database.close()
            raise
        self._database = database
        return positions

    def _move_aside(self) -> str:
        """The name that the damaged file has now; what was written lately, and may be whole, goes with it."""
        stamp = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y%m%dT%H%M%SZ")
        kept = self.path.with_name(f"{NAME}.bad-{stamp}")
        with translated(self.path, "cannot be moved aside"):
            for suffix in ("-wal", "-shm", ""):
                file = self.path.with_name(NAME + suffix)
                if file.exists():
                    file.replace(kept.with_name(kept.name + suffix))
            older = sorted(self.path.parent.glob(f"{NAME}.bad-*Z"), reverse=True)[KEPT_DAMAGED:]
            for file in older:
                for suffix in ("-wal", "-shm", ""):
                    file.with_name(file.name + suffix).unlink(missing_ok=True)
        return str(kept)

    def _restore(self) -> str:
        """Put the copy in its place if it is good; where positions come from, in words."""
        draft = self.path.with_name(f"{NAME}.new")
        try:
            read_positions(self.copy)
        except StateError:
            return FROM_NOTHING
        with translated(self.path, "cannot be restored"):
            draft.unlink(missing_ok=True)
            make_private(draft)
            shutil.copyfile(self.copy, draft)
            put_in_place(draft, self.path)
        return FROM_COPY

    def _readable(self) -> list[Position]:
        """What can be read of the state where nothing can be written."""
        for path in (self.path, self.copy):
            try:
                if _holds_something(path):
                    positions = read_positions(path)
                    self.lost = self.lost or path == self.copy
                    return positions
            except StateDamaged as damage:
                self.fault = f"{damage}; positions come from elsewhere as long as nothing can be written"
            except (StateError, OSError) as error:
                self.trouble = f"{self.trouble}; {error}"
            else:
                continue
            self.lost = True
        return []


def _holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
