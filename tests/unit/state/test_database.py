# SPDX-License-Identifier: Apache-2.0

import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.errors import StateDamaged, StateError
from logagent.state.changes import MARKS_PER_FILE, Changes, Mark, Position
from logagent.state.database import SCHEMA_VERSION, Database

ONE = Position("web", "inode:1:2", "/l/*.log", b"/l/\xff\n.log", 2**40, 1024, b"\0" * 16)
TWO = Position("web", "inode:1:3", "/l/*.log", b"/l/b.log", 0, 0, b"")


def changes(positions: list[Position]) -> Changes:
    return Changes({position.id: position for position in positions})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    made = Database(path)
    yield made
    made.close()


def test_a_new_database_has_no_positions(database: Database) -> None:
    assert database.load_positions() == []


def test_positions_come_back_as_they_were_saved(database: Database, path: Path) -> None:
    database.save(changes([ONE, TWO]))
    database.close()

    again = Database(path)
    assert sorted(again.load_positions(), key=lambda p: p.identity) == [ONE, TWO]
    again.close()


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
positions = st.builds(
    Position,
    text,
    text,
    text,
    st.binary(),
    st.integers(0, 2**62),
    st.integers(0, 1024),
    st.binary(max_size=16),
)


@settings(max_examples=30, deadline=None)
@given(saved=st.lists(st.lists(positions, max_size=4), max_size=4))
def test_the_last_save_of_each_file_counts(saved: list[list[Position]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        database = Database(Path(place, "state.db"))
        for batch in saved:
            database.save(changes(batch))
        loaded = database.load_positions()
        database.close()

    expected = {position.id: position for batch in saved for position in batch}
    assert {position.id: position for position in loaded} == expected


def test_a_save_that_fails_changes_nothing(database: Database) -> None:
    database.save(changes([ONE]))
    bad = Position("web", "x", "/l", b"", "no number", 0, None)  # type: ignore[arg-type]

    with pytest.raises(StateError, match="cannot be written"):
        database.save(changes([TWO, bad]))

    assert database.load_positions() == [ONE]
    database.save(changes([TWO]))
    assert len(database.load_positions()) == 2


def test_nobody_else_may_read_the_state(database: Database, path: Path) -> None:
    database.save(changes([ONE]))

    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal"]
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}


def test_the_state_is_kept_in_a_write_ahead_log(database: Database, path: Path) -> None:
    database.save(changes([ONE]))

    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT count(*) FROM positions").fetchone() == (1,)


def test_what_was_saved_survives_an_end_without_close(database: Database, path: Path, tmp_path: Path) -> None:
    database.save(changes([ONE]))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.parent.glob("state.db*"):
        (copy / file.name).write_bytes(file.read_bytes())

    after_crash = Database(copy / "state.db")

    assert after_crash.load_positions() == [ONE]
    after_crash.close()


def test_opening_again_keeps_what_is_there(database: Database, path: Path) -> None:
    database.save(changes([ONE]))

    second = Database(path)

    assert second.load_positions() == [ONE]
    second.close()


def test_the_schema_of_a_newer_release_is_kept(path: Path) -> None:
    Database(path).close()
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE positions ADD COLUMN colour TEXT")
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 7}")

    database = Database(path)
    database.save(changes([ONE]))
    assert database.load_positions() == [ONE]
    database.close()

    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 7,)


def test_a_file_that_is_no_database_is_an_error_that_names_it(path: Path) -> None:
    path.write_bytes(b"this is not a database, however long one looks at it\n" * 100)

    with pytest.raises(StateError, match=r"state\.db: cannot be opened: file is not a database"):
        Database(path)


def test_a_directory_in_its_place_is_an_error(path: Path) -> None:
    path.mkdir()

    with pytest.raises(StateError, match="cannot be opened"):
        Database(path)


def test_a_damaged_table_is_an_error_when_it_is_read(path: Path) -> None:
    Database(path).close()
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE positions")
        other.execute("CREATE TABLE positions (something TEXT)")
    database = Database(path)

    with pytest.raises(StateDamaged, match="other columns"):
        database.load_positions()
    database.close()


