# SPDX-License-Identifier: Apache-2.0
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.errors import ProtocolViolation
from logagent.kafka.requests import (
    DESCRIBE_PRODUCERS,
    ActiveProducer,
    ApiVersions,
    PartitionProducers,
    ProduceAnswer,
    ProducerId,
    RequestWriter,
    parse_api_versions,
    parse_describe_producers,
    parse_init_producer_id,
    parse_produce,
)

PARSERS = [parse_produce, parse_init_producer_id, parse_api_versions, parse_describe_producers]


def produce_answer(topics):
    body = struct.pack(">i", len(topics))
    for name, partitions in topics.items():
        body += struct.pack(">h", len(name.encode())) + name.encode() + struct.pack(">i", len(partitions))
        body += b"".join(struct.pack(">ihqq", *partition) for partition in partitions)
    return body + struct.pack(">i", 0)


def test_a_produce_frame_is_laid_out_as_version_3():
    frame = RequestWriter("agent").produce(
        {"t": [(0, b"AAAA"), (2, b"BB")], "éa": [(1, b"C")]}, timeout_ms=5000
    )
    assert frame == (
        struct.pack(">ihhih", len(frame) - 4, 0, 3, 1, 5) + b"agent"
        + struct.pack(">hhii", -1, -1, 5000, 2)
        + b"\0\1t" + struct.pack(">i", 2)
        + struct.pack(">ii", 0, 4) + b"AAAA" + struct.pack(">ii", 2, 2) + b"BB"
        + b"\0\3\xc3\xa9a" + struct.pack(">i", 1) + struct.pack(">ii", 1, 1) + b"C"
    )  # fmt: skip


def test_small_requests_are_laid_out_as_version_0():
    writer = RequestWriter("a")
    assert writer.init_producer_id() == struct.pack(">ihhih", 17, 22, 0, 1, 1) + b"a" + struct.pack(
        ">hi", -1, 60000
    )
    assert writer.api_versions() == struct.pack(">ihhih", 11, 18, 0, 2, 1) + b"a"


def test_correlation_ids_differ_and_stay_positive():
    writer = RequestWriter("a")
    writer._correlation_id = 2**31 - 2
    assert [writer.next_correlation_id() for _ in range(3)] == [2**31 - 1, 1, 2]


def test_a_produce_answer_is_read():
    answer = produce_answer({"t": [(0, 0, 42, -1), (3, 6, -1, -1)], "ü": [(1, 0, 7, 1_700_000_000_000)]})
    assert parse_produce(answer, "b:1") == (
        ProduceAnswer("t", 0, 0, 42, -1),
        ProduceAnswer("t", 3, 6, -1, -1),
        ProduceAnswer("ü", 1, 0, 7, 1_700_000_000_000),
    )


def test_a_producer_id_answer_is_read():
    assert parse_init_producer_id(struct.pack(">ihqh", 0, 0, 4000, 1), "b:1") == (0, ProducerId(4000, 1))
    assert parse_init_producer_id(struct.pack(">ihqh", 0, 14, -1, -1), "b:1") == (14, ProducerId(-1, -1))


def test_a_negative_producer_id_is_never_taken_for_a_good_one():
    with pytest.raises(ProtocolViolation, match="impossible producer id -1"):
        parse_init_producer_id(struct.pack(">ihqh", 0, 0, -1, 0), "b:1")


@pytest.mark.parametrize(("fetch_min", "line"), [(0, "3.x or older"), (4, "4.x")])
def test_fetch_tells_kafka_4_from_older_ones(fetch_min, line):
    answer = struct.pack(">hi", 0, 2) + struct.pack(">hhh", 0, 0, 13) + struct.pack(">hhh", 1, fetch_min, 18)
    versions = parse_api_versions(answer, "b:1")
    assert versions == ApiVersions(0, {0: (0, 13), 1: (fetch_min, 18)})
    assert versions.kafka_line == line


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (struct.pack(">i", 2**31 - 1), "an array of 2147483647 items"),
        (struct.pack(">i", -1), "an array of -1 items"),
        (struct.pack(">ih", 1, -1) + bytes(8), "null where a name belongs"),
        (struct.pack(">ih", 1, 1) + b"\xff" + bytes(8), "not UTF-8"),
        (produce_answer({"t": [(0, 0, 1, -1)]})[:-1], "an end where more should follow"),
        (produce_answer({"t": [(0, 0, 1, -1)]}) + b"x", "1 bytes too many"),
    ],
)
def test_a_faulty_produce_answer_is_named(answer, what):
    with pytest.raises(ProtocolViolation, match=what):
        parse_produce(answer, "b:1")


