# SPDX-License-Identifier: Apache-2.0

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.kafka import record_batch
from logagent.pipeline.batch import Segment
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render import Render
from logagent.pipeline.render_row import RenderRow
from tests.unit.kafka import decoder
from tests.unit.pipeline.sources import Source

CHUNK = Chunk(100, 120, [b"one", b"two"], [103, 112])


def render(
    chunk: Chunk = CHUNK,
    *,
    format_: str = "raw",
    headers: str = "none",
    key: str = "none",
    path: bytes = b"/var/log/a.log",
    host: str = "10.0.0.7",
    service: str = "web",
) -> Segment:
    row = RenderRow(
        host=host,
        service=service,
        path=path,
        log_path="/var/log/*.log",
        format=format_,
        headers=headers,
        key=key,
        max_line_bytes=1000,
    )
    made = Render(row, record_batch.encode_header_block)
    return made.segment(Source(offset=chunk.start_offset), chunk, 1_700_000_000_123)


def records(segment: Segment) -> tuple[decoder.Record, ...]:
    group = record_batch.Records(segment.values, segment.key, segment.headers)
    return decoder.decode(record_batch.encode([group], timestamp_ms=0)).records


def test_raw_lines_are_the_very_objects_that_were_read() -> None:
    segment = render()

    assert segment.values is CHUNK.values
    assert segment.starts is CHUNK.starts
    assert (segment.start_offset, segment.end_offset) == (100, 120)
    assert (segment.key, segment.headers) == (None, None)


@pytest.mark.parametrize(
    ("key", "expected"), [("none", None), ("service", "wéb".encode()), ("path", b"/l\xff.log")]
)
def test_the_key_is_nothing_the_service_or_the_path_as_on_disk(key: str, expected: bytes | None) -> None:
    segment = render(key=key, service="wéb", path=b"/l\xff.log")

    assert {record.key for record in records(segment)} == {expected}


def test_origin_headers_tell_where_each_line_comes_from() -> None:
    segment = render(headers="origin", path=b"/a\nb\xff.log")

    assert [record.headers for record in records(segment)] == [
        (
            (b"host", b"10.0.0.7"),
            (b"service", b"web"),
            (b"path", b"/a\nb\xff.log"),
            (b"offset", b"%d" % offset),
        )
        for offset in (103, 112)
    ]
    assert [record.value for record in records(segment)] == [b"one", b"two"]


def test_json_says_who_where_when_and_what() -> None:
    assert [json.loads(value) for value in render(format_="json").values] == [
        {
            "host": "10.0.0.7",
            "service": "web",
            "path": "/var/log/a.log",
            "offset": offset,
            "ts": 1_700_000_000_123,
            "message": message,
        }
        for offset, message in ((103, "one"), (112, "two"))
    ]


def test_json_offsets_of_lines_back_to_back_follow_from_their_lengths() -> None:
    values = render(Chunk(5, 12, [b"abc", b"de"]), format_="json").values

    assert [json.loads(value)["offset"] for value in values] == [5, 9]


def test_json_shows_a_path_that_is_not_utf8_with_backslashes() -> None:
    (value, _) = render(format_="json", path=b'/a\nb\xff}".log').values

    assert json.loads(value)["path"] == '/a\nb\\xff}".log'


def test_json_and_headers_go_together() -> None:
    segment = render(format_="json", headers="origin", key="path")

    assert [json.loads(record.value or b"")["message"] for record in records(segment)] == ["one", "two"]
    assert [dict(record.headers)[b"offset"] for record in records(segment)] == [b"103", b"112"]
    assert segment.starts == [103, 112]


any_line = st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line)


@settings(deadline=None)
@given(line=any_line | st.text(min_size=1).map(str.encode))
@example(bytes(range(10)) + bytes(range(11, 128)))
@example(b"\xff\xfe")
@example(b'{"a": "\\u0000"}')
@example("\u2028\x85\U0001f600\x7f".encode())
def test_json_parses_back_to_the_exact_bytes_of_the_line(line: bytes) -> None:
    (value,) = render(Chunk(0, len(line) + 1, [line]), format_="json").values

    assert b"\n" not in value
    message = json.loads(value.decode("utf-8"))
    if "message_b64" in message:
        assert "message" not in message
        assert base64.b64decode(message["message_b64"], validate=True) == line
        with pytest.raises(UnicodeDecodeError):
            line.decode()
    else:
        assert message["message"].encode() == line


@settings(deadline=None)
@given(host=st.text(), service=st.text(), path=st.text())
def test_json_names_are_escaped_whatever_they_contain(host: str, service: str, path: str) -> None:
    (value, _) = render(format_="json", host=host, service=service, path=path.encode()).values

    message = json.loads(value)
    assert (message["host"], message["service"], message["path"]) == (host, service, path)


def test_a_chunk_of_blank_lines_only_becomes_a_segment_that_is_done() -> None:
    for format_ in ("raw", "json"):
        segment = render(Chunk(10, 15, [], []), format_=format_, headers="origin")

        assert segment.done
        assert (segment.start_offset, segment.end_offset) == (10, 15)
