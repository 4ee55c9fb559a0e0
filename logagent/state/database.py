# SPDX-License-Identifier: Apache-2.0
"""The SQLite file in data_dir. The only module that imports sqlite3.

WAL with synchronous=NORMAL: a crash of the agent loses nothing that was committed; a power cut may lose the last
commits, which means lines sent twice, never lines lost.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from logagent.errors import StateError
from logagent.state.positions import Position

SCHEMA_VERSION = 1
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
) WITHOUT ROWID
"""

_LOAD = "SELECT service, identity, log_path, path, offset, head_bytes, head_digest FROM positions"

_SAVE = """
INSERT INTO positions (service, identity, log_path, path, offset, head_bytes, head_digest)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (service, identity) DO UPDATE SET
    log_path = excluded.log_path, path = excluded.path, offset = excluded.offset,
    head_bytes = excluded.head_bytes, head_digest = excluded.head_digest,
    updated_s = CAST(strftime('%s', 'now') AS INTEGER)
"""


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
            with self._connection:
                self._connection.execute(_SCHEMA)
                self._connection.execute(f"PRAGMA user_version = {max(SCHEMA_VERSION, self._version())}")
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{path}: cannot be opened: {error}") from error

    def load_positions(self) -> list[Position]:
        """All positions."""
        try:
            with closing(self._connection.execute(_LOAD)) as rows:
                return [Position(*row) for row in rows]
        except sqlite3.Error as error:
            raise StateError(f"{self._path}: cannot be read: {error}") from error

    def save_positions(self, positions: list[Position]) -> None:
        """Write positions in one transaction."""
        rows = [
            (p.service, p.identity, p.log_path, p.path, p.offset, p.head_bytes, p.head_digest)
            for p in positions
        ]
        try:
            if not os.path.samestat(self._status, self._path.stat()):
                raise StateError(f"{self._path}: it was replaced while the agent runs; restart the agent")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_SAVE, rows)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{self._path}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _version(self) -> int:
        with closing(self._connection.execute("PRAGMA user_version")) as rows:
            return int(rows.fetchone()[0])
