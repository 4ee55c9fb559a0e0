# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.config.services import Entry
from logagent.config.settings import FilesSettings, KafkaSettings
from logagent.errors import StateError
from logagent.kafka.record_batch import Records, encode, encode_header_block
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render import Render
from logagent.pipeline.render_row import (
    ENCODING_VERSION,
    FRAMING_VERSION,
    RENDER_ID_BYTES,
    RENDERING_VERSION,
    RenderRow,
)
from logagent.sources import reader
from tests.unit.pipeline.sources import Source

ROW = RenderRow(
    host="10.0.0.7",
    service="web",
    path=b"/var/log/w\xff.log",
    log_path="/var/log/*.log",
    format="raw",
    headers="none",
    key="none",
    max_line_bytes=1_000_000,
)

OTHER = {
    "host": "10.0.0.8",
    "service": "shop",
    "path": b"/var/log/w\xfe.log",
    "log_path": "/var/log/w*.log",
    "format": "json",
    "headers": "origin",
    "key": "path",
    "max_line_bytes": 999_999,
    "oversize": "split",
    "encoding": "gbk",
    "multiline_start": "",
    "compression": "zstd",
    "compression_level": 0,
    "framing_version": FRAMING_VERSION + 1,
    "rendering_version": RENDERING_VERSION + 1,
    "encoding_version": ENCODING_VERSION + 1,
}

# What an operator can set, by whether the same bytes of a file then become other records. A new setting has to be put
# here, and if it shapes records, into the row.
SHAPES = {"format", "headers", "key", "max_line_bytes", "oversize", "encoding", "multiline_start", "compression",
          "compression_level", "service"}  # fmt: skip
SHAPES_NOTHING = {
    "log_path", "topic", "send_rate_lines_per_s", "start_at", "source", "exclude", "ignore_older_s",
    "multiline_timeout_s", "send_bytes_per_s", "time_format",
    "linger_ms", "batch_bytes", "partitioner", "delivery", "acks", "driver", "dead_letter_full", "intent_give_up_s",
    "dead_letter_max_bytes",
    "rescan_s", "rotate_wait_s", "copy_wait_s", "allowed_paths", "denied_paths", "forget_after_days",
    "hold_deleted_bytes", "hold_deleted_min_free", "max_open", "poll",
}  # fmt: skip


@pytest.mark.parametrize("settings", [Entry, FilesSettings, KafkaSettings])
def test_every_setting_is_known_to_shape_records_or_not(settings):
    assert {one.name for one in fields(settings)} <= SHAPES | SHAPES_NOTHING


def test_every_setting_that_shapes_records_is_in_the_row():
    assert {one.name for one in fields(RenderRow)} >= SHAPES


@pytest.mark.parametrize("name", [one.name for one in fields(RenderRow)])
def test_any_other_value_makes_another_id(name):
    other = replace(ROW, **{name: OTHER[name]})
    assert other.id != ROW.id
    assert RenderRow.from_document(other.document(), other.id) == other


def test_all_ids_differ():
    rows = [ROW, *(replace(ROW, **{name: value}) for name, value in OTHER.items())]
    assert len({row.id for row in rows}) == len(rows)


def test_the_id_is_the_same_in_every_process():
    assert ROW.id.hex() == "8e66a32dcfe9dd88dac74d30df20c41e"
    assert len(ROW.id) == RENDER_ID_BYTES


@given(host=st.text(), path=st.binary(), pattern=st.none() | st.text(), level=st.none() | st.integers())
def test_a_row_comes_back_as_it_was(host, path, pattern, level):
    row = replace(ROW, host=host, path=path, multiline_start=pattern, compression_level=level)
    assert RenderRow.from_document(row.document(), row.id) == row


def document_of(**changed) -> bytes:
    values = json.loads(ROW.document()) | changed
    return json.dumps({name: value for name, value in values.items() if value != "-"}).encode()


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"\xff", b"{}", document_of(future=1), document_of(host=7), document_of(path="*"),
     document_of(max_line_bytes=True), document_of(path="-")],
)  # fmt: skip
def test_what_is_no_row_of_this_release_is_refused(document):
    expected = hashlib.blake2b(document, digest_size=RENDER_ID_BYTES).digest()
    with pytest.raises(StateError, match="of another release"):
        RenderRow.from_document(document, expected)


def test_a_damaged_row_is_refused():
    with pytest.raises(StateError, match="is damaged"):
        RenderRow.from_document(ROW.document().replace(b"web", b"wab"), ROW.id)


# -- the versions stand for what the code does ------------------------------------------------------------------------

SOURCE = b"one\r\ntwo \xff\n\n  \n" + "äöü".encode() * 40 + b"\nlast\n"


def built(row: RenderRow) -> tuple[list[bytes], bytes]:
    chunk: Chunk = reader.parse(SOURCE, 5000, row.max_line_bytes)
    segment = Render(row, encode_header_block).segment(Source(), chunk, 1_700_000_000_123)
    records = Records(segment.values, segment.key, segment.headers)
    return list(chunk.values), encode([records], timestamp_ms=1_700_000_000_000, producer_id=1, producer_epoch=2,
                                      base_sequence=3)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "a45cc18191e193ad"),
        ({"max_line_bytes": 50}, "403a7f286a9d2760"),
        ({"format": "json", "key": "path"}, "caeb232870a6289b"),
        ({"headers": "origin", "key": "service"}, "08130eacc6b853fb"),
    ],
)
def test_the_same_bytes_become_the_same_batch_or_a_version_is_raised(changed, expected):
    """Whoever changes what comes out raises the version that says so, and the pin here."""
    lines, batch = built(replace(ROW, **changed))
    versions = (FRAMING_VERSION, RENDERING_VERSION, ENCODING_VERSION)
    assert hashlib.sha256(repr((versions, lines, batch)).encode()).hexdigest()[:16] == expected
