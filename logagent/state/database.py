# SPDX-License-Identifier: Apache-2.0
"""The SQLite file in data_dir. The only module that imports sqlite3.

WAL with synchronous=NORMAL: a crash of the agent loses nothing that was committed; a power cut may lose the last
commits, which means lines sent twice, never lines lost.
"""

import os
import sqlite3
from contextlib import closing
from operator import attrgetter
from pathlib import Path

from logagent.errors import StateError
from logagent.state.changes import MARKS_PER_FILE, Changes, FileId, Mark, Position, surplus

SCHEMA_VERSION = 2
"""Changes are additive: an older release runs on the state of a newer one."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (
    service     TEXT    NOT NULL,
    identity    TEXT    NOT NULL,
    log_path    TEXT    NOT NULL,
    path        BLOB    NOT NULL,
    offset      INTEGER NOT NULL,
    head_bytes  INTEGER NOT NULL,
    head_digest BLOB    NOT NULL,
    updated_s   INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
    PRIMARY KEY (service, identity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    service  TEXT    NOT NULL,
    identity TEXT    NOT NULL,
    offset   INTEGER NOT NULL,
    time_s   INTEGER NOT NULL,
    digest   BLOB    NOT NULL,
    PRIMARY KEY (service, identity, offset)
) WITHOUT ROWID
"""

_ADDED_COLUMNS = {
    "marker_digest": "BLOB NOT NULL DEFAULT x''",
    "middle_digest": "BLOB NOT NULL DEFAULT x''",
    "size_bytes": "INTEGER NOT NULL DEFAULT 0",
    "boot_id": "TEXT NOT NULL DEFAULT ''",
}
"""Columns of positions that version 1 did not have."""

_LOAD = """
SELECT service, identity, log_path, path, offset, head_bytes, head_digest,
    marker_digest, middle_digest, size_bytes, boot_id
FROM positions
"""
_SAVE = """
INSERT INTO positions (
    service, identity, log_path, path, offset, head_bytes, head_digest,
    marker_digest, middle_digest, size_bytes, boot_id
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (service, identity) DO UPDATE SET
    log_path = excluded.log_path, path = excluded.path, offset = excluded.offset,
    head_bytes = excluded.head_bytes, head_digest = excluded.head_digest,
    marker_digest = excluded.marker_digest, middle_digest = excluded.middle_digest,
    size_bytes = excluded.size_bytes, boot_id = excluded.boot_id,
    updated_s = CAST(strftime('%s', 'now') AS INTEGER)
"""
_FORGET = "DELETE FROM positions WHERE service = ? AND identity = ?"

_LOAD_MARKS = """
SELECT service, identity, offset, time_s, digest FROM marks WHERE service = ? AND identity = ? ORDER BY offset
"""
_SAVE_MARK = "INSERT OR REPLACE INTO marks (service, identity, offset, time_s, digest) VALUES (?, ?, ?, ?, ?)"
_COUNT_MARKS = "SELECT count(*) FROM marks WHERE service = ? AND identity = ?"
_FORGET_MARKS = "DELETE FROM marks WHERE service = ? AND identity = ?"
_FORGET_MARK = "DELETE FROM marks WHERE service = ? AND identity = ? AND offset = ?"

_row_of = attrgetter(
    *("service", "identity", "log_path", "path", "offset", "head_bytes", "head_digest"),
    *("marker_digest", "middle_digest", "size_bytes", "boot_id"),
)
_mark_row_of = attrgetter("service", "identity", "offset", "time_s", "digest")


class Database:
    """One connection, used from one thread at a time. Every method raises StateError with a sentence."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Made with its mode before SQLite opens it: the files of the write-ahead log take over the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._status = path.stat()
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                self._migrate()
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{path}: cannot be opened: {error}") from error

    def load_positions(self) -> list[Position]:
        """All positions."""
        try:
            with closing(self._connection.execute(_LOAD)) as rows:
                return [Position(*row) for row in rows]
        except sqlite3.Error as error:
            raise StateError(f"{self._path}: cannot be read: {error}") from error

    def load_marks(self, service: str, identity: str) -> list[Mark]:
        """The marks of one file, by offset."""
        try:
            with closing(self._connection.execute(_LOAD_MARKS, (service, identity))) as rows:
                return [Mark(*row) for row in rows]
        except sqlite3.Error as error:
            raise StateError(f"{self._path}: cannot be read: {error}") from error

    def save(self, changes: Changes) -> None:
        """Write what has changed in one transaction."""
        try:
            if not os.path.samestat(self._status, self._path.stat()):
                raise StateError(f"{self._path}: it was replaced while the agent runs; restart the agent")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._apply(changes)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{self._path}: cannot be written: {error}") from error

    def _apply(self, changes: Changes) -> None:
        many = self._connection.executemany
        many(_FORGET, changes.forgotten)
        many(_FORGET_MARKS, changes.forgotten | changes.unmarked)
        many(_SAVE, map(_row_of, changes.positions.values()))
        for file_id, marks in changes.marks.items():
            many(_SAVE_MARK, map(_mark_row_of, marks))
            if self._number(_COUNT_MARKS, file_id) > MARKS_PER_FILE:
                gone = surplus(self.load_marks(*file_id))
                many(_FORGET_MARK, ((*mark.id, mark.offset) for mark in gone))

    def _migrate(self) -> None:
        """Additive only: whatever a newer release put there stays."""
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        with closing(self._connection.execute("PRAGMA table_info(positions)")) as rows:
            present = {row[1] for row in rows}
        for name, declaration in _ADDED_COLUMNS.items():
            if name not in present:
                self._connection.execute(f"ALTER TABLE positions ADD COLUMN {name} {declaration}")
        self._connection.execute(f"PRAGMA user_version = {max(SCHEMA_VERSION, self._version())}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _version(self) -> int:
        return self._number("PRAGMA user_version")

    def _number(self, question: str, values: FileId | tuple[()] = ()) -> int:
        with closing(self._connection.execute(question, values)) as rows:
            return int(rows.fetchone()[0])