def test_a_full_disk_is_an_error_and_the_next_save_works(database: Database, path: Path) -> None:
    pages = database._connection.execute("PRAGMA page_count").fetchone()[0]
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [Position("web", f"inode:1:{n}", "/l", b"x" * 500, n, 0, b"") for n in range(1000)]

    with pytest.raises(StateError, match="full"):
        database.save(changes(many))

    database._connection.execute("PRAGMA max_page_count = 1000000")
    database.save(changes(many))
    assert len(database.load_positions()) == 1000


def test_a_database_that_was_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    path.unlink()
    with pytest.raises(StateDamaged, match="removed"):
        database.save(changes([]))
    path.write_bytes(b"")
    with pytest.raises(StateDamaged, match="replaced"):
        database.save(changes([]))
    database.close()


def mark(offset: int, identity: str = ONE.identity) -> Mark:
    return Mark(ONE.service, identity, offset, 1_700_000_000 + offset, b"m%d" % offset)


def test_marks_come_back_by_offset(database: Database) -> None:
    database.save(Changes(marks={ONE.id: [mark(9), mark(5)]}))
    database.save(Changes(marks={ONE.id: [mark(7)], TWO.id: [mark(1, TWO.identity)]}))

    assert database.load_marks(*ONE.id) == [mark(5), mark(7), mark(9)]


def test_marks_of_a_file_are_thinned_out(database: Database) -> None:
    for offset in range(500):
        database.save(Changes(marks={ONE.id: [mark(offset)]}))

    kept = database.load_marks(*ONE.id)
    assert 16 < len(kept) <= MARKS_PER_FILE
    assert kept[-16:] == [mark(n) for n in range(484, 500)]


def test_forgetting_a_file_takes_its_position_and_marks_and_nothing_else(database: Database) -> None:
    both = {ONE.id: [mark(1)], TWO.id: [mark(2, TWO.identity)]}
    database.save(Changes({ONE.id: ONE, TWO.id: TWO}, both))

    database.save(Changes(forgotten={ONE.id}))

    assert database.load_positions() == [TWO]
    assert (database.load_marks(*ONE.id), database.load_marks(*TWO.id)) == ([], both[TWO.id])


def test_void_marks_go_before_the_new_ones_are_written(database: Database) -> None:
    database.save(Changes(marks={ONE.id: [mark(1)]}))

    database.save(Changes({ONE.id: ONE}, {ONE.id: [mark(2)]}, unmarked={ONE.id}))

    assert database.load_marks(*ONE.id) == [mark(2)]
    assert database.load_positions() == [ONE]


def test_position_and_marks_go_on_under_another_identity(database: Database) -> None:
    moved = ("web", "handle:1")
    database.save(Changes({ONE.id: ONE}, {ONE.id: [mark(1)], moved: [mark(5, moved[1])]}))

    database.save(Changes(moved={ONE.id: moved}))

    assert database.load_positions() == [replace(ONE, identity=moved[1])]
    assert database.load_marks(*moved) == [mark(1, moved[1]), mark(5, moved[1])]


def test_how_far_a_file_was_delivered_that_could_not_be_opened_comes_back(database: Database) -> None:
    delivered = replace(ONE, delivered_offset=2**41)

    database.save(changes([delivered, TWO]))

    assert sorted(database.load_positions(), key=lambda p: p.identity) == [delivered, TWO]


def test_renders_come_back_until_they_are_forgotten(database: Database) -> None:
    database.save(Changes(renders={b"\0a": b"{}", b"b": b"[]"}))
    assert database.load_renders() == {b"\0a": b"{}", b"b": b"[]"}

    database.save(Changes(renders_forgotten={b"b"}))

    assert database.load_renders() == {b"\0a": b"{}"}


@pytest.mark.parametrize(("full_sync", "level"), [(False, 1), (True, 2)])
def test_what_outlives_a_power_cut_is_the_operators_choice(path: Path, full_sync: bool, level: int) -> None:
    made = Database(path, full_sync=full_sync)
    assert made._connection.execute("PRAGMA synchronous").fetchone() == (level,)
    made.close()
