# SPDX-License-Identifier: Apache-2.0
"""The SQLite file in data_dir. The only module that imports sqlite3.

WAL with synchronous=NORMAL, or FULL: a crash of the agent loses nothing that was committed; with NORMAL, a power cut
may lose the last commits, which means lines sent twice, never lines lost.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import attrgetter
from pathlib import Path
from urllib.parse import quote

from logagent.errors import StateDamaged, StateError
from logagent.state.changes import MARKS_PER_FILE, Changes, FileId, Mark, Position, surplus

SCHEMA_VERSION = 3
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
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS renders (
    id       BLOB NOT NULL PRIMARY KEY,
    document BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    only     INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL
)
"""

_ADDED_COLUMNS = {
    "marker_digest": "BLOB NOT NULL DEFAULT x''",
    "size_bytes": "INTEGER NOT NULL DEFAULT 0",
    "boot_id": "TEXT NOT NULL DEFAULT ''",
    "gone_since_s": "INTEGER NOT NULL DEFAULT 0",
    "delivered_offset": "INTEGER NOT NULL DEFAULT 0",
}
"""Columns of positions that version 1 did not have; the last one is of version 3."""

_LOAD = "SELECT * FROM positions"
_KINDS = {
    "service": str,
    "identity": str,
    "log_path": str,
    "path": bytes,
    "offset": int,
    "head_bytes": int,
    "head_digest": bytes,
    "marker_digest": bytes,
    "size_bytes": int,
    "boot_id": str,
    "gone_since_s": int,
    "delivered_offset": int,
}
"""The columns that this release knows, and what their values are."""

_SAVE = """
INSERT INTO positions (
    service, identity, log_path, path, offset, head_bytes, head_digest,
    marker_digest, size_bytes, boot_id, gone_since_s, delivered_offset
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (service, identity) DO UPDATE SET
    log_path = excluded.log_path, path = excluded.path, offset = excluded.offset,
    head_bytes = excluded.head_bytes, head_digest = excluded.head_digest,
    marker_digest = excluded.marker_digest, size_bytes = excluded.size_bytes,
    boot_id = excluded.boot_id, gone_since_s = excluded.gone_since_s,
    delivered_offset = excluded.delivered_offset,
    updated_s = CAST(strftime('%s', 'now') AS INTEGER)
"""
_MOVE = "UPDATE OR REPLACE positions SET service = ?, identity = ? WHERE service = ? AND identity = ?"
_MOVE_MARKS = "UPDATE OR REPLACE marks SET service = ?, identity = ? WHERE service = ? AND identity = ?"
_FORGET = "DELETE FROM positions WHERE service = ? AND identity = ?"

_LOAD_MARKS = """
SELECT service, identity, offset, time_s, digest FROM marks WHERE service = ? AND identity = ? ORDER BY offset
"""
_SAVE_MARK = "INSERT OR REPLACE INTO marks (service, identity, offset, time_s, digest) VALUES (?, ?, ?, ?, ?)"
_COUNT_MARKS = "SELECT count(*) FROM marks WHERE service = ? AND identity = ?"
_FORGET_MARKS = "DELETE FROM marks WHERE service = ? AND identity = ?"
_FORGET_MARK = "DELETE FROM marks WHERE service = ? AND identity = ? AND offset = ?"

_LOAD_JOURNAL = "SELECT coalesce(max(sequence), 0) FROM journal"
_SAVE_JOURNAL = "INSERT OR REPLACE INTO journal (only, sequence) VALUES (1, ?)"
_LOAD_RENDERS = "SELECT id, document FROM renders"
_SAVE_RENDER = "INSERT OR REPLACE INTO renders (id, document) VALUES (?, ?)"
_FORGET_RENDER = "DELETE FROM renders WHERE id = ?"

_row_of = attrgetter(*_KINDS)
_mark_row_of = attrgetter("service", "identity", "offset", "time_s", "digest")

_NOT_THE_FILES_FAULT = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
"""What SQLite says when the disk or the machine is in the way; anything else speaks against what is in the file."""

CACHE_KIB = 512
"""For pages; the system has them in its own memory besides."""

COMPACT_PAGES = 256
"""So many free pages (1 MiB) are given back to the file system if they are more than half of the file."""


