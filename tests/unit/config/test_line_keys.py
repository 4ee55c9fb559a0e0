# SPDX-License-Identifier: Apache-2.0
"""What a service may say about its lines, in an INI file and as JSON values."""

from collections.abc import Callable
from typing import Any

import pytest

from logagent.config.line_keys import ENCODINGS
from logagent.config.services import Entry
from logagent.config.settings import Settings
from logagent.sources import encodings
from tests.unit.config.test_services import check, raw

Load = Callable[..., Settings]

# (key, text of an INI, the same as a JSON value, attribute, value)
GOOD: list[tuple[str, str, object, str, object]] = [
    ("exclude", '"*.gz, /var/log/old/**"', "*.gz, /var/log/old/**", "exclude", ("*.gz", "/var/log/old/**")),
    ("exclude", "", "", "exclude", ()),
    ("ignore_older_s", "86400", 86400, "ignore_older_s", 86400.0),
    ("ignore_older_s", "1.5", 1.5, "ignore_older_s", 1.5),
    ("encoding", "gb18030", "gb18030", "encoding", "gb18030"),
    ("multiline_start", r"'\d{4}-\d\d # x'", r"\d{4}-\d\d # x", "multiline_start", r"\d{4}-\d\d # x"),
    ("multiline_start", "", "", "multiline_start", None),
    ("multiline_timeout_s", "0.5", 0.5, "multiline_timeout_s", 0.5),
]

BAD: list[tuple[str, object, str]] = [
    ("exclude", "a,,b", "nothing between two commas"),
    ("exclude", "old/x", "does not start with /"),
    ("exclude", "/var/../x", "contains .."),
    ("exclude", "..", "names no file"),
    ("exclude", "*a" * 11, "it has 11 stars; expected at most 10"),
    ("exclude", ", ".join(["*.gz"] * 101), "it has 101 members; expected at most 100"),
    ("ignore_older_s", 0, "out of range"),
    ("ignore_older_s", -5, "out of range"),
    ("ignore_older_s", "1 d", "expected a number of seconds"),
    ("ignore_older_s", True, "expected a number of seconds"),
    ("encoding", "utf-7", "expected one of utf-8"),
    ("encoding", "UTF-8", "expected one of utf-8"),
    ("encoding", None, "expected one of utf-8"),
    ("multiline_start", "(", "it is no regular expression"),
    ("multiline_start", "[[a]", "it is no regular expression"),
    ("multiline_start", "a" * 1001, "it has 1001 characters"),
    ("multiline_start", 5, "expected a regular expression"),
    ("multiline_timeout_s", 0, "out of range"),
    ("multiline_timeout_s", "soon", "expected a number of seconds"),
    ("multiline_timeout_s", 1e9, "out of range"),
]


@pytest.mark.parametrize(("key", "text", "value", "attribute", "expected"), GOOD)
def test_a_good_value_is_read_from_ini_and_json(
    load: Load, key: str, text: str, value: object, attribute: str, expected: object
) -> None:
    settings = load(
        f"kafka_addr = a\n[services]\n[[web]]\nlog_path = /var/log/a.log\ntopic = t\n{key} = {text}\n"
    )
    (entry,), faults = check(raw(**{key: value}))

    assert faults == []
    assert getattr(settings.entries[0], attribute) == getattr(entry, attribute) == expected


@pytest.mark.parametrize(("key", "value", "reason"), BAD)
def test_a_bad_value_is_refused_in_a_sentence(key: str, value: Any, reason: str) -> None:
    entries, faults = check(raw(**{key: value}))

    assert entries == ()
    assert [reason in fault for fault in faults] == [True], faults


@pytest.mark.parametrize("oversize", ["cut", "split", "dead_letter"])
def test_the_policy_of_long_lines_is_read(load: Load, oversize: str) -> None:
    loaded = load(f"kafka_addr = a\n[files]\noversize = {oversize}\n[services]\n")

    assert loaded.files.oversize == oversize


def test_without_these_keys_lines_are_what_they_were() -> None:
    (entry,), _ = check(raw())

    assert entry == Entry("web", "/var/log/a.log", "t", source="test")


@pytest.mark.parametrize("name", ENCODINGS)
def test_in_no_encoding_a_newline_is_part_of_another_character(name: str) -> None:
    """Case 33: lines are found before anything is decoded."""
    one = encodings.of(name)
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)])).replace("\n", "")
    encoded = text.encode(one.codec, "ignore")

    assert one.find_newline(encoded, 0) == -1
    assert one.find_newline(encoded + one.newline, 0) == len(encoded)
