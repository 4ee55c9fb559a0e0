# SPDX-License-Identifier: Apache-2.0
"""Which services and paths are refused, whoever wrote them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.config.services import (
    FAULTY,
    SERVICE_KEYS,
    Entry,
    PathRules,
    nearest,
    read_log_paths,
    shown,
    static_prefix,
    validate,
)

RULES = PathRules(
    allowed=(), denied=("/etc", "/root", ".ssh"), own_log="/var/log/agent.log", data_dir="/var/lib/agent"
)


def check(*raw: dict[str, Any], rules: PathRules = RULES) -> tuple[tuple[Entry, ...], list[str]]:
    validated = validate(raw, rules, source="test", where=lambda index, key: f"{index}/{key}")
    return validated.entries, [str(fault) for fault in validated.faults]


def raw(**changes: Any) -> dict[str, Any]:
    return {"service": "web", "log_path": "/var/log/a.log", "topic": "t", **changes}


def test_the_entries_of_the_seed_are_accepted() -> None:
    entries, faults = check(
        {
            "service": "test_service",
            "log_path": "/search/nginx/logs/ping_access_log",
            "topic": "nginx_log",
            "send_rate": 1000,
        },
        {
            "service": "srv.android",
            "log_path": "/search/nginx/logs/srv_access_log",
            "topic": "nginx_log",
            "send_rate": 2000,
        },
    )
    assert not faults
    assert [(entry.service, entry.send_rate_lines_per_s) for entry in entries] == [
        ("test_service", 1000.0),
        ("srv.android", 2000.0),
    ]


@pytest.mark.parametrize(
    "rate",
    [0, -1, "0", "-5", "0.0", "fast", "", "nan", "inf", "-inf", "1e30", "1e3", "1_000", "true", "True", "yes",
     "٣", True, False, None, float("nan"), float("inf"), 1e30, 10**400, 0.0001, 1_000_000_001, [], {}],
)  # fmt: skip
def test_a_rate_that_is_no_sensible_number_is_refused(rate: object) -> None:
    entries, faults = check(raw(send_rate=rate))
    assert entries == ()
    assert len(faults) == 1
    assert faults[0].startswith("0/send_rate: [services.web] send_rate")
    assert "expected lines per second" in faults[0]


@pytest.mark.parametrize(
    ("rate", "value"), [("1000", 1000.0), (2.5, 2.5), (1, 1.0), ("0.001", 0.001), ("unlimited", None)]
)
def test_a_rate_is_a_number_or_the_word_unlimited(rate: object, value: float | None) -> None:
    (entry,), faults = check(raw(send_rate=rate))
    assert not faults
    assert entry.send_rate_lines_per_s == value


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "a b", "t\n", "ü", "x" * 250, None, 5, ["t"]])
def test_an_illegal_topic_is_refused(topic: object) -> None:
    entries, faults = check(raw(topic=topic))
    assert entries == ()
    assert ["expected a topic of 1 to 249" in fault for fault in faults] == [True]


@pytest.mark.parametrize("topic", ["...", "a", "A.b_c-9", "x" * 249])
def test_a_legal_topic_is_accepted(topic: str) -> None:
    assert check(raw(topic=topic))[1] == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("log/a", "does not start with /"),
        ("./a", "does not start with /"),
        ("", "expected an absolute file path"),
        ("/var/../etc/passwd", "contains .."),
        ("/var/log/", "is a directory"),
        ("/", "is a directory"),
        ("/a,,/b", "nothing between two commas"),
        ("/a\0b", "no file can have this name"),
        ("/a\ud800", "cannot be encoded"),
        ("/" + "x" * 4096, "no file can have this name"),
        ("/etc/passwd", "/etc is in denied_paths"),
        ("//etc//passwd", "/etc is in denied_paths"),
        ("/etc/./*.conf", "/etc is in denied_paths"),
        ("/home/*/.ssh/id*", ".ssh is in denied_paths"),
        ("/home/a/.ssh/key", ".ssh is in denied_paths"),
        ("/var/log/agent.log", "the agent's own log"),
        ("/var/log/agent.log.1", "the agent's own log"),
        ("/var/log/agent.log-20260101", "the agent's own log"),
        ("/var/lib/agent/state.db", "the agent's data_dir"),
        ("/var/lib/agent/*/x", "the agent's data_dir"),
        (7, "expected an absolute file path"),
        (None, "expected an absolute file path"),
    ],
)
def test_a_path_that_may_not_be_read_is_refused(path: object, reason: str) -> None:
    entries, faults = check(raw(log_path=path))
    assert entries == ()
    assert [reason in fault for fault in faults] == [True]


@pytest.mark.parametrize(
    "path", ["/etcetera/x", "/var/log/*.log", "/home/x.ssh/y", "/var/log/agent.logs", "/v/a[1-3]?", "/a b/ü"]
)
def test_other_paths_are_accepted(path: str) -> None:
    (entry,), faults = check(raw(log_path=path))
    assert (entry.log_path, faults) == (path, [])


def test_a_denied_path_beats_an_allowed_one() -> None:
    rules = PathRules(allowed=("/srv",), denied=("/srv/secret",), own_log=None, data_dir="/d")
    assert rules.refusal("/srv/log") is None
    assert rules.refusal("/srv/secret/log") == "/srv/secret is in denied_paths"
    assert rules.refusal("/srvx/log") == "it is outside allowed_paths"


def test_a_glob_is_accepted_if_it_may_reach_an_allowed_directory() -> None:
    rules = PathRules(allowed=("/srv/log",), denied=(), own_log=None, data_dir="/d")
    assert rules.refusal_as_written("/srv/*/x") is None
    assert rules.refusal_as_written("/srv/log/**/x") is None
    assert rules.refusal_as_written("/opt/*/x") == "it is outside allowed_paths"
    assert static_prefix("/*") == "/"


def test_a_path_may_stand_once_in_a_service_and_again_in_another() -> None:
    entries, faults = check(raw(), raw(service="other"), raw(log_path="//var/log/./a.log"))
    assert [entry.id for entry in entries] == [("web", "/var/log/a.log"), ("other", "/var/log/a.log")]
    assert faults == [
        "2/log_path: [services.web] log_path = '/var/log/a.log': expected each path once in a service"
    ]
    assert len(check(raw(log_path="/a, /b, /a"))[1]) == 1


def test_a_comma_list_becomes_an_entry_per_path() -> None:
    entries, _ = check(raw(log_path="/a, /b\\,c ,/d/*", send_rate=5))
    assert [(entry.log_path, entry.send_rate_lines_per_s) for entry in entries] == [
        ("/a", 5.0),
        ("/b,c", 5.0),
        ("/d/*", 5.0),
    ]


def test_a_missing_rate_is_that_of_the_services_other_entry_wherever_it_stands() -> None:
    entries, faults = check(
        raw(log_path="/a"), raw(log_path="/b", send_rate=9), raw(service="s2", log_path="/c")
    )
    assert not faults
    assert [entry.send_rate_lines_per_s for entry in entries] == [9.0, 9.0, None]


def test_the_rates_that_good_entries_write_are_told_by_service() -> None:
    members = [
        raw(log_path="/a"),
        raw(log_path="/b", send_rate=9),
        raw(service="s2", send_rate="unlimited"),
        raw(service="s3"),
        raw(service="s4", topic="a/b", send_rate=5),
    ]
    validated = validate(members, RULES, source="test", where=lambda index, key: "")
    assert validated.rates_lines_per_s == {"web": 9.0, "s2": None}
    assert [len(member) for member in validated.members] == [1, 1, 1, 1, 0]


def test_each_path_of_a_comma_list_belongs_to_its_member() -> None:
    validated = validate([raw(log_path="/a, /b")], RULES, source="test", where=lambda index, key: "")
    assert [[entry.log_path for entry in member] for member in validated.members] == [["/a", "/b"]]
    assert validated.entries == validated.members[0]


def test_a_value_whose_fault_is_told_already_refuses_the_entry_silently() -> None:
    assert check(raw(topic=FAULTY)) == ((), [])
    assert check(raw(service=FAULTY)) == ((), [])


def test_two_rates_for_one_service_are_refused() -> None:
    entries, faults = check(raw(log_path="/a", send_rate="unlimited"), raw(log_path="/b", send_rate=9))
    assert [entry.log_path for entry in entries] == ["/a"]
    expected = "expected one rate for the whole service, which has unlimited already"
    assert faults == [f"1/send_rate: [services.web] send_rate = '9': {expected}"]


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a/b", "a\nb", "a\x7f", "x" * 250, None, 5])
def test_a_service_name_that_does_not_fit_is_refused(name: object) -> None:
    entries, faults = check(raw(service=name))
    assert entries == ()
    assert ["expected a service name" in fault and "\n" not in fault for fault in faults] == [True]


def test_required_keys_are_missed() -> None:
    _, faults = check({"service": "web"})
    assert [fault.split(";")[0] for fault in faults] == [
        "0/log_path: [services.web] log_path: log_path is missing",
        "0/topic: [services.web] topic: topic is missing",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    st.lists,
    max_leaves=3,
)
NAMES = st.sampled_from(["service", *(key.name for key in SERVICE_KEYS), "other"])


CHANGES = st.dictionaries(NAMES, JSON | st.sampled_from(["/a", "/a,/b", "t", "raw", "end", 5]), max_size=2)


@given(st.lists(CHANGES.map(lambda changes: raw(**changes)) | CHANGES))
@settings(deadline=None)
def test_whatever_the_values_are_there_are_entries_or_faults(members: list[dict[str, Any]]) -> None:
    entries, faults = check(*members)
    assert len({entry.id for entry in entries}) == len(entries)
    assert entries or faults or not members
    assert all(len(fault.splitlines()) == 1 for fault in faults)


def test_what_faults_show_is_short_and_printable() -> None:
    assert shown("a\n\x1b[31m\ud800") == "a\\n\\x1b[31m\\ud800"
    assert len(shown("x" * 10_000)) == 120


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (None, "null"), (1e30, "1e+30"), ({"a": ["ü"]}, '{"a": ["ü"]}'), (5, "5")],
)
def test_what_is_not_text_is_shown_as_json_writes_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_nearest_known_name_is_proposed() -> None:
    assert nearest("TOPIK", ["topic", "key"]) == "did you mean topic?"
    assert nearest("x" * 100_000, ["topic", "key"]) == "known here are topic, key"


def test_paths_are_told_as_the_validator_reads_them() -> None:
    assert read_log_paths("//a, /b\\,c") == ("/a", "/b,c")


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "^$"), (5, "^$"), ("", "^$"), ("a", "does not start with /"), ("/a,", "commas")],
)
def test_paths_that_cannot_be_told_are_refused(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_log_paths(value)
