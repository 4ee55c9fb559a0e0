# SPDX-License-Identifier: Apache-2.0
"""What of a list of services in Etcd is in force, whatever somebody wrote into it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.config.services import SERVICE_KEYS, PathRules
from logagent.control.documents import Document, read, restore
from tests.unit.control.lists import KEY, RULES, document, encoded, raw

SEED = Path(__file__).parent / "fixtures" / "seed_list.json"
RATE = "expected lines per second from 0.001 to 1000000000, or unlimited"
TOPIC = "expected a topic of 1 to 249 letters, digits, dots, _ or -"
PATH = (
    "expected an absolute file path or glob, several with commas between them"
    " (a comma inside a path is written \\,)"
)
LAST = document(raw("/a", topic="old"), raw("/b", topic="old"), raw("/c", service="other", topic="old"))


def faults(found: Document) -> list[str]:
    return [str(fault) for fault in found.faults]


def names(found: Document) -> list[tuple[str, str, str]]:
    return [(entry.service, entry.log_path, entry.topic) for entry in found.entries]


def test_the_list_of_the_seed_is_read_without_a_word() -> None:
    value = SEED.read_bytes()
    found = read(value, 7, KEY, RULES)
    assert [(one.service, one.topic, one.send_rate_lines_per_s, one.source) for one in found.entries] == [
        ("test_service", "nginx_log", 1000.0, "etcd"),
        ("srv.android.shouji.sogou.com", "nginx_log", 2000.0, "etcd"),
    ]
    assert (found.faults, found.warnings, found.rejected) == ((), (), False)
    assert (found.revision, found.sha256) == (7, hashlib.sha256(value).hexdigest())
    assert found.rates_lines_per_s == {"test_service": 1000.0, "srv.android.shouji.sogou.com": 2000.0}


@pytest.mark.parametrize(
    ("value", "clause"),
    [
        (b"", "it is empty; expected a JSON list of entries ([] for none)"),
        (b" \n", "it is empty; expected a JSON list of entries ([] for none)"),
        (b"null", "it is null; expected a JSON list of entries"),
        (b"5", "it is a number; expected a JSON list of entries"),
        (b"1e99", "it is a number; expected a JSON list of entries"),
        (b"1e999", "it has a number that is too large (1e999)"),
        (b'[{"x": [-1e999]}]', "it has a number that is too large (-1e999)"),
        (b"true", "it is true or false; expected a JSON list of entries"),
        (b'"[]"', "it is a text; expected a JSON list of entries"),
        (encoded(raw())[1:-1], "it is an object; expected a JSON list of entries"),
        (encoded(raw())[:-9], "it is not JSON (line 1, column 51: Unterminated string starting at)"),
        (b'[\n{"service" "web"}]', "it is not JSON (line 2, column 12: Expecting ':' delimiter)"),
        (b"[NaN]", "it is not JSON (NaN is no number)"),
        (b'[{"send_rate": -Infinity}]', "it is not JSON (-Infinity is no number)"),
        (b'["\xff"]', "it is not text in UTF-8 (byte 3)"),
        (b'[{"topic": "a", "topic": "b"}]', "the key 'topic' stands twice in one object"),
        (b"[" * 9 + b"]" * 9, "it is nested too deep; expected at most 8 levels"),
        (b"[" * 200_000, "it is nested too deep; expected at most 8 levels"),
        (b'[{"a":' * 40_000, "it is nested too deep; expected at most 8 levels"),
        (b" " * 262_144 + b"[]", "it has 262146 bytes; expected at most 256KiB"),
        (b"x" * 10 * 1024 * 1024, "it has 10485760 bytes; expected at most 256KiB"),
        (encoded(*[{}] * 50_000), "it has 50000 entries; expected at most 1000"),
        (encoded(*[{}] * 1_001), "it has 1001 entries; expected at most 1000"),
        (encoded(raw(",".join(["/a"] * 1_001))), "it has 1001 paths; expected at most 1000"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else "",
)
def test_what_is_no_list_is_refused_as_a_whole_and_the_last_version_stays(value: bytes, clause: str) -> None:
    found = read(value, 9, KEY, RULES, LAST)
    assert faults(found) == [f"{KEY}: {clause}"]
    assert found.rejected
    assert (found.entries, found.accepted) == (LAST.entries, LAST.accepted)
    assert (found.revision, found.sha256) == (9, hashlib.sha256(value).hexdigest())
    assert read(value, 9, KEY, RULES).entries == ()


def test_a_thousand_entries_are_not_too_many() -> None:
    assert len(document(*[raw(f"/{number}") for number in range(1000)]).entries) == 1000
    assert document(*[raw("/a")] * 1000).rejected is False


def test_an_empty_list_stops_everything() -> None:
    found = document(previous=LAST)
    assert (found.entries, found.faults, found.rejected) == ((), (), False)


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"log_path": "log/a"}, f"log_path = 'log/a': 'log/a' does not start with /; {PATH}"),
        ({"log_path": "/a/../b"}, f"log_path = '/a/../b': '/a/../b' contains ..; {PATH}"),
        ({"log_path": "/var/log/"}, f"log_path = '/var/log/': '/var/log/' is a directory; {PATH}"),
        ({"log_path": "/dev/sda"}, "log_path = '/dev/sda': this path may not be read: /dev is in denied_paths"),
        (
            {"log_path": "/var/log/agent.log"},
            "log_path = '/var/log/agent.log': this path may not be read: it is the agent's own log",
        ),
        ({"topic": "a/b"}, f"topic = 'a/b': {TOPIC}"),
        ({"topic": ""}, f"topic: {TOPIC}"),
        ({"send_rate": 0}, f"send_rate = '0': out of range; {RATE}"),
        ({"send_rate": -1}, f"send_rate = '-1': out of range; {RATE}"),
        ({"send_rate": "fast"}, f"send_rate = 'fast': {RATE}"),
        ({"send_rate": 1e30}, f"send_rate = '1e+30': {RATE}"),
        ({"send_rate": True}, f"send_rate = 'true': {RATE}"),
        ({"send_rate": None}, f"send_rate = 'null': {RATE}"),
        ({"start_at": "middle"}, "start_at = 'middle': expected one of beginning, end"),
        ({"disabled": "yes"}, "disabled = 'yes': expected true or false"),
    ],
    ids=str,
)  # fmt: skip
def test_a_single_bad_entry_is_refused_and_the_others_count(changes: dict[str, Any], clause: str) -> None:
    found = document(raw(**changes), raw("/good"))
    assert faults(found) == [f"{KEY}: entry 1: [services.web] {clause}"]
    assert names(found) == [("web", "/good", "t")]
    assert not found.rejected


@pytest.mark.parametrize("digits", ["1" * 30, "1" * 300, "-" + "9" * 300, "1e300"])
def test_a_rate_of_very_many_digits_is_just_too_large(digits: str) -> None:
    value = encoded(raw(send_rate="RATE")).replace(b'"RATE"', digits.encode())
    (fault,) = faults(read(value, 1, KEY, RULES))
    assert fault.endswith(RATE)
    assert len(fault) < 300


@pytest.mark.parametrize("digits", ["1" * 5000, "-" + "9" * 5000, "1e400"])
def test_a_number_that_would_be_infinite_is_refused_in_a_short_sentence(digits: str) -> None:
    (fault,) = faults(read(b'[{"unknown": %s}]' % digits.encode(), 1, KEY, RULES))
    assert "it has a number that is too large (" in fault
    assert len(fault) < 300


def test_a_path_that_stands_twice_is_refused_once() -> None:
    found = document(raw("/a", topic="first"), raw("//a", topic="second"), previous=LAST)
    assert faults(found) == [
        f"{KEY}: entry 2: [services.web] log_path = '/a': expected each path once in a service"
    ]
    assert names(found) == [("web", "/a", "first")]


@pytest.mark.parametrize("member", [None, 5, "x", [], [[1]], True])
def test_a_member_that_is_no_object_is_refused(member: object) -> None:
    found = document(member, raw("/good"))
    assert faults(found) == [
        (
            f"{KEY}: entry 1: {json.dumps(member).strip(chr(34))!r}:"
            " expected an object with service, log_path and topic"
        )
    ]
    assert names(found) == [("web", "/good", "t")]


def test_an_entry_without_anything_is_refused_for_all_of_it() -> None:
    assert [fault.split(";")[0] for fault in faults(document({}))] == [
        (
            f"{KEY}: entry 1: [services] service: expected a service name of 1 to 249 printable characters"
            " without a slash"
        ),
        f"{KEY}: entry 1: [services] log_path: log_path is missing",
        f"{KEY}: entry 1: [services] topic: topic is missing",
    ]


def test_of_a_refused_entry_the_last_good_version_stays_in_its_place() -> None:
    found = document(raw("/n"), raw("/b", topic="a/b"), raw("/a", topic="new"), previous=LAST)
    assert names(found) == [("web", "/n", "t"), ("web", "/b", "old"), ("web", "/a", "new")]
    assert len(found.faults) == 1


def test_a_new_entry_that_is_refused_has_no_version_that_could_stay() -> None:
    assert names(document(raw("/new", topic="a/b"), previous=LAST)) == []


def test_if_the_path_cannot_be_told_all_of_its_service_that_is_not_named_stays() -> None:
    found = document(raw("/a", topic="new"), raw("b"), previous=LAST)
    assert names(found) == [("web", "/a", "new"), ("web", "/b", "old")]


def test_what_stays_for_several_refused_entries_stays_once() -> None:
    told, untold = raw("/b", topic="a/b"), raw("b")
    assert names(document(told, untold, None, previous=LAST)) == [
        ("web", "/b", "old"),
        ("web", "/a", "old"),
        ("other", "/c", "old"),
    ]
    assert names(document(untold, told, told, previous=LAST)) == [("web", "/a", "old"), ("web", "/b", "old")]


@pytest.mark.parametrize("member", [None, {}, {"service": 5, "log_path": "/b"}, {"service": "a/b"}])
def test_if_not_even_the_service_can_be_told_all_that_is_not_named_stays(member: object) -> None:
    found = document(member, raw("/a", topic="new"), member, previous=LAST)
    assert names(found) == [("web", "/b", "old"), ("other", "/c", "old"), ("web", "/a", "new")]


def test_what_a_good_list_does_not_name_is_gone() -> None:
    assert names(document(raw("/a", topic="new"), previous=LAST)) == [("web", "/a", "new")]


def test_a_kept_entry_can_be_kept_again_and_again() -> None:
    found = LAST
    for _ in range(3):
        found = document(raw("/b", topic="a/b"), previous=found)
        assert names(found) == [("web", "/b", "old")]
        found = read(b"{", 1, KEY, RULES, found)
        assert names(found) == [("web", "/b", "old")]


def test_each_path_of_a_refused_comma_list_stays() -> None:
    last = document(raw("/a, /b\\,c", topic="old"))
    assert names(document(raw("/a, /b\\,c", topic="a/b"), previous=last)) == [
        ("web", "/a", "old"),
        ("web", "/b,c", "old"),
    ]
    assert names(document(raw("/b\\,c", topic="a/b"), previous=last)) == [("web", "/b,c", "old")]


def test_a_kept_entry_takes_the_new_rate_of_its_service() -> None:
    last = document(raw("/a", send_rate=5), raw("/b", send_rate=5))
    found = document(raw("/a", send_rate=9), raw("/b", topic="a/b", send_rate=5), previous=last)
    assert [one.send_rate_lines_per_s for one in found.entries] == [9.0, 9.0]
    assert found.rates_lines_per_s == {"web": 9.0}


def test_a_refused_entry_sets_no_rate() -> None:
    found = document(raw("/a", topic="a/b", send_rate=5), raw("/b", send_rate=9))
    assert [one.send_rate_lines_per_s for one in found.entries] == [9.0]


def test_a_kept_entry_that_may_not_be_read_any_more_goes() -> None:
    stricter = PathRules(allowed=("/srv",), denied=(), own_log=None, data_dir="/d")
    found = read(b"null", 1, KEY, stricter, LAST)
    assert found.entries == ()
    assert faults(found)[1] == (
        f"{KEY}: kept entry 1: [services.web] log_path = '/a': this path may not be read:"
        " it is outside allowed_paths"
    )


def test_a_disabled_entry_needs_no_more_than_service_and_path() -> None:
    found = document(
        {"service": "web", "log_path": "/a, /b", "disabled": True, "topic": 5, "send_rate": "x"},
        raw("/c", disabled=False),
    )
    assert found.disabled == {("web", "/a"), ("web", "/b")}
    assert names(found) == [("web", "/c", "t")]
    assert (found.faults, found.warnings, found.rates_lines_per_s) == ((), (), {})


def test_a_disabled_entry_stays_disabled_while_its_new_version_is_refused() -> None:
    last = document({"service": "web", "log_path": "/a", "disabled": True})
    assert document(raw("/a", topic="a/b"), previous=last).disabled == {("web", "/a")}
    assert read(b"{", 1, KEY, RULES, last).disabled == {("web", "/a")}


def test_an_entry_stays_while_its_disabling_is_refused() -> None:
    found = document({"service": "web", "log_path": "/a", "disabled": 1}, previous=LAST)
    assert names(found) == [("web", "/a", "old")]
    assert faults(found) == [f"{KEY}: entry 1: [services.web] disabled = '1': expected true or false"]


def test_the_same_path_cannot_be_on_and_off() -> None:
    found = document(raw("/a"), {"service": "web", "log_path": "/a", "disabled": True})
    assert (names(found), found.disabled) == ([("web", "/a", "t")], frozenset())
    assert faults(found) == [
        f"{KEY}: entry 2: [services.web] log_path = '/a': expected each path once in a service"
    ]


def test_unknown_fields_are_told_once_each_and_ignored() -> None:
    found = document(raw("/a", sendrate=5), raw("/b", sendrate=5, x={"y": [1]}))
    assert len(found.entries) == 2
    assert found.warnings == (
        f"{KEY}: entry 1: 'sendrate' is an unknown field and is ignored; did you mean send_rate?",
        (
            f"{KEY}: entry 2: 'x' is an unknown field and is ignored; known here are service, log_path, topic,"
            " send_rate, format, headers, key, start_at, disabled"
        ),
    )
    assert "sendrate" not in found.accepted[0]


def test_only_the_first_of_very_many_unknown_fields_are_told() -> None:
    found = document(raw("/a", **{f"x{number}": 1 for number in range(1000)}))
    assert len(found.warnings) == 11
    assert found.warnings[-1] == f"{KEY}: 990 more unknown fields are ignored"


def test_a_byte_order_mark_is_passed_over() -> None:
    assert names(read(b"\xef\xbb\xbf" + encoded(raw("/a")), 1, KEY, RULES)) == [("web", "/a", "t")]


def test_bytes_that_are_no_utf_8_can_be_named_in_a_path() -> None:
    found = document(raw("/a\udcff"))
    assert [entry.log_path for entry in found.entries] == ["/a\udcff"]
    assert restored(found) == found.entries


def restored(found: Document) -> object:
    kept = json.loads(json.dumps(found.accepted))
    again = restore(kept, found.revision, found.key, RULES, source=found.source, sha256=found.sha256)
    assert (again.disabled, again.accepted) == (found.disabled, found.accepted)
    assert again.rates_lines_per_s == found.rates_lines_per_s
    assert (again.faults, again.revision, again.sha256) == ((), found.revision, found.sha256)
    return again.entries


def test_what_was_kept_may_be_garbage() -> None:
    found = restore([None, 5, {}, raw("/a"), {"service": 1}], 1, KEY, RULES)
    assert names(found) == [("web", "/a", "t")]


VALUES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=4
)
FIELDS = st.sampled_from(["service", *(key.name for key in SERVICE_KEYS), "disabled", "other"])
LIKELY = st.sampled_from(["/a", "/b", "/a,/b", "x", "web", "s2", "t", "raw", 5, 7, "unlimited", True, False])
GOOD = st.builds(raw, st.sampled_from(["/a", "/b", "/c", "/a,/d"]), service=st.sampled_from(["web", "s2"]))
SPOILT = st.builds(
    lambda one, changes: {**one, **changes}, GOOD, st.dictionaries(FIELDS, LIKELY | JSON, max_size=2)
)
LISTS = st.lists(GOOD | SPOILT | JSON, max_size=6).map(json.dumps).map(str.encode)
BYTES = st.binary() | JSON.map(json.dumps).map(str.encode) | LISTS


@given(BYTES, LISTS)
def test_no_value_raises_and_what_is_in_force_is_sound(value: bytes, last: bytes) -> None:
    previous = read(last, 1, KEY, RULES)
    found = read(value, 2, KEY, RULES, previous)

    ids = [entry.id for entry in found.entries]
    assert len(set(ids)) == len(ids)
    assert not found.disabled.intersection(ids)
    assert all(len(fault.splitlines()) == 1 for fault in faults(found))
    assert not found.rejected or (found.entries, found.accepted) == (previous.entries, previous.accepted)
    for entry in found.entries:
        assert RULES.refusal_as_written(entry.log_path) is None
        if entry.service in found.rates_lines_per_s:
            assert entry.send_rate_lines_per_s == found.rates_lines_per_s[entry.service]
    assert restored(found) == found.entries


@given(st.lists(GOOD, max_size=5, unique_by=lambda one: (one["service"], one["log_path"][:2])), LISTS)
def test_a_list_without_faults_is_in_force_alone(members: list[dict[str, Any]], last: bytes) -> None:
    alone = document(*members)
    if not alone.faults:
        assert document(*members, previous=read(last, 1, KEY, RULES)) == alone


@given(st.lists(GOOD | SPOILT | JSON, max_size=6), LISTS)
def test_a_refused_entry_never_stops_what_the_list_still_names(members: list[Any], last: bytes) -> None:
    """Of what was in force and is named by the list as (service, path), something stays in force."""
    previous = read(last, 1, KEY, RULES)
    found = read(encoded(*members), 2, KEY, RULES, previous)
    after = {entry.id for entry in found.entries} | found.disabled
    for member in members:
        if isinstance(member, dict) and not member.get("disabled"):
            id_ = (member.get("service"), member.get("log_path"))
            if id_ in [entry.id for entry in previous.entries]:
                assert id_ in after


@given(LISTS)
def test_reading_the_same_again_changes_nothing(value: bytes) -> None:
    once = read(value, 1, KEY, RULES)
    again = read(value, 1, KEY, RULES, once)
    assert again.entries == once.entries
    assert again.disabled == once.disabled
