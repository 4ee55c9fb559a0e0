# SPDX-License-Identifier: Apache-2.0
"""The writer's files hold exactly what its ledger says, however it rotates."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checker import check
from tests.support.consumer import Consumed
from tests.support.lines import Written, load_ledger, save_ledger
from tests.support.waiting import wait_until
from tests.support.writer import Habits, Writer

WriterFactory = Callable[..., Writer]


def on_disk(path: Path) -> list[Consumed]:
    """The lines of all generations of a file, oldest first."""
    old = sorted(path.parent.glob(path.name + ".*"), key=lambda one: -int(one.suffix[1:]))
    generations = [one.read_bytes() for one in [*old, path]]
    assert all(data.endswith(b"\n") or not data for data in generations)
    lines = b"".join(generations)[:-1].split(b"\n")
    return [Consumed(0, number, value) for number, value in enumerate(lines)]


HABITS = {
    "plain": Habits(lines=500),
    "bursts": Habits(lines=500, burst_lines=33),
    "torn": Habits(lines=500, burst_lines=7, torn=True),
    "rotating": Habits(lines=500, rotate_every_lines=100),
    "rotating late": Habits(lines=500, rotate_every_lines=100, late_lines=15),
    "torn, rotating late": Habits(lines=500, burst_lines=7, torn=True, rotate_every_lines=100, late_lines=15),
    "going on": Habits(lines=500, first=1000, rotate_every_lines=300),
}


@pytest.mark.parametrize("habits", HABITS.values(), ids=HABITS)
def test_the_ledger_is_what_is_on_disk(writer: WriterFactory, tmp_path: Path, habits: Habits) -> None:
    paths = {"a": tmp_path / "a.log", "b": tmp_path / "b.log"}

    ledger = writer(paths, habits).wait()

    rotations = (500 - 1) // habits.rotate_every_lines if habits.rotate_every_lines else 0
    for one in ledger:
        report = check([one], on_disk(paths[one.label]))
        report.require_exact(min_lines=500, min_rotations=rotations)
        assert (one.first, one.last) == (habits.first, habits.first + 499)


def test_late_lines_go_to_the_renamed_file(writer: WriterFactory, tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    writer({"a": path}, Habits(lines=150, rotate_every_lines=100, late_lines=15)).wait()

    assert path.with_name("a.log.1").read_bytes().count(b"\n") == 115
    assert path.read_bytes().count(b"\n") == 35


def test_sigterm_completes_the_last_line_and_the_ledger(writer: WriterFactory, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    service = writer({"a": path}, Habits(rate_lines_per_s=5000, burst_lines=10, torn=True))
    wait_until(lambda: service.lines_so_far() > 100, 20, "the writer writes")

    ledger = service.stop()

    check(ledger, on_disk(path)).require_exact(min_lines=100)


def test_the_rate_is_kept(writer: WriterFactory, tmp_path: Path) -> None:
    service = writer({"a": tmp_path / "a.log"}, Habits(rate_lines_per_s=200))
    wait_until(service.lines_so_far, 20, "the writer writes")
    before = service.lines_so_far()

    wait_until(lambda: service.lines_so_far() >= before + 50, 20, "50 lines more")

    assert service.lines_so_far() < before + 50 + 150  # far from as fast as it can


def test_an_unfinished_ledger_is_refused(tmp_path: Path) -> None:
    save_ledger(tmp_path / "ledger", [Written("a", 0, 4)], done=False)

    with pytest.raises(AssertionError, match="has not finished"):
        load_ledger(tmp_path / "ledger")
