# SPDX-License-Identifier: Apache-2.0
import io

import pytest
from rich.console import Console

from logagent.demo.snapshot import Snapshot, judge
from logagent.demo.view import bar, duration, plain_lines, screen
from tests.unit.demo.shots import shot

HINTS = [
    ("logagent status -c /tmp/logagent-demo-x/logagent.ini", "the agent's own view"),
    ("make kafka", "real"),
]


def drawn(of: Snapshot, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(screen(of, width, HINTS))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 64, 80, 120])
def test_nothing_is_wider_than_the_terminal_and_no_number_is_cut(width: int) -> None:
    text = drawn(shot(written=123_456_789, lost=12, p99_ms=1234.0), width)

    assert all(len(line) <= width for line in text.splitlines()), text
    for word in ("123,456,789", "12,345", "1.2 s", "lost", "p99", "12 s", "in-memory test broker"):
        assert word in text, text
    body = text if width >= 80 else text.partition("───")[2]  # a narrow screen shortens the services' names
    assert "…" not in body, text


def test_the_screen_of_a_usual_terminal_fits_without_scrolling() -> None:
    assert len(drawn(shot(), 80).splitlines()) <= 22


def test_commands_stay_copyable_and_are_explained_where_there_is_room() -> None:
    assert HINTS[0][0] in drawn(shot(), 80).replace("\n", "")
    assert "# the agent's own view" in drawn(shot(), 100)
    assert "# the agent's own view" not in drawn(shot(), 60)


def test_a_kill_is_told_and_excuses_nothing() -> None:
    chaos = drawn(shot(doubled=3, chaos=True, kills=2), 200)
    assert "duplicated" in chaos
    assert "Chaos" in chaos


def test_plain_text_has_a_line_per_service_and_one_for_the_agent() -> None:
    lines = plain_lines(shot(lost=4))

    assert len(lines) == 3
    assert "test_service: written 12345, acknowledged 12345" in lines[0]
    assert "lost 4, duplicated 0" in lines[0]


def test_values_have_units() -> None:
    assert [duration(value) for value in (None, 7.4, 999.4, 1500)] == ["-", "7 ms", "999 ms", "1.5 s"]
    assert [bar(share, 4) for share in (-1, 0, 0.5, 1, 9)] == ["░░░░", "░░░░", "██░░", "████", "████"]


def test_an_exact_end_is_one_sentence() -> None:
    verdict = judge(shot(), drained_for_s=30)

    assert verdict.exact
    assert verdict.sentences == ["24,690 lines written, 24,690 in Kafka, 6 rotations: lost 0, duplicated 0."]


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        ({"arrived": 12_343, "lost": 2, "first_lost": (7, 9)}, "test_service: 2 lines are missing: 7, 9."),
        ({"doubled": 9, "first_doubled": (1, 2)}, "test_service: 9 lines came twice: 1, 2 ..."),
        ({"out_of_order": 1}, "test_service: 1 lines came after a later one."),
        ({"beyond": 3}, "test_service: 3 lines arrived that nobody wrote."),
        ({"arrived": 12_000}, "More was written than consumed in time: 345 lines had not arrived 30 s after"),
    ],
)
def test_what_is_not_exact_is_named(first: dict[str, object], sentence: str) -> None:
    verdict = judge(shot(**first), drained_for_s=30)

    assert not verdict.exact
    assert sentence in " ".join(verdict.sentences)


def test_lines_that_wait_when_it_is_interrupted_are_not_lost() -> None:
    verdict = judge(shot(arrived=12_000, complete=False), drained_for_s=None)

    assert verdict.exact
    assert "345 lines were still waiting in their files" in verdict.sentences[1]


@pytest.mark.parametrize("kills", [0, 1])
def test_a_line_that_came_twice_is_a_fault_after_a_kill_too(kills: int) -> None:
    assert not judge(shot(doubled=3, chaos=True, kills=kills), drained_for_s=60).exact
    assert judge(shot(chaos=True, kills=kills), drained_for_s=60).exact


def test_nothing_written_proves_nothing() -> None:
    empty = Snapshot(1, [], "", "")

    assert not judge(empty, drained_for_s=30).exact
