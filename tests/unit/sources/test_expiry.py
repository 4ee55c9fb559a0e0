# SPDX-License-Identifier: Apache-2.0
"""Cases 79, 80 and 81 of the catalogue: positions of files that are gone."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.sources import expiry as expiry_module
from logagent.sources import handles
from logagent.sources.expiry import DAY_S, Expiry, Looker, Sight, gone_since
from logagent.sources.identity import inode_identity
from logagent.sources.opening import open_log
from logagent.state.changes import Position
from logagent.state.keeper import Keeper
from logagent.state.positions import PositionBook
from tests.unit.sources.twins import Told

NOW_S = 1_700_000_000
DAYS = 7.0


def position_of(path: Path, **fields: object) -> Position:
    opened = open_log(os.fsencode(path), lambda _path: None)
    os.close(opened.descriptor)
    return _at(path, opened.identity, **fields)


def by_inode(path: Path, **fields: object) -> Position:
    status = path.stat()
    return _at(path, inode_identity(status.st_dev, status.st_ino), **fields)


def _at(path: Path, identity: str, **fields: object) -> Position:
    known = Position("web", identity, "/l/*.log", os.fsencode(path), 5, 0, b"", boot_id=handles.BOOT_ID)
    return replace(known, **fields)  # type: ignore[arg-type]


class Rig:
    def __init__(self, *positions: Position) -> None:
        self.now_s = float(NOW_S)
        self.told = Told()
        self.open: set[tuple[str, str]] = set()
        self.written: list[object] = []
        self.book = PositionBook(list(positions), self.written.append, self.told)  # type: ignore[arg-type]
        self.sights: dict[str, Sight] = {}
        self.while_looking: Callable[[], None] = lambda: None
        self.expiry = Expiry(
            self.book,
            open_ids=lambda: self.open,
            days=lambda: DAYS,
            events=self.told,  # type: ignore[arg-type]
            wall=lambda: self.now_s,
            look=self._look,
        )

    def _look(self, position: Position) -> Sight:
        self.while_looking()
        return self.sights.get(position.identity, Sight.GONE)

    def after(self, days: float) -> list[Position]:
        """Time passes and somebody looks; what is known then."""
        self.now_s += days * DAY_S
        self.expiry.go_through()
        return self.book.all()


ONE = _at(Path("/l/a.log"), "inode:1:2")
TWO = _at(Path("/l/b.log"), "inode:1:3")


def test_case_79_the_position_of_a_deleted_file_goes_after_the_delay_and_no_other() -> None:
    rig = Rig(ONE, TWO)
    rig.sights[TWO.identity] = Sight.HERE

    assert [p.id for p in rig.after(0)] == [ONE.id, TWO.id]
    assert [p.id for p in rig.after(DAYS - 0.1)] == [ONE.id, TWO.id]
    assert rig.after(0.2) == [TWO]
    assert rig.told.of("positions_expired") == [{"files": 1, "days": DAYS}]


def test_case_79_what_cannot_be_looked_for_is_kept_for_ever() -> None:
    rig = Rig(ONE)
    rig.sights[ONE.identity] = Sight.UNKNOWN

    assert rig.after(0) == [ONE]
    assert rig.after(1000) == [ONE]


def test_case_79_the_delay_goes_on_over_a_restart() -> None:
    rig = Rig(ONE)
    [gone] = rig.after(0)

    assert Rig(gone).after(DAYS + 0.1) == []


def test_case_80_a_file_that_comes_back_before_the_time_is_up_is_known_and_its_delay_begins_anew() -> None:
    rig = Rig(ONE)
    rig.after(0)
    rig.after(DAYS - 0.1)
    rig.sights[ONE.identity] = Sight.HERE

    assert rig.after(0.2) == [ONE]
    del rig.sights[ONE.identity]
    assert rig.after(0.2) == [replace(ONE, gone_since_s=int(rig.now_s))]
    assert len(rig.after(DAYS - 0.1)) == 1


def test_case_80_a_file_that_comes_back_while_it_is_looked_for_is_kept() -> None:
    rig = Rig(ONE)
    rig.after(0)
    rig.while_looking = lambda: rig.book.note(replace(ONE, offset=6))

    assert rig.after(DAYS + 1) == [replace(ONE, offset=6)]


def test_a_deleted_file_that_is_still_read_is_not_gone() -> None:
    rig = Rig(ONE)
    rig.open.add(ONE.id)

    rig.after(0)

    assert rig.after(1000) == [ONE]


def test_a_clock_that_was_set_back_counts_from_now_on() -> None:
    assert gone_since(replace(ONE, gone_since_s=NOW_S + 99), Sight.GONE, NOW_S) == NOW_S
    assert gone_since(replace(ONE, gone_since_s=NOW_S - 99), Sight.GONE, NOW_S) == NOW_S - 99


# -- looking -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["as it may", "without the right to open by handle"])
def looker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Looker:
    if request.param != "as it may":
        monkeypatch.setattr(expiry_module, "open_handle", lambda *_: None)
    return Looker()


@pytest.fixture(params=[position_of, by_inode], ids=["handle", "inode"])
def of(request: pytest.FixtureRequest) -> Callable[..., Position]:
    found: Callable[..., Position] = request.param
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a\n\xff.log"
    path.write_text("line\n")
    return path


def test_a_file_is_seen_where_it_was_and_under_another_name(
    looker: Looker, of: Callable[..., Position], log: Path
) -> None:
    known = of(log)
    log.rename(log.with_name("a.log.1"))

    assert looker.look(known) is Sight.HERE


def test_a_deleted_file_and_one_in_a_deleted_directory_are_gone(
    looker: Looker, of: Callable[..., Position], log: Path
) -> None:
    beside = log.with_name("other.log")
    beside.write_text("x")
    known = of(log)
    log.unlink()
    assert looker.look(known) is Sight.GONE

    shutil.rmtree(log.parent)
    assert Looker().look(known) is Sight.GONE


def test_a_file_behind_a_link_is_seen(looker: Looker, of: Callable[..., Position], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.log", tmp_path / "current"
    target.write_text("x")
    link.symlink_to(target)

    assert looker.look(of(link)) is Sight.HERE


def test_where_the_file_system_is_not_mounted_nothing_is_gone(looker: Looker, log: Path) -> None:
    """The directory is there, and empty, and lies on another file system than the file did."""
    log.unlink()
    for identity in ("inode:1:77", "handle:abc:1:0011"):
        known = _at(log, identity)
        assert looker.look(known) is Sight.UNKNOWN
        assert looker.look(replace(known, boot_id="another boot")) is Sight.GONE


@pytest.fixture
def forbidden() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp())
    (place / "in").mkdir()
    (place / "in" / "a.log").write_text("x")
    place.chmod(0o755)
    yield place / "in"
    os.seteuid(0)
    shutil.rmtree(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_case_79_a_file_in_a_directory_that_may_not_be_read_is_not_gone(
    looker: Looker, of: Callable[..., Position], forbidden: Path
) -> None:
    known = of(forbidden / "a.log")
    (forbidden / "a.log").unlink()
    forbidden.chmod(0o000)
    os.seteuid(65534)

    assert looker.look(known) is Sight.UNKNOWN


def test_files_are_really_looked_for(tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept.log", tmp_path / "gone.log"
    for path in (kept, gone):
        path.write_text("x")
    book = PositionBook([position_of(kept), position_of(gone)], lambda _changes: None, Told())  # type: ignore[arg-type]
    expiry = Expiry(book, open_ids=set, days=lambda: 0.0, events=Told(), wall=lambda: NOW_S)  # type: ignore[arg-type]
    gone.unlink()

    assert expiry.go_through() == 0  # seen missing for the first time
    assert expiry.go_through() == 1
    assert [position.path for position in book.all()] == [os.fsencode(kept)]


# -- many --------------------------------------------------------------------------------------------------------------


def test_case_81_after_100_000_files_the_state_is_small_again(tmp_path: Path) -> None:
    """Every file was seen, rotated away and deleted; a hundred are left."""
    keeper = Keeper(tmp_path, lambda: NOW_S)
    keeper.open()
    book = PositionBook([], keeper.save, Told())  # type: ignore[arg-type]
    now_s = [float(NOW_S)]
    left = {f"inode:1:{n}" for n in range(0, 100_000, 1000)}
    expiry = Expiry(
        book,
        open_ids=lambda: {("web", identity) for identity in left},
        days=lambda: DAYS,
        events=Told(),  # type: ignore[arg-type]
        wall=lambda: now_s[0],
        look=lambda _position: Sight.GONE,
    )
    for hundredth in range(4):
        for n in range(hundredth * 25_000, (hundredth + 1) * 25_000):
            book.note(_at(Path(f"/var/log/app/service-{n}.log"), f"inode:1:{n}"))
        book.save()
        expiry.go_through()
        now_s[0] += DAYS * DAY_S
    expiry.go_through()
    assert book.save()
    keeper.back_up()
    keeper.close()

    assert {p.identity for p in Keeper(tmp_path, lambda: NOW_S).open()} == left
    assert sum(file.stat().st_size for file in tmp_path.glob("state.db*")) < 1_000_000
