# SPDX-License-Identifier: Apache-2.0

from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.pipeline.chunk import Chunk


def test_lines_back_to_back_begin_one_byte_after_the_one_before() -> None:
    chunk = Chunk(100, 110, [b"ab", b"c", b"def"])

    assert list(chunk.line_starts()) == [100, 103, 105]


def test_a_chunk_without_lines_has_no_line_starts() -> None:
    assert list(Chunk(7, 9, []).line_starts()) == []


def test_given_starts_are_used_as_they_are() -> None:
    assert list(Chunk(0, 10, [b"a", b"b"], [2, 7]).line_starts()) == [2, 7]


def test_the_first_lines_end_where_the_next_one_begins() -> None:
    chunk = Chunk(100, 110, [b"ab", b"c", b"def"])

    assert chunk.first(2) == Chunk(100, 105, [b"ab", b"c"])


def test_the_first_lines_cover_blank_lines_up_to_the_next_one() -> None:
    chunk = Chunk(0, 20, [b"a", b"b", b"c"], [0, 5, 9])

    assert chunk.first(2) == Chunk(0, 9, [b"a", b"b"], [0, 5])


def test_the_first_lines_take_their_cuts_along_and_leave_the_others() -> None:
    chunk = Chunk(0, 40, [b"a", b"b", b"c"], [0, 9, 19], ((0, 7), (2, 19)))

    assert chunk.first(1).cuts == ((0, 7),)
    assert chunk.first(2).cuts == ((0, 7),)
    assert chunk.first(3).cuts == ((0, 7), (2, 19))


def test_more_lines_than_there_are_is_the_chunk_itself() -> None:
    chunk = Chunk(0, 4, [b"a", b"b"])

    assert chunk.first(2) is chunk
    assert chunk.first(9) is chunk


def test_no_lines_cover_nothing_of_a_chunk_that_begins_with_a_line() -> None:
    assert Chunk(5, 9, [b"a", b"b"]).first(0) == Chunk(5, 5, [])


@settings(deadline=None)
@given(
    values=st.lists(st.binary(min_size=1, max_size=5).filter(lambda v: b"\n" not in v)),
    lines=st.integers(0, 9),
)
def test_given_and_derived_starts_cut_at_the_same_place(values: list[bytes], lines: int) -> None:
    end_offset = 50 + sum(len(value) + 1 for value in values)
    derived = Chunk(50, end_offset, values)
    given_ = Chunk(50, end_offset, values, list(derived.line_starts()))

    cut, same = derived.first(lines), given_.first(lines)

    assert (cut.end_offset, cut.values, list(cut.line_starts())) == (
        same.end_offset,
        same.values,
        same.starts,
    )
