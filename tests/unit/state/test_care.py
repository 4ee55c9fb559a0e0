# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterator
from pathlib import Path

import pytest

from logagent.spawn import Spawner
from logagent.state import care as care_module
from logagent.state.care import StateCare
from logagent.state.changes import Position
from logagent.state.database import read_positions
from tests.unit.sources.twins import Told, until

ONE = Position("web", "inode:1:2", "/l/*.log", b"/l/a.log", 7, 4, b"d")


class Rig:
    def __init__(self, directory: Path) -> None:
        self.told = Told()
        self.failures: list[tuple[str, BaseException]] = []
        self.spawner = Spawner(lambda name, error, _: self.failures.append((name, error)))
        self.care = StateCare(directory, self.told, lambda: 1_700_000_000.0)  # type: ignore[arg-type]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.care.stop()


def test_a_sound_state_is_no_reason_for_anything(rig: Rig) -> None:
    assert rig.care.reasons() == []
    assert rig.told.facts == []


def test_at_the_stop_positions_are_saved_and_copied(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.care.book.note(ONE)

    assert rig.care.stop()

    assert {file.name for file in tmp_path.iterdir()} == {"state.db", "state.db.bak"}
    assert read_positions(tmp_path / "state.db") == [ONE]
    assert read_positions(tmp_path / "state.db.bak") == [ONE]


def test_a_damage_is_told_as_an_event_and_stays_a_reason(tmp_path: Path) -> None:
    before = Rig(tmp_path)
    before.care.book.note(ONE)
    before.care.stop()
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)

    rig = Rig(tmp_path)

    [told] = rig.told.of("state_recovered")
    assert "not a database" in told["error"]
    assert rig.care.book.find(*ONE.id) == ONE
    [reason] = rig.care.reasons()
    assert reason.startswith("the state was found damaged (until the next start): ")
    rig.care.book.note(ONE)
    assert rig.care.book.save()
    assert rig.care.reasons() == [reason]
    rig.care.stop()


def test_copies_are_made_again_and_again_and_a_failure_is_told(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care_module, "COPY_EVERY_S", 0.005)
    (tmp_path / "state.db.bak.new").mkdir()  # no draft can be made
    rig.care.start(rig.spawner)
    until(lambda: len(rig.told.of("state_copy_failed")) > 1)

    (tmp_path / "state.db.bak.new").rmdir()
    until(lambda: rig.told.of("state_copied"))

    assert rig.care.reasons() == []
    assert rig.failures == []


def test_a_state_that_cannot_be_opened_is_told_at_once_and_again_when_it_can(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    rig = Rig(tmp_path)
    assert len(rig.told.of("positions_failed")) == 1
    assert "cannot be opened" in rig.care.reasons()[0]
    rig.care.book.note(ONE)
    assert not rig.care.book.save()

    (tmp_path / "state.db").rmdir()
    assert rig.care.book.save()

    assert rig.told.of("positions_back")
    assert read_positions(tmp_path / "state.db") == [ONE]
    assert rig.care.reasons() == []
    rig.care.stop()
