# SPDX-License-Identifier: Apache-2.0

from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.kafka import record_batch
from logagent.pipeline.batch import Batch, Segment
from tests.unit.pipeline.sources import Source

lines = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=40)
keys = st.none() | st.binary(max_size=200)


def encoded(batch: Batch) -> bytes:
    groups = [record_batch.Records(s.values, s.key, s.headers) for s in batch.segments]
    return record_batch.encode(
        groups, timestamp_ms=2**41, producer_id=2**40, producer_epoch=7, base_sequence=2**30
    )


@settings(deadline=None)
@given(parts=st.lists(st.tuples(lines, keys, st.booleans()), min_size=1, max_size=5))
def test_a_batch_is_never_larger_on_the_wire_than_its_size(
    parts: list[tuple[list[bytes], bytes | None, bool]],
) -> None:
    block = record_batch.encode_header_block([(b"host", b"h" * 70), (b"offset", b"123456")])
    batch = Batch(
        [
            Source().segment(*values, key=key, headers=[block] * len(values) if headers else None)
            for values, key, headers in parts
        ],
        0,
    )

    assert len(encoded(batch)) <= batch.size_bytes


def test_large_lines_and_many_lines_stay_within_the_size() -> None:
    for values in ([b"x" * 2_000_000], [b"x" * 1_048_570, b"y"], [b"z"] * 300_000, [b"x" * 64] * 9000):
        batch = Batch([Source().segment(*values)], 0)

        assert len(encoded(batch)) <= batch.size_bytes


def test_the_size_of_a_plain_batch_is_within_a_few_bytes_per_line_of_the_truth() -> None:
    batch = Batch([Source().segment(*[b"x" * 100] * 1000)], 0)

    assert batch.size_bytes - len(encoded(batch)) <= 1000 * 8


def test_a_segment_without_lines_is_done() -> None:
    assert Source().segment().done
    assert not Source().segment(b"x").done


def test_line_starts_follow_from_the_lengths_or_are_given() -> None:
    back_to_back = Source(offset=10).segment(b"ab", b"c", b"d")

    assert [back_to_back.line_start(i) for i in range(3)] == [10, 13, 15]
    assert Segment(Source(), 0, 30, [b"a", b"b"], starts=[4, 9]).line_start(1) == 9


def test_a_split_segment_keeps_lines_key_headers_and_range() -> None:
    source = Source()
    segment = source.segment(b"aa", b"b", b"cc", key=b"k", headers=[b"1", b"2", b"3"])

    left, right = segment.split(1)

    assert (left.start_offset, left.end_offset, right.start_offset, right.end_offset) == (0, 3, 3, 8)
    assert ([*left.values], [*right.values]) == ([b"aa"], [b"b", b"cc"])
    assert (left.key, right.key) == (b"k", b"k")
    assert (left.headers, right.headers) == ([b"1"], [b"2", b"3"])
    assert left.size_bytes + right.size_bytes == segment.size_bytes
    assert left.memory_bytes + right.memory_bytes == segment.memory_bytes


def test_the_file_counts_the_parts_of_a_split_segment_for_themselves() -> None:
    source = Source()
    left, right = source.segment(b"aa", b"b").split(1)

    right.done = True
    assert not source.acks.advance()
    left.done = True

    assert source.acks.advance()
    assert source.acks.acked_offset == 5


def test_blank_lines_between_the_parts_of_a_split_belong_to_the_first() -> None:
    source = Source()
    segment = Segment(source, 0, 20, [b"a", b"b"], starts=[0, 11])
    source.acks.add(segment)

    left, right = segment.split(1)

    assert (left.end_offset, right.start_offset) == (11, 11)
    assert ([*(left.starts or ())], [*(right.starts or ())]) == ([0], [11])


@settings(deadline=None)
@given(values=lines, key=keys, headers=st.booleans(), limit=st.integers(0, 4000))
def test_lines_within_a_limit_are_as_many_as_fit(
    values: list[bytes], key: bytes | None, headers: bool, limit: int
) -> None:
    segment = Source().segment(*values, key=key, headers=[b"h" * 9] * len(values) if headers else None)

    fit = segment.lines_within(limit)

    def size(count: int) -> int:
        part = values[:count]
        return Source().segment(*part, key=key, headers=[b"h" * 9] * count if headers else None).size_bytes

    assert size(fit) <= limit or fit == 0
    assert fit == len(values) or size(fit + 1) > limit


def test_lines_that_fill_the_limit_exactly_fit() -> None:
    segment = Source().segment(b"a" * 10, b"b" * 20)

    assert segment.lines_within(segment.size_bytes) == 2
    assert segment.lines_within(segment.size_bytes - 1) == 1


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 1),
    data=st.data(),
)
def test_the_parts_of_a_cut_batch_hold_every_line_once_in_order(
    sizes: list[int], data: st.DataObject
) -> None:
    records = data.draw(st.integers(1, sum(sizes) - 1))
    sources = [Source() for _ in sizes]
    values = [[b"%d.%d" % (i, n) for n in range(size)] for i, size in enumerate(sizes)]
    batch = Batch([s.segment(*v) for s, v in zip(sources, values, strict=True)], 77)

    parts = batch.cut(records)

    got = [line for part in parts for segment in part.segments for line in segment.values]
    assert got == [line for of_file in values for line in of_file]
    assert parts[0].records == records
    assert {part.timestamp_ms for part in parts} == {77}
    for part in parts:
        for segment in part.segments:
            segment.done = True
    for source, lines_ in zip(sources, values, strict=True):
        source.acks.advance()
        assert source.acks.acked_offset == sum(len(line) + 1 for line in lines_)
