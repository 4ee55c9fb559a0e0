# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from logagent.demo import ledger
from logagent.demo.checker import Checker, percentile
from logagent.demo.ledger import Ledger, Written
from logagent.demo.lines import SERVICES, lines_due, make_line, parse_line

NAME = SERVICES[0].name


def checked(*sequences: int, lines: int = 5, done: bool = True) -> dict[str, object]:
    checker = Checker()
    for sequence in sequences:
        checker.add(make_line(NAME, sequence, 1_000_000), received_ns=3_000_000)
    report = checker.report(Ledger({NAME: Written(lines)}, done))
    found: dict[str, object] = report["services"][NAME]
    return found | {"complete": report["complete"]}


def test_lines_in_order_are_exact() -> None:
    found = checked(0, 1, 2, 3, 4)

    assert (found["arrived"], found["lost"], found["doubled"], found["complete"]) == (5, 0, 0, True)
    assert (found["p50_ms"], found["p99_ms"]) == (2.0, 2.0)


def test_a_line_that_is_jumped_over_is_lost_and_named() -> None:
    found = checked(0, 1, 3, 4)

    assert (found["arrived"], found["lost"], found["first_lost"]) == (4, 1, [2])


def test_a_line_that_comes_again_is_doubled_and_named() -> None:
    found = checked(0, 1, 2, 1, 2, 3, 4)

    assert (found["arrived"], found["doubled"], found["first_doubled"]) == (5, 2, [1, 2])


def test_a_late_line_is_out_of_order_and_not_lost() -> None:
    found = checked(0, 2, 1, 3, 4)

    assert (found["arrived"], found["lost"], found["out_of_order"], found["doubled"]) == (5, 0, 1, 0)


@pytest.mark.parametrize(("lines", "done"), [(6, True), (5, False)])
def test_it_is_not_complete_before_the_last_line_that_the_finished_ledger_knows(
    lines: int, done: bool
) -> None:
    assert not checked(0, 1, 2, 3, 4, lines=lines, done=done)["complete"]


def test_a_line_whose_bytes_changed_is_corrupt() -> None:
    line = make_line(NAME, 7, 1)
    checker = Checker()
    for value in (line.replace(b"HTTP", b"HTTQ"), line[:-1], b"", b"\xff"):
        checker.add(value, 2)

    assert parse_line(line) == (NAME, 7, 1)
    assert checker.report(Ledger())["corrupt"] == 4


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile([], 50) is None
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0
    assert percentile([float(n) for n in range(1, 201)], 99) == 198.0


def test_a_ledger_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    assert ledger.load(path) == Ledger()

    ledger.save(path, Ledger({NAME: Written(9, 2)}, done=True))

    assert ledger.load(path) == Ledger({NAME: Written(9, 2)}, done=True)
    assert [one.name for one in tmp_path.iterdir()] == ["ledger.json"]


def test_a_burst_is_above_the_limit_and_a_cycle_below_it() -> None:
    busy = SERVICES[1]

    assert lines_due(busy, 6.0) - lines_due(busy, 5.0) == 3200 > busy.send_rate_lines_per_s
    assert lines_due(busy, 24.0) - lines_due(busy, 12.0) < 12 * busy.send_rate_lines_per_s
    assert lines_due(busy, 12.0) == lines_due(busy, 24.0) - lines_due(busy, 12.0)
