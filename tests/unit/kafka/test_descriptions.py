# SPDX-License-Identifier: Apache-2.0
"""Metadata in detail and DescribeConfigs: what is asked, what is read, and that garbage is called garbage."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.errors import ProtocolViolation
from logagent.kafka.metadata import BrokerAddress, Described, PartitionView, TopicView
from logagent.kafka.requests import (
    TOPIC,
    ApiVersions,
    ConfigValues,
    RequestWriter,
    parse_describe_configs,
    parse_describe_topics,
)
from tests.unit.kafka.servers import configs_body, described_body

FOUND = Described(
    "cluster-7",
    {1: BrokerAddress("a", 9092), 7: BrokerAddress("é", 9093)},
    {
        "logs": TopicView(0, {0: PartitionView(1, 5, (1, 7), (1,)), 3: PartitionView(-1, 6, (7,), ())}),
        "none": TopicView(3, {}),
    },
)


@pytest.mark.parametrize("create", [False, True])
def test_a_question_about_topics_is_laid_out_as_version_7(create):
    frame = RequestWriter("a").describe_topics(["logs", "é"], create=create, version=7)
    assert frame == (
        struct.pack(">ihhih", len(frame) - 4, 3, 7, 1, 1) + b"a"
        + struct.pack(">i", 2) + b"\0\4logs" + b"\0\2\xc3\xa9" + bytes([create])
    )  # fmt: skip


@pytest.mark.parametrize("version", [4, 5, 6, 7])
def test_an_answer_about_topics_is_read_and_leaders_have_epochs_from_version_7_on(version):
    found = parse_describe_topics(described_body(FOUND, version), "b:1", version)
    epochs = {number: one.leader_epoch for number, one in found.topics["logs"].partitions.items()}
    assert epochs == ({0: 5, 3: 6} if version == 7 else {0: -1, 3: -1})
    assert (found == FOUND) == (version == 7)
    assert found.topics["logs"].leaders == {0: 1, 3: -1}
    assert (found.cluster_id, found.brokers) == (FOUND.cluster_id, FOUND.brokers)


def test_a_cluster_without_a_name_has_an_empty_one():
    answer = described_body(Described("", {}, {}), 7)
    nameless = answer[:8] + b"\xff\xff" + answer[10:]
    assert parse_describe_topics(nameless, "b:1", 7).cluster_id == ""


def test_a_question_about_settings_is_laid_out_as_version_1():
    frame = RequestWriter("a").describe_configs(TOPIC, "logs", ["min.insync.replicas"])
    assert frame == (
        struct.pack(">ihhih", len(frame) - 4, 32, 1, 1, 1) + b"a" + struct.pack(">ib", 1, 2) + b"\0\4logs"
        + struct.pack(">i", 1) + b"\0\x13min.insync.replicas" + b"\0"
    )  # fmt: skip


def test_an_answer_about_settings_is_read():
    answer = configs_body(0, {"a": "1", "secret": None}, synonyms={"a": "2"})
    assert parse_describe_configs(answer, "b:1") == ConfigValues(0, {"a": "1", "secret": None})
    assert parse_describe_configs(configs_body(29, {}), "b:1") == ConfigValues(29, {})


@pytest.mark.parametrize(
    ("text", "number"), [("2", 2), ("", None), (None, None), ("two", None), ("-1", None), ("٢", None)]
)
def test_a_setting_that_is_no_number_counts_as_not_told(text, number):
    assert ConfigValues(0, {"n": text}).number("n") == number
    assert ConfigValues(0, {}).number("n") is None


@pytest.mark.parametrize("count", [0, 2])
def test_settings_of_others_are_refused(count):
    body = configs_body(0, {})
    with pytest.raises(ProtocolViolation, match="other settings than those asked for"):
        parse_describe_configs(body[:4] + struct.pack(">i", count) + body[8:], "b:1")


@pytest.mark.parametrize(
    ("ranges", "version"),
    [
        ({}, None),
        ({3: (0, 3)}, None),
        ({3: (0, 4)}, 4),
        ({3: (0, 13)}, 7),
        ({3: (7, 9)}, 7),
        ({3: (8, 9)}, None),
    ],
)
def test_metadata_is_asked_for_in_a_version_that_both_know(ranges, version):
    assert ApiVersions(0, ranges).metadata_version == version


def topics_7(data, address):
    return parse_describe_topics(data, address, 7)


SOUND = {topics_7: described_body(FOUND, 7), parse_describe_configs: configs_body(0, {"a": "1"})}


@pytest.mark.parametrize("parse", SOUND)
@given(data=st.binary(max_size=200))
def test_garbage_is_a_protocol_violation_and_nothing_else(parse, data):
    with suppress(ProtocolViolation):
        parse(data, "b:1")


@pytest.mark.parametrize("parse", SOUND)
@given(cut=st.integers(0, 150), flip=st.integers(0, 150), byte=st.integers(0, 255))
def test_a_damaged_answer_is_a_protocol_violation_and_nothing_else(parse, cut, flip, byte):
    answer = bytearray(SOUND[parse])
    answer[flip % len(answer)] = byte
    with suppress(ProtocolViolation):
        parse(bytes(answer[: max(0, len(answer) - cut)]), "b:1")


@pytest.mark.parametrize("parse", SOUND)
def test_every_missing_or_added_byte_is_seen(parse):
    for cut in range(1, len(SOUND[parse])):
        with pytest.raises(ProtocolViolation):
            parse(SOUND[parse][:-cut], "b:1")
    with pytest.raises(ProtocolViolation, match="1 bytes too many"):
        parse(SOUND[parse] + b"x", "b:1")
