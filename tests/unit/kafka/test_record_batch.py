# SPDX-License-Identifier: Apache-2.0
import random

import crc32c
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.kafka.record_batch import (
    Records,
    encode,
    encode_header_block,
    max_encoded_bytes,
    next_sequence,
    varint,
    varint_width,
)
from tests.unit.kafka import decoder

NOW_MS = 1_700_000_000_123

# Lengths around the places where a length field grows, and where the tables end.
lengths = st.one_of(
    st.integers(0, 300), st.sampled_from([0, 1, 55, 56, 57, 58, 63, 64, 4095, 4096, 8180, 8191, 8192, 20_000])
)
values = st.builds(lambda size, byte: bytes([byte]) * size, lengths, st.integers(0, 255))
names = st.text(max_size=10).map(str.encode)
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=80)), max_size=4)


@st.composite
def group(draw: st.DrawFn) -> tuple[list[bytes], bytes | None, list[list[tuple[bytes, bytes | None]]] | None]:
    lines = draw(st.lists(values, max_size=90))
    key = draw(st.none() | st.binary(max_size=70))
    blocks = draw(st.none() | st.lists(headers, min_size=len(lines), max_size=len(lines)))
    return lines, key, blocks


def as_records(plan):
    return [
        Records(lines, key, None if blocks is None else [encode_header_block(block) for block in blocks])
        for lines, key, blocks in plan
    ]


def expected(plan):
    flat = [
        (key, line, tuple(blocks[i]) if blocks is not None else ())
        for lines, key, blocks in plan
        for i, line in enumerate(lines)
    ]
    return tuple(decoder.Record(i, 0, key, line, block) for i, (key, line, block) in enumerate(flat))


@given(st.lists(group(), min_size=1, max_size=4).filter(lambda plan: any(lines for lines, *_ in plan)))
@settings(max_examples=150, deadline=None)
def test_decoding_an_encoded_batch_gives_every_record_back(plan):
    batch = encode(
        as_records(plan), timestamp_ms=NOW_MS, producer_id=2**60, producer_epoch=7, base_sequence=2**31 - 1
    )
    assert decoder.decode(batch) == decoder.Batch(
        0, len(expected(plan)) - 1, NOW_MS, NOW_MS, 2**60, 7, 2**31 - 1, expected(plan)
    )


@given(st.lists(group(), min_size=1, max_size=4).filter(lambda plan: any(lines for lines, *_ in plan)))
@settings(max_examples=100, deadline=None)
def test_the_upper_bound_is_one(plan):
    batch = encode(as_records(plan), timestamp_ms=NOW_MS)
    records = expected(plan)
    extra = sum(
        len(record.key or b"") + (len(encode_header_block(record.headers)) if record.headers else 0)
        for record in records
    )
    assert len(batch) <= max_encoded_bytes(len(records), sum(len(record.value) for record in records), extra)


@pytest.mark.parametrize(
    "count", [1, 2, 63, 64, 65, 4500, 8191, 8192, 8193, 16_383, 16_384, 16_385, 1_048_577]
)
@pytest.mark.parametrize("key", [None, b"k"])
def test_offset_deltas_grow_where_they_must(count, key):
    lines = [b""] * count
    batch = encode([Records(lines, key)], timestamp_ms=NOW_MS)
    if count > 20_000:  # too many for the slow decoder: the ends must do
        tail = b"\x00\x00" + varint(count - 1) + (b"\1" if key is None else b"\2k") + b"\0\0"
        assert batch.endswith(varint(len(tail)) + tail)
        sizes = sum(4 + varint_width(i) + len(key or b"") + 2 for i in range(count))
        assert len(batch) == 61 + sizes
    else:
        decoded = decoder.decode(batch, check_crc=count < 9000)
        assert decoded.records == tuple(decoder.Record(i, 0, key, b"", ()) for i in range(count))
    assert len(batch) <= max_encoded_bytes(count, 0, count * len(key or b""))


def test_groups_and_one_group_make_the_same_batch():
    lines = [random.Random(i).randbytes(i % 300) for i in range(9000)]
    split = [Records(lines[i : i + 70]) for i in range(0, 9000, 70)]
    assert encode(split, timestamp_ms=1) == encode([Records(lines)], timestamp_ms=1)


def test_offset_deltas_go_on_from_group_to_group():
    groups = [Records([b"k"] * 70, b"key"), Records([b"p"] * 9000), Records([b"k"] * 8000, b"key")]
    decoded = decoder.decode(encode(groups, timestamp_ms=1), check_crc=False)
    assert [record.offset_delta for record in decoded.records] == list(range(17_070))


def test_a_huge_line_among_small_ones_is_kept():
    lines = [b"a" * 200] * 100 + [b"b" * 990_000] + [b"c"] * 100
    decoded = decoder.decode(encode([Records(lines)], timestamp_ms=1), check_crc=False)
    assert [record.value for record in decoded.records] == lines


def test_the_upper_bound_is_close_for_ordinary_lines():
    lines = [b"x" * 200] * 4500
    assert max_encoded_bytes(4500, 900_000) <= len(encode([Records(lines)], timestamp_ms=1)) * 1.02


@given(st.binary(max_size=400))
def test_two_implementations_of_crc32c_agree(data):
    assert crc32c.crc32c(data) == decoder.crc32c(data)


def test_a_batch_without_records_is_refused():
    with pytest.raises(ValueError, match="at least one record"):
        encode([Records([])], timestamp_ms=1)


def test_header_blocks_must_be_as_many_as_records():
    with pytest.raises(ValueError, match="2 records but 1 header blocks"):
        encode([Records([b"a", b"b"], None, [b"\0"])], timestamp_ms=1)


@given(st.integers(0, 2**62))
@example(63)
@example(64)
def test_varint_is_as_wide_as_it_says(number):
    assert len(varint(number)) == varint_width(number)


def test_sequences_wrap_at_31_bits():
    assert next_sequence(0, 10) == 10
    assert next_sequence(2_147_483_640, 10) == 2
    assert next_sequence(2_147_483_640, 8) == 0