@contextmanager
def translated(path: Path, what: str) -> Iterator[None]:
    """Errors of SQLite and the system as one of ours, with a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        kind = StateError if code in _NOT_THE_FILES_FAULT else StateDamaged
        raise kind(f"{path}: {what}: {error}") from error
    except OSError as error:
        raise StateError(f"{path}: {what}: {error.strerror}") from error


class Database:
    """One connection, used from one thread at a time. Every method raises StateError with a sentence, StateDamaged if
    the file itself is the fault.
    """

    def __init__(self, path: Path, before_migration: Path | None = None, *, full_sync: bool = False) -> None:
        """Open for writing; `before_migration` is where a copy goes before another release's schema is changed."""
        self._path = path
        self._full_sync = full_sync
        with translated(path, "cannot be opened"):
            # Made with its mode before SQLite opens it: the files of the write-ahead log take over the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._status = path.stat()
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                self._prepare(before_migration)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, before_migration: Path | None) -> None:
        _check(self._connection, self._path)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if self._full_sync else 'NORMAL'}")
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if before_migration is not None and 0 < self._number("PRAGMA user_version") < SCHEMA_VERSION:
            back_up(self._path, before_migration)
        with self._transaction():
            self._migrate()

    def load_positions(self) -> list[Position]:
        """All positions."""
        with translated(self._path, "cannot be read"):
            return _positions(self._connection, self._path)

    def load_marks(self, service: str, identity: str) -> list[Mark]:
        """The marks of one file, by offset."""
        with (
            translated(self._path, "cannot be read"),
            closing(self._connection.execute(_LOAD_MARKS, (service, identity))) as rows,
        ):
            return [Mark(*row) for row in rows]

    def load_renders(self) -> dict[bytes, bytes]:
        """The documents of all renders, by their ids; what is in them is for others to judge."""
        with (
            translated(self._path, "cannot be read"),
            closing(self._connection.execute(_LOAD_RENDERS)) as rows,
        ):
            return {bytes(one): bytes(document) for one, document in rows}

    def load_journal_sequence(self) -> int:
        """The newest record of the journal when positions were saved last; 0 if they never were."""
        with translated(self._path, "cannot be read"):
            return self._number(_LOAD_JOURNAL)

    def save(self, changes: Changes) -> None:
        """Write what has changed in one transaction."""
        with translated(self._path, "cannot be written"):
            self._check_place()
            with self._transaction():
                self._apply(changes)

    def compact(self) -> None:
        """Give space back if most of the file is empty."""
        with translated(self._path, "cannot be compacted"):
            free = self._number("PRAGMA freelist_count")
            if free > max(COMPACT_PAGES, self._number("PRAGMA page_count") // 2):
                self._connection.execute("VACUUM")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _check_place(self) -> None:
        try:
            same = os.path.samestat(self._status, self._path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise StateDamaged(f"{self._path}: it was removed or replaced while the agent runs")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # some failures end it themselves
                self._connection.execute("ROLLBACK")
            raise

    def _apply(self, changes: Changes) -> None:
        many = self._connection.executemany
        many(_FORGET, changes.forgotten)
        many(_FORGET_MARKS, changes.forgotten | changes.unmarked)
        moves = [(*new, *old) for old, new in changes.moved.items()]
        many(_MOVE, moves)
        many(_MOVE_MARKS, moves)
        many(_SAVE, map(_row_of, changes.positions.values()))
        many(_FORGET_RENDER, ((one,) for one in changes.renders_forgotten))
        many(_SAVE_RENDER, changes.renders.items())
        many(_SAVE_JOURNAL, [(changes.journal_sequence,)] if changes.journal_sequence else [])
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
        version = max(SCHEMA_VERSION, self._number("PRAGMA user_version"))
        self._connection.execute(f"PRAGMA user_version = {version}")

    def _number(self, question: str, values: FileId | tuple[()] = ()) -> int:
        with closing(self._connection.execute(question, values)) as rows:
            return int(rows.fetchone()[0])


def read_positions(path: Path) -> list[Position]:
    """The positions in a file that is not to be changed, be it of another release, in use or on a read-only disk."""
    failure: StateError | None = None
    for how in ("mode=ro", "immutable=1"):  # the second where the files of the write-ahead log cannot be made
        try:
            with translated(path, "cannot be read"), closing(_reader(path, how)) as connection:
                _check(connection, path)
                return _positions(connection, path)
        except StateDamaged:
            raise
        except StateError as error:
            failure = failure or error
    raise failure or StateError(f"{path}: cannot be read")


def back_up(path: Path, copy: Path) -> None:
    """Write a consistent copy of a database in use; what was there before stays until the copy is on the disk."""
    draft = copy.with_name(copy.name + ".new")
    with translated(copy, "cannot be written"):
        draft.unlink(missing_ok=True)
        try:
            make_private(draft)
            with closing(_reader(path, "mode=ro")) as connection:
                connection.execute("VACUUM INTO ?", (str(draft),))
            put_in_place(draft, copy)
        finally:
            draft.unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """Make an empty file that the agent's user alone may read, also when it is root who makes it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def put_in_place(draft: Path, path: Path) -> None:
    """Make a finished file the one of that name, so that a power cut leaves the old one or the new one."""
    for name in (draft, draft.parent):
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            if name == draft:
                draft.replace(path)
        finally:
            os.close(descriptor)


def _reader(path: Path, how: str) -> sqlite3.Connection:
    # Every byte quoted: a file name may hold what means something in a URI.
    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", uri=True, isolation_level=None)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.execute("PRAGMA quick_check(1)")) as rows:
        said = rows.fetchone()[0]
    if said != "ok":
        raise StateDamaged(f"{path}: {said}")


def _positions(connection: sqlite3.Connection, path: Path) -> list[Position]:
    with closing(connection.execute(_LOAD)) as rows:
        places = {column[0]: place for place, column in enumerate(rows.description)}
        if not places.keys() >= _KINDS.keys() - _ADDED_COLUMNS.keys():
            raise StateDamaged(f"{path}: the table of positions has other columns")
        known = [(name, kind, places[name]) for name, kind in _KINDS.items() if name in places]
        positions = []
        for row in rows:
            values = {name: row[place] for name, _, place in known}
            if not all(isinstance(values[name], kind) for name, kind, _ in known):
                raise StateDamaged(f"{path}: a position has a value of a wrong kind")
            if values["offset"] < 0 or values["head_bytes"] < 0:
                raise StateDamaged(f"{path}: a position is negative")
            positions.append(Position(**values))
    return positions
