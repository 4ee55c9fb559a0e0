# SPDX-License-Identifier: Apache-2.0
"""What proves later on that the bytes of a file are those that a segment was made of."""

import pytest
from crc32c import crc32c

from logagent.kafka.record_batch import encode_header_block
from logagent.pipeline.batch import NOT_HASHED, Segment
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render import Render
from tests.unit.pipeline.sources import Source
from tests.unit.pipeline.test_render_row import ROW

RENDER = Render(ROW, encode_header_block)
CONTENT = b"....one\n  \ntwo\nthree\n"


def in_file(starts: tuple[int, ...] | None) -> tuple[Source, Segment]:
    source = Source(offset=4)
    source.content = CONTENT
    begin = 4 if starts else 11
    source.acks.acked_offset = begin
    values = [b"one", b"two", b"three"] if starts else [b"two", b"three"]
    chunk = Chunk(begin, len(CONTENT), values, starts)
    segment = RENDER.segment(source, chunk, 0, crc32c(CONTENT[begin:]), len(CONTENT) - begin)
    source.acks.add(segment)
    return source, segment


def proved(segment: Segment) -> bytes:
    """The bytes that a segment's hash is of, if it is right."""
    data = CONTENT[segment.start_offset :][: segment.hashed_bytes]
    assert segment.source_crc == crc32c(data)
    return data


def test_a_segment_knows_by_which_settings_it_was_made() -> None:
    _, segment = in_file(None)

    assert segment.render is not None
    assert segment.render.id == ROW.id
    assert segment.render.row is ROW


def test_parts_of_plain_lines_are_hashed_without_reading_them_again() -> None:
    source, segment = in_file(None)
    source.content = None

    parts = segment.split(1)

    assert [proved(part) for part in parts] == [b"two\n", b"three\n"]
    assert {part.render for part in parts} == {RENDER}


def test_parts_of_other_lines_are_read_again_when_the_hash_is_asked_for() -> None:
    _, segment = in_file((4, 11, 15))

    first, second = segment.split(1)
    assert (first.hashed_bytes, second.hashed_bytes) == (NOT_HASHED, NOT_HASHED)
    for part in (first, second):
        part.hash_source()

    assert [proved(first), proved(second)] == [b"one\n  \n", b"two\nthree\n"]


def test_what_is_hashed_is_not_read_again() -> None:
    source, segment = in_file((4, 11, 15))
    source.content = None

    segment.hash_source()

    assert proved(segment) == CONTENT[4:]


def test_where_the_bytes_are_gone_nothing_is_proved() -> None:
    source, segment = in_file((4, 11, 15))
    first, _ = segment.split(1)
    source.content = None

    first.hash_source()

    assert (first.source_crc, first.hashed_bytes) == (0, 0)


def test_not_more_is_read_again_than_values_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, segment = in_file((4, 11, 15))
    _, second = segment.split(1)
    monkeypatch.setattr(type(ROW), "most_hashed_bytes", 5)

    second.hash_source()

    assert proved(second) == b"two\nt"
