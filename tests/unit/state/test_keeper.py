# SPDX-License-Identifier: Apache-2.0
"""Cases 75, 76, 77 and 78 of the catalogue, as far as one process shows them."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.errors import StateAnew, StateError
from logagent.state import keeper as keeper_module
from logagent.state.changes import Changes, Mark, Position
from logagent.state.database import SCHEMA_VERSION, Database, read_positions
from logagent.state.keeper import FROM_COPY, FROM_NOTHING, KEPT_DAMAGED, Keeper

ONE = Position("web", "inode:1:2", "/l/*.log", b"/l/\xff\n.log", 2**40, 1024, b"\0" * 16)
NOW_S = 1_700_000_000.0


def positions(count: int, offset: int = 7) -> list[Position]:
    return [replace(ONE, identity=f"inode:1:{n}", path=b"/l/%d.log" % n, offset=offset) for n in range(count)]


def changes(of: list[Position]) -> Changes:
    return Changes({position.id: position for position in of})


def keeper(directory: Path, now_s: float = NOW_S) -> Keeper:
    return Keeper(directory, lambda: now_s)


def by_identity(of: list[Position]) -> list[Position]:
    return sorted(of, key=lambda position: int(position.identity.split(":")[2]))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A directory with a state of 200 files at offset 7; its copy says 5."""
    first = keeper(tmp_path)
    assert first.open() == []
    first.save(changes(positions(200, offset=5)))
    first.back_up()
    first.save(changes(positions(200, offset=7)))
    first.close()
    return tmp_path


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_oddly(path: Path) -> None:
    os.truncate(path, 4096 + 1234)


def _scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data) - 4096, 4096):
        data[start : start + 64] = b"\xa5" * 64
    path.write_bytes(data)


