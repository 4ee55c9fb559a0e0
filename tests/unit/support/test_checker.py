# SPDX-License-Identifier: Apache-2.0
"""The checker is the judge of every delivery test, so it is tried itself: each kind of fault must be named."""

import pytest

from tests.support.checker import check
from tests.support.consumer import Consumed
from tests.support.lines import Line, Written, make_line, parse_line

LEDGER = [Written("a", 0, 9, rotations=2), Written("b", 100, 104)]


def delivered() -> list[Consumed]:
    """Both files, as a correct agent leaves them: a in partition 0, b in partition 1."""
    a = [Consumed(0, n, make_line("a", n, 80)) for n in range(10)]
    return a + [Consumed(1, n, make_line("b", 100 + n, 80)) for n in range(5)]


def test_every_line_once_and_in_order_is_exact() -> None:
    report = check(LEDGER, reversed(delivered()), faults=3)

    assert report.exact
    assert (report.lines, report.records, report.rotations, report.faults) == (15, 15, 2, 3)
    assert report.partitions == {"a": {0}, "b": {1}}
    report.require_exact(min_lines=15, min_faults=3, min_rotations=2)


def test_a_removed_record_is_named() -> None:
    records = delivered()
    del records[4]

    report = check(LEDGER, records)

    assert not report.exact
    assert report.lost == [Line("a", 4)]
    assert "1 lost (first: a 4)" in str(report)


def test_a_doubled_record_is_named() -> None:
    records = [*delivered(), Consumed(1, 5, make_line("b", 102, 80))]

    report = check(LEDGER, records)

    assert not report.exact
    assert report.doubled == [Line("b", 102)]
    assert report.out_of_order == []
    assert "1 doubled (first: b 102)" in str(report)


def test_one_removed_and_one_doubled_do_not_cancel_out() -> None:
    records = delivered()
    records[4] = records[4]._replace(value=records[3].value)

    report = check(LEDGER, records)

    assert (report.lost, report.doubled) == ([Line("a", 4)], [Line("a", 3)])


def test_the_same_line_in_two_partitions_is_doubled() -> None:
    report = check(LEDGER, [*delivered(), Consumed(2, 0, make_line("a", 0, 80))])

    assert report.doubled == [Line("a", 0)]
    assert report.partitions["a"] == {0, 2}


def test_swapped_lines_of_one_file_are_out_of_order() -> None:
    records = delivered()
    records[6], records[7] = (
        records[6]._replace(value=records[7].value),
        records[7]._replace(value=records[6].value),
    )

    report = check(LEDGER, records)

    assert not report.exact
    assert report.out_of_order == [Line("a", 6)]
    assert (report.lost, report.doubled) == ([], [])


def test_order_counts_within_a_partition_only() -> None:
    records = [Consumed(n % 2, 9 - n // 2, make_line("a", 9 - n, 80)) for n in range(10)]

    report = check([Written("a", 0, 9)], records)

    assert report.out_of_order == []


def test_a_changed_byte_is_corrupt_and_its_line_lost() -> None:
    records = delivered()
    value = bytearray(records[2].value or b"")
    value[-1] ^= 1
    records[2] = records[2]._replace(value=bytes(value))

    report = check(LEDGER, records)

    assert report.lost == [Line("a", 2)]
    assert len(report.corrupt) == 1
    assert report.corrupt[0].startswith("0/2 b'a 2 ")


@pytest.mark.parametrize("value", [None, b"", b"half a li", b"a x 00000000 pad"])
def test_a_record_without_a_proven_line_is_corrupt(value: bytes | None) -> None:
    report = check(LEDGER, [*delivered(), Consumed(2, 7, value)])

    assert not report.exact
    assert report.corrupt[0].startswith("2/7 ")


@pytest.mark.parametrize("line", [Line("a", 10), Line("b", 0), Line("c", 1)])
def test_a_line_that_nobody_wrote_is_foreign(line: Line) -> None:
    report = check(LEDGER, [*delivered(), Consumed(2, 0, make_line(*line, 80))])

    assert not report.exact
    assert report.foreign == [line]


def test_no_lines_prove_nothing() -> None:
    assert not check([], []).exact
    assert not check([Written("a", 0, -1)], []).exact


def test_a_proof_without_enough_lines_faults_or_rotations_is_refused() -> None:
    report = check(LEDGER, delivered(), faults=1)

    with pytest.raises(AssertionError, match="Only 15 lines, wanted 16"):
        report.require_exact(min_lines=16)
    with pytest.raises(AssertionError, match="Only 1 faults, wanted 2"):
        report.require_exact(min_faults=2)
    with pytest.raises(AssertionError, match="Only 2 rotations, wanted 3"):
        report.require_exact(min_rotations=3)


def test_a_report_that_is_not_exact_names_only_the_first_few() -> None:
    with pytest.raises(AssertionError, match=r"15 lost \(first: a 0, a 1, a 2, a 3, a 4\)"):
        check(LEDGER, []).require_exact()


@pytest.mark.parametrize("size_bytes", [1, 30, 200, 2304, 990_000])
def test_a_line_has_the_size_asked_for_and_proves_itself(size_bytes: int) -> None:
    for sequence in (0, 7, 123_456_789):
        line = make_line("front-1", sequence, size_bytes)

        assert len(line) == max(size_bytes, len(f"front-1 {sequence} ") + 9)
        assert b"\n" not in line
        assert parse_line(line) == Line("front-1", sequence)