@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.binary(max_size=200))
def test_garbage_is_a_protocol_violation_and_nothing_else(parse, data):
    with suppress(ProtocolViolation):
        parse(data, "b:1")


@given(cut=st.integers(0, 60), flip=st.integers(0, 60), byte=st.integers(0, 255))
def test_a_damaged_answer_is_a_protocol_violation_and_nothing_else(cut, flip, byte):
    answer = bytearray(produce_answer({"topic": [(0, 0, 42, -1), (3, 6, -1, -1)]}))
    answer[flip % len(answer)] = byte
    with suppress(ProtocolViolation):
        parse_produce(bytes(answer[: len(answer) - cut]), "b:1")


# -- DescribeProducers: newer than the others, with compact lengths and tagged fields ---------------------------------


def producers_answer(partitions, *, tags=b"\0", text=b"\0"):
    body = tags + struct.pack(">i", 0) + b"\x02" + b"\x05logs" + bytes([len(partitions) + 1])
    for number, code, producers in partitions:
        body += struct.pack(">ih", number, code) + text + bytes([len(producers) + 1])
        for producer in producers:
            body += struct.pack(">qiiqiq", *producer, -1, -1) + tags
        body += tags
    return body + tags + tags


PRODUCERS = [
    (0, 0, [(4000, 0, 16, 1_700_000_000_000), (4001, 3, 2**31 - 1, -1)]),
    (5, 29, []),
]
FOUND = (
    PartitionProducers(
        "logs",
        0,
        0,
        {4000: ActiveProducer(0, 16, 1_700_000_000_000), 4001: ActiveProducer(3, 2**31 - 1, -1)},
    ),
    PartitionProducers("logs", 5, 29, {}),
)


def test_a_question_about_producers_is_laid_out_as_version_0():
    frame = RequestWriter("a").describe_producers({"logs": [0, 5], "é" * 70: [1]})
    assert frame == (
        struct.pack(">ihhih", len(frame) - 4, 61, 0, 1, 1) + b"a" + b"\0"
        + b"\x03\x05logs\x03" + struct.pack(">ii", 0, 5) + b"\0"
        + b"\x8d\x01" + "é".encode() * 70 + b"\x02" + struct.pack(">i", 1) + b"\0"
        + b"\0"
    )  # fmt: skip


@pytest.mark.parametrize("tags", [b"\0", b"\x02\x00\x01x\x85\x01\x03abc"])
@pytest.mark.parametrize("text", [b"\0", b"\x01", b"\x04why"])
def test_an_answer_about_producers_is_read_whatever_is_tagged_to_it(tags, text):
    assert parse_describe_producers(producers_answer(PRODUCERS, tags=tags, text=text), "b:1") == FOUND


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"\0\0\0\0\0" + b"\xff\xff\xff\xff\x0f", "an array of 4294967294 items"),
        (b"\x80" * 10, "a number without end"),
        (b"\x01\x00\x7f", "an end where more should follow"),
        (producers_answer(PRODUCERS)[:-1], "an end where more should follow"),
        (producers_answer(PRODUCERS) + b"x", "1 bytes too many"),
        (producers_answer(PRODUCERS).replace(b"logs", b"l\xff\xffs"), "not UTF-8"),
    ],
)
def test_a_faulty_answer_about_producers_is_named(answer, what):
    with pytest.raises(ProtocolViolation, match=what):
        parse_describe_producers(answer, "b:1")


@given(cut=st.integers(0, 120), flip=st.integers(0, 120), byte=st.integers(0, 255))
def test_a_damaged_answer_about_producers_is_a_protocol_violation_and_nothing_else(cut, flip, byte):
    answer = bytearray(producers_answer(PRODUCERS))
    answer[flip % len(answer)] = byte
    with suppress(ProtocolViolation):
        parse_describe_producers(bytes(answer[: len(answer) - cut]), "b:1")


@pytest.mark.parametrize(("ranges", "able"), [({}, False), ({61: (0, 0)}, True), ({61: (1, 2)}, False)])
def test_who_can_be_asked_about_producers_is_known_beforehand(ranges, able):
    assert DESCRIBE_PRODUCERS == 61
    assert ApiVersions(0, ranges).describes_producers is able