def _other_columns(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE positions")
        other.execute("CREATE TABLE positions (something TEXT)")


def _wrong_values(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("UPDATE positions SET offset = 'far' WHERE identity = 'inode:1:3'")


def _negative(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("UPDATE positions SET offset = -1 WHERE identity = 'inode:1:3'")


def _no_utf_8(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("UPDATE positions SET log_path = CAST(x'ff00fe' AS TEXT) WHERE identity = 'inode:1:3'")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "malformed": _scribble,
    "half written": _cut,
    "cut within a page": _cut_oddly,
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "not a database": lambda path: path.write_bytes(b"no database, however long one looks at it\n" * 100),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "other columns": _other_columns,
    "wrong values": _wrong_values,
    "negative": _negative,
    "no text": _no_utf_8,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_case_76_a_damaged_state_is_kept_aside_and_positions_come_from_the_copy(
    filled: Path, damage: str
) -> None:
    DAMAGES[damage](filled / "state.db")
    damaged = (filled / "state.db").read_bytes() if damage != "gone" else None

    second = keeper(filled)
    found = second.open()

    assert by_identity(found) == positions(200, offset=5)
    assert second.recovery is not None
    assert second.recovery.source == FROM_COPY
    assert second.lost
    assert second.trouble == ""
    assert str(filled / "state.db.bad-20231114T221320Z") in second.fault
    if damaged is not None:
        assert (filled / "state.db.bad-20231114T221320Z").read_bytes() == damaged
    second.save(changes(positions(1, offset=9)))
    second.close()
    third = keeper(filled)
    assert by_identity(third.open()) == [*positions(1, offset=9), *positions(200, offset=5)[1:]]
    assert (third.fault, third.recovery, third.lost) == ("", None, False)
    third.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_case_76_without_a_good_copy_the_agent_starts_with_nothing(filled: Path, damage: str) -> None:
    DAMAGES[damage](filled / "state.db")
    _scribble(filled / "state.db.bak")

    second = keeper(filled)

    assert second.open() == []
    assert second.recovery is not None
    assert second.recovery.source == FROM_NOTHING
    assert second.lost
    second.close()


def test_a_first_start_is_no_damage(tmp_path: Path) -> None:
    first = keeper(tmp_path)

    assert first.open() == []
    assert (first.fault, first.trouble, first.lost, first.recovery) == ("", "", False, None)
    first.close()


def test_an_agent_killed_while_it_made_its_first_state_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"")

    first = keeper(tmp_path)

    assert first.open() == []
    assert not first.lost
    first.close()


def test_damaged_files_do_not_pile_up(filled: Path) -> None:
    for second in range(3 * KEPT_DAMAGED):
        (filled / "state.db").write_bytes(b"garbage" * 1000)
        again = keeper(filled, NOW_S + second)
        again.open()
        again.close()

    assert len(list(filled.glob("state.db.bad-*Z"))) == KEPT_DAMAGED


def test_nobody_else_may_read_copies_and_damaged_files(filled: Path) -> None:
    (filled / "state.db").write_bytes(b"garbage" * 1000)
    again = keeper(filled)
    again.open()
    again.back_up()
    again.close()

    assert {oct(file.stat().st_mode & 0o777) for file in filled.iterdir()} == {"0o600"}


def test_the_copy_is_whole_while_the_state_is_in_use(filled: Path) -> None:
    first = keeper(filled)
    first.open()
    first.save(changes(positions(200, offset=11)))

    first.back_up()

    assert by_identity(read_positions(filled / "state.db.bak")) == positions(200, offset=11)
    first.close()


def test_a_copy_that_cannot_be_written_leaves_the_old_one(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keeper(filled)
    first.open()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateError, match="No space left"):
        first.back_up()

    assert by_identity(read_positions(filled / "state.db.bak")) == positions(200, offset=5)
    assert not (filled / "state.db.bak.new").exists()
    first.close()


def test_a_state_that_is_damaged_while_the_agent_runs_is_replaced_and_written_whole(filled: Path) -> None:
    first = keeper(filled)
    first.open()
    (filled / "state.db").unlink()

    with pytest.raises(StateError, match="removed"):
        first.save(changes(positions(1, offset=9)))
    with pytest.raises(StateAnew):
        first.save(changes(positions(1, offset=9)))
    first.save(changes(positions(200, offset=9)))
    first.close()

    assert by_identity(keeper(filled).open()) == positions(200, offset=9)


def test_space_is_given_back_when_most_of_it_is_free(tmp_path: Path) -> None:
    first = keeper(tmp_path)
    first.open()
    many = positions(20_000)
    first.save(changes(many))
    first.save(Changes(forgotten={position.id for position in many[10:]}))
    first.back_up()
    first.close()

    assert (tmp_path / "state.db").stat().st_size < 100_000
    assert (tmp_path / "state.db.bak").stat().st_size < 100_000
    assert by_identity(keeper(tmp_path).open()) == many[:10]


# -- case 77: schemas --------------------------------------------------------------------------------------------------

VERSION_1 = """
CREATE TABLE positions (
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


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(VERSION_1)
    connection.execute("PRAGMA user_version = 1")
    row = (ONE.service, ONE.identity, ONE.log_path, ONE.path, ONE.offset, ONE.head_bytes, ONE.head_digest)
    connection.execute("INSERT INTO positions VALUES (?, ?, ?, ?, ?, ?, ?, 1)", row)
    connection.commit()
    connection.close()
    return tmp_path


def test_case_77_a_state_of_version_1_is_upgraded_in_place_and_offsets_stay(version_1: Path) -> None:
    first = keeper(version_1)

    assert first.open() == [ONE]
    first.save(Changes({ONE.id: replace(ONE, boot_id="b")}, {ONE.id: [Mark(*ONE.id, 1, 2, b"m")]}))
    first.close()

    with sqlite3.connect(version_1 / "state.db") as other:
        assert other.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    again = Database(version_1 / "state.db")
    assert again.load_positions() == [replace(ONE, boot_id="b")]
    again.close()


def test_case_77_before_an_upgrade_the_state_is_copied_as_it_was(version_1: Path) -> None:
    keeper(version_1).open()

    with sqlite3.connect(version_1 / "state.db.bak") as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert [row[1] for row in copy.execute("PRAGMA table_info(positions)")][-1] == "updated_s"


def test_case_77_the_release_before_goes_on_with_the_upgraded_state(version_1: Path) -> None:
    keeper(version_1).open()
    old_release = sqlite3.connect(version_1 / "state.db")
    old_release.execute(
        "INSERT INTO positions (service, identity, log_path, path, offset, head_bytes, head_digest)"
        " VALUES ('web', 'inode:9:9', '/l', x'2f', 3, 0, x'')"
    )
    old_release.commit()
    old_release.close()

    assert Position("web", "inode:9:9", "/l", b"/", 3, 0, b"") in keeper(version_1).open()


def test_case_77_columns_and_tables_of_a_newer_release_are_kept_through_every_kind_of_change(
    filled: Path,
) -> None:
    with sqlite3.connect(filled / "state.db") as newer:
        newer.execute("ALTER TABLE positions ADD COLUMN colour TEXT DEFAULT 'red'")
        newer.execute("UPDATE positions SET colour = identity")
        newer.execute("CREATE TABLE intents (what BLOB)")
        newer.execute("INSERT INTO intents VALUES (x'01')")
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 5}")

    release = keeper(filled)
    assert by_identity(release.open()) == positions(200)
    release.save(changes(positions(200, offset=8)))
    release.save(Changes(moved={("web", "inode:1:3"): ("web", "handle:3")}))
    release.back_up()
    release.close()

    for name in ("state.db", "state.db.bak"):
        with sqlite3.connect(filled / name) as newer:
            colours = dict(newer.execute("SELECT identity, colour FROM positions").fetchall())
            assert colours["inode:1:4"] == "inode:1:4"
            assert colours["handle:3"] == "inode:1:3"
            assert newer.execute("SELECT what FROM intents").fetchall() == [(b"\1",)]
            assert newer.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 5,)


# -- case 75: power cuts -----------------------------------------------------------------------------------------------

PAGE_BYTES = 4096
FRAME_BYTES = PAGE_BYTES + 24


def _states(directory: Path) -> tuple[list[bytes], list[bytes]]:
    """The database file (the same all the time) and its write-ahead log after each of a few saves."""
    database = Database(directory / "state.db")
    database._connection.execute("PRAGMA wal_autocheckpoint = 0")
    database.save(changes(positions(300, offset=0)))
    database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    logs = [b""]
    for offset in range(1, 6):
        database.save(changes(positions(300, offset=offset)))
        logs.append((directory / "state.db-wal").read_bytes())
    before = (directory / "state.db").read_bytes()
    database._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    after = (directory / "state.db").read_bytes()
    database.close()
    return [before, after], logs


def _after_cut(directory: Path, main: bytes, log: bytes) -> set[int]:
    """The offsets that are found after a power cut left just this."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "state.db").write_bytes(main)
    (directory / "state.db-wal").write_bytes(log)
    found = keeper(directory)
    offsets = {position.offset for position in found.open()}
    assert found.recovery is None, found.fault
    found.close()
    return offsets


def test_case_75_after_a_power_cut_while_positions_are_saved_the_state_is_an_old_or_the_new_one(
    tmp_path: Path,
) -> None:
    dice = random.Random(75)
    (before, _), logs = _states(tmp_path)
    for _ in range(60):
        written = bytearray(dice.choice(logs[1:]))
        if dice.random() < 0.5:
            del written[dice.randrange(len(written)) :]  # the rest never came to the disk
        else:  # sectors in the middle did not, while later ones did
            for _ in range(dice.randrange(1, 5)):
                sector = dice.randrange(len(written) // 512) * 512
                written[sector : sector + 512] = bytes(512)
        offsets = _after_cut(tmp_path / "cut", before, bytes(written))
        assert len(offsets) == 1, offsets
        assert offsets <= set(range(6))


def test_case_75_after_a_power_cut_in_a_checkpoint_nothing_that_was_saved_is_missing(tmp_path: Path) -> None:
    dice = random.Random(76)
    (before, after), logs = _states(tmp_path)
    for _ in range(40):
        torn = bytearray(after)
        for page in range(len(before) // PAGE_BYTES):
            if dice.random() < 0.5:
                torn[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = before[
                    page * PAGE_BYTES : (page + 1) * PAGE_BYTES
                ]
        assert _after_cut(tmp_path / "cut", bytes(torn), logs[-1]) == {5}


def test_case_75_a_power_cut_while_the_copy_is_written_leaves_the_old_copy(filled: Path) -> None:
    (filled / "state.db.bak.new").write_bytes((filled / "state.db.bak").read_bytes()[:5000])
    (filled / "state.db").write_bytes(b"garbage" * 1000)

    second = keeper(filled)

    assert by_identity(second.open()) == positions(200, offset=5)
    second.back_up()
    second.close()


# -- case 78: nothing can be written -----------------------------------------------------------------------------------


@pytest.fixture
def unwritable(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whoever opens the state for writing is refused, until the patch is undone."""

    def refuse(path: Path, _before_migration: Path | None = None, **_options: bool) -> Database:
        raise StateError(f"{path}: cannot be opened: Read-only file system")

    monkeypatch.setattr(keeper_module, "Database", refuse)
    return filled


def test_case_78_positions_are_read_where_nothing_can_be_written(unwritable: Path) -> None:
    second = keeper(unwritable)

    assert by_identity(second.open()) == positions(200, offset=7)
    assert "Read-only file system" in second.trouble
    assert (second.fault, second.lost) == ("", False)
    with pytest.raises(StateError, match="Read-only"):
        second.save(changes(positions(1)))
    assert second.load_marks(*ONE.id) == []
    second.back_up()  # nothing to copy
    assert by_identity(read_positions(unwritable / "state.db.bak")) == positions(200, offset=5)


def test_case_78_a_damaged_state_that_cannot_be_moved_aside_leaves_the_copy_to_read(unwritable: Path) -> None:
    (unwritable / "state.db").write_bytes(b"garbage" * 1000)

    second = keeper(unwritable)

    assert by_identity(second.open()) == positions(200, offset=5)
    assert "not a database" in second.fault
    assert second.lost


def test_case_78_an_emptied_state_that_cannot_be_replaced_leaves_the_copy_to_read(unwritable: Path) -> None:
    (unwritable / "state.db").write_bytes(b"")

    second = keeper(unwritable)

    assert by_identity(second.open()) == positions(200, offset=5)
    assert second.lost


def test_case_78_when_it_can_be_written_again_everything_is_asked_for(
    unwritable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = keeper(unwritable)
    second.open()
    monkeypatch.undo()

    with pytest.raises(StateAnew) as asked:
        second.save(changes(positions(1)))
    assert not asked.value.kept_as
    second.save(changes(positions(200, offset=9)))
    second.close()

    assert by_identity(keeper(unwritable).open()) == positions(200, offset=9)
    assert second.trouble == ""
