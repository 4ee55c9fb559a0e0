# SPDX-License-Identifier: Apache-2.0
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.state import frames as framing
from logagent.state.frames import CLOSED, FRAME_BYTES, HEADER, INTENT, encode_frame, scan
from logagent.state.intents import (
    EarlierCut,
    IntentRecord,
    IntentRefused,
    PartitionKey,
    SegmentNote,
    Settled,
    decode_closed,
    decode_intent,
    encode_closed,
    encode_intent,
)

numbers = st.integers(0, 2**40)
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.just("handle:1f:1:00ff")
render_ids = st.sampled_from([bytes([n]) * 16 for n in range(3)])


@st.composite
def segments(draw):
    start, span = draw(numbers), draw(st.integers(1, 2**31))
    return SegmentNote(
        draw(texts),
        draw(texts),
        start,
        start + span,
        draw(st.integers(1, 10_000)),
        draw(render_ids),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(0, span)),
    )


lists = st.lists(segments(), min_size=1, max_size=6).map(tuple)
records = st.builds(
    IntentRecord,
    cluster_id=texts,
    topic=texts,
    partition=st.integers(0, 5),
    partitions=st.integers(6, 2**20),
    producer_id=numbers,
    epoch=st.integers(0, 2**15 - 1),
    base_sequence=st.integers(0, 2**31 - 1),
    max_timestamp_ms=numbers,
    segments=lists,
    earlier_cuts=st.lists(st.builds(EarlierCut, lists), max_size=3).map(tuple),
)


def note(number: int = 0, records: int = 5) -> SegmentNote:
    start = 1000 * number
    return SegmentNote("web", "inode:1:2", start, start + 1000, records, b"r" * 16, 7, 1000)


def intent(number: int = 0, partition: int = 0) -> IntentRecord:
    return IntentRecord(
        "cluster", "logs", partition, 6, 4000, 0, 5 * number, 1_700_000_000_000, (note(number),)
    )


def file_of(*frames: bytes) -> bytes:
    return b"".join(frames) + bytes(64)


def sample_frames(count: int = 5, generation: int = 3) -> list[bytes]:
    return [encode_frame(HEADER, generation, 0)] + [
        encode_frame(INTENT, generation, number, encode_intent(intent(number))) for number in range(1, count)
    ]


@given(record=records, settles=st.builds(Settled, numbers, numbers))
def test_an_intent_comes_back_as_it_was(record, settles):
    assert decode_intent(encode_intent(record, settles)) == (record, settles)


@given(key=st.builds(PartitionKey, texts, texts, st.integers(0, 2**31)))
def test_a_closed_partition_comes_back_as_it_was(key):
    assert decode_closed(encode_closed(key)) == key


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\0\0\5x", "bytes too many"),
        (b"\0\0", "ends too early"),
        (b"\x7fshort", "ends too early"),
        (b"\0\0" + b"\xff" * 9 + b"\1", "too large"),
        (b"\0\0" + b"\x80" * 12, "without end"),
    ],
)
def test_a_faulty_payload_is_named(payload, reason):
    with pytest.raises(IntentRefused, match=reason):
        decode_closed(payload)


def test_undecodable_names_survive():
    odd = replace(intent(), segments=(replace(note(), service="\udcff"),))
    assert decode_intent(encode_intent(odd))[0] == odd


def test_an_intent_of_one_segment_is_small():
    assert len(encode_frame(INTENT, 1, 1, encode_intent(intent()))) < 160


def test_records_and_cuts_are_counted():
    record = replace(intent(), segments=(note(0, 2), note(1, 3)), earlier_cuts=(EarlierCut((note(0, 9),)),))
    assert record.records == 5
    assert record.cut(5) == record.segments
    assert record.cut(9) == (note(0, 9),)
    assert record.cut(4) == ()


@given(data=st.binary(max_size=300))
def test_any_payload_is_an_intent_or_refused(data):
    for decode in (decode_intent, decode_closed):
        with suppress(IntentRefused):
            decode(data)


@given(record=records, at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_tampered_payload_is_an_intent_or_refused(record, at, byte, cut):
    payload = bytearray(encode_intent(record))
    payload[at % len(payload)] = byte
    with suppress(IntentRefused):
        decode_intent(bytes(payload[: len(payload) - cut]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"partition": 6}, "out of range"),
        ({"epoch": 2**15}, "out of range"),
        ({"base_sequence": 2**31}, "out of range"),
        ({"segments": ()}, "no records"),
        ({"segments": (replace(note(), records=0),)}, "impossible numbers"),
        ({"earlier_cuts": (EarlierCut(()),)}, "no records"),
    ],
)
def test_what_makes_no_sense_is_refused(change, reason):
    with pytest.raises(IntentRefused, match=reason):
        decode_intent(encode_intent(replace(intent(), **change)))


