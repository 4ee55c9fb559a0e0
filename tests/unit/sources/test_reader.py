# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.pipeline.chunk import Chunk
from logagent.sources.encodings import cut
from logagent.sources.reader import parse

pieces = st.sampled_from(
    [b"a", b"bc", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\0", b"\xff", b"\x0b", "é€\U0001f600".encode()]
)
content = st.lists(pieces | st.binary(max_size=4), max_size=30).map(b"".join)
limits = st.integers(1, 12) | st.just(1_000_000)


def naive(data: bytes, start_offset: int, limit: int) -> tuple[list[tuple[int, bytes, int]], int]:
    """(start, value, bytes cut) of each line, and the end: written for clarity, byte by byte."""
    lines = []
    begin = 0
    for at in range(len(data)):
        if data[at : at + 1] != b"\n":
            continue
        line = data[begin:at]
        if line[-1:] == b"\r":
            line = line[:-1]
        kept = line
        if len(line) > limit:
            kept = line[:limit]
            for shorter in range(1, min(4, limit)):  # a character that was cut in two goes as a whole
                if line[len(kept)] & 0xC0 != 0x80:
                    break
                kept = line[: limit - shorter]
            else:
                kept = kept if line[len(kept)] & 0xC0 != 0x80 else line[:limit]
        if kept.strip(b" \t\n\r\x0b\x0c"):
            lines.append((start_offset + begin, kept, len(line) - len(kept)))
        begin = at + 1
    return lines, start_offset + begin


def flat(chunk: Chunk) -> list[tuple[int, bytes, int]]:
    cuts = dict(chunk.cuts)
    starts = chunk.line_starts()
    assert len(starts) == len(chunk.values)
    return [
        (start, value, cuts.get(index, 0))
        for index, (start, value) in enumerate(zip(starts, chunk.values, strict=True))
    ]


@settings(deadline=None)
@given(data=content, start_offset=st.integers(0, 2**40), limit=limits)
@example(b"a\r\r\n", 0, 10)
@example(b"\r\n", 0, 10)
@example(b"a\n\nb\n", 0, 10)
@example(b"\x0c\n", 0, 10)
def test_lines_are_those_of_a_naive_reading(data: bytes, start_offset: int, limit: int) -> None:
    chunk = parse(data, start_offset, limit)

    lines, end_offset = naive(data, start_offset, limit)
    assert flat(chunk) == lines
    assert (chunk.start_offset, chunk.end_offset) == (start_offset, end_offset)


@settings(deadline=None)
@given(data=content, cuts=st.lists(st.integers(0, 80), max_size=6), limit=limits)
def test_it_does_not_matter_where_reads_begin_and_end(data: bytes, cuts: list[int], limit: int) -> None:
    got: list[tuple[int, bytes, int]] = []
    offset = 0
    for end in [*sorted(min(cut_, len(data)) for cut_ in cuts), len(data)]:
        chunk = parse(data[offset:end], offset, limit)
        got += flat(chunk)
        offset = chunk.end_offset

    assert (got, offset) == naive(data, 0, limit)


@settings(deadline=None)
@given(data=content.map(lambda data: data + b"\n"), lines=st.integers(1, 10))
def test_first_lines_and_the_rest_are_the_whole(data: bytes, lines: int) -> None:
    whole = parse(data, 0, 100)
    head = whole.first(lines)
    rest = parse(data[head.end_offset :], head.end_offset, 100)

    assert flat(head) + flat(rest) == flat(whole)
    assert rest.end_offset == whole.end_offset


def test_usual_lines_need_no_starts() -> None:
    assert parse(b"one\ntwo\nthr", 7, 100) == Chunk(7, 15, [b"one", b"two"])


@pytest.mark.parametrize("data", [b"", b"no end", b"\r"])
def test_without_a_newline_nothing_is_covered(data: bytes) -> None:
    chunk = parse(data, 5, 100)

    assert (chunk.end_offset, list(chunk.values)) == (5, [])


@settings(deadline=None)
@given(text=st.text(min_size=1, max_size=20), limit=st.integers(4, 30))
def test_no_character_is_cut_in_two(text: str, limit: int) -> None:
    line = text.encode()

    short = cut(line, limit)

    assert line.startswith(short)
    short.decode()
    assert limit - 3 <= len(short) <= limit or short == line


@settings(deadline=None)
@given(line=st.binary(max_size=30), limit=st.integers(1, 30))
def test_any_bytes_are_cut_to_the_limit_or_three_less(line: bytes, limit: int) -> None:
    short = cut(line, limit)

    assert line.startswith(short)
    assert short == line if len(line) <= limit else max(1, limit - 3) <= len(short) <= limit