@pytest.mark.parametrize("field", ["producer_id", "max_timestamp_ms", "base_sequence"])
def test_what_cannot_be_written_is_not_written(field):
    with pytest.raises(ValueError, match="cannot be written"):
        encode_intent(replace(intent(), **{field: -1}))


def test_a_file_is_read_frame_by_frame():
    frames, refused, end = scan(file_of(*sample_frames()))
    assert [(frame.kind, frame.sequence) for frame in frames] == [
        (HEADER, 0),
        *((INTENT, n) for n in range(1, 5)),
    ]
    assert refused == []
    assert end == sum(map(len, sample_frames()))
    assert decode_intent(frames[2].payload)[0] == intent(2)


def test_an_empty_file_has_nothing_and_refuses_nothing():
    assert scan(b"") == scan(bytes(100)) == ([], [], 0)


def test_a_file_of_something_else_is_refused():
    _, refused, _ = scan(b"SQLite format 3\0" * 10)
    assert [one.reason for one in refused] == ["there is no whole record in the file"]


def test_frames_of_an_earlier_time_are_passed_over():
    old = [encode_frame(INTENT, 2, number, encode_intent(intent(number))) for number in range(20)]
    new = sample_frames(3)
    data = b"".join(new) + framing.TERMINATOR
    data += b"".join(old)[len(data) :]
    frames, refused, end = scan(data)
    assert [frame.generation for frame in frames] == [3, 3, 3]
    assert (refused, end) == ([], sum(map(len, new)))


def test_a_newer_format_is_refused_with_its_number():
    frames = sample_frames()
    head = bytearray(frames[2])
    head[4] = 9
    crc = framing.crc32c(bytes(head[FRAME_BYTES:]), framing.crc32c(bytes(head[: FRAME_BYTES - 4])))
    head[FRAME_BYTES - 4 : FRAME_BYTES] = crc.to_bytes(4, "big")
    found, refused, _ = scan(file_of(*frames[:2], bytes(head), *frames[3:]))
    assert [frame.sequence for frame in found] == [0, 1, 3, 4]
    assert [one.reason for one in refused] == ["a record has format 9, this release reads 1"]


@given(which=st.integers(0, 4), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_the_record_in_which_it_lies(which, at, bit):
    frames = [bytearray(frame) for frame in sample_frames()]
    frames[which][at % len(frames[which])] ^= 1 << bit
    found, refused, _ = scan(file_of(*frames))
    assert [frame.sequence for frame in found] == [n for n in range(5) if n != which]
    (one,) = refused
    assert one.reason
    assert one.start == sum(map(len, frames[:which]))


@given(which=st.integers(0, 3), length=st.integers(40, 300))
def test_zeros_cost_the_records_that_they_hit(which, length):
    frames = sample_frames()
    begin = sum(map(len, frames[:which]))
    data = bytearray(file_of(*frames))
    end = min(begin + length, sum(map(len, frames[:4])))
    data[begin:end] = bytes(end - begin)
    found, refused, _ = scan(bytes(data))
    ends = [sum(map(len, frames[: n + 1])) for n in range(5)]
    assert [frame.sequence for frame in found] == [
        n for n in range(5) if ends[n] <= begin or ends[n] - len(frames[n]) >= end
    ]
    assert len(refused) == 1


@given(cut=st.integers(0, 2000))
def test_a_cut_file_is_used_up_to_the_cut(cut):
    data = b"".join(sample_frames())
    cut %= len(data) + 1
    found, refused, _ = scan(data[:cut])
    ends = [sum(map(len, sample_frames()[: n + 1])) for n in range(5)]
    whole = [n for n in range(5) if ends[n] <= cut]
    assert [frame.sequence for frame in found] == whole
    assert bool(refused) == (cut not in (0, *ends))
    if refused and whole:
        assert "cut off" in refused[0].reason


@given(data=st.binary(max_size=400), at=st.integers(0, 600))
def test_any_bytes_in_the_middle_leave_the_rest_usable(data, at):
    frames = sample_frames()
    whole = bytearray(file_of(*frames))
    at %= len(whole)
    whole[at : at + len(data)] = data
    found, _, end = scan(bytes(whole))
    untouched = [
        n
        for n in range(5)
        if sum(map(len, frames[: n + 1])) <= at or sum(map(len, frames[:n])) >= at + len(data)
    ]
    assert set(untouched) <= {frame.sequence for frame in found}
    assert end <= len(whole)


def test_the_kinds_differ():
    assert len({HEADER, INTENT, CLOSED}) == 3
