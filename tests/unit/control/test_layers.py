# SPDX-License-Identifier: Apache-2.0
"""INI, host, groups and default become one list."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.config.services import Entry, validate
from logagent.control.documents import Document, read
from logagent.control.layers import Hidden, groups, merge
from logagent.errors import Fault
from tests.unit.control.lists import KEY, RULES, document, encoded, raw

SEED = Path(__file__).parent / "fixtures" / "seed_list.json"


def shapes(entries: tuple[Entry, ...]) -> list[tuple[str, str, float | None, str]]:
    return [(one.service, one.log_path, one.send_rate_lines_per_s, one.source) for one in entries]


def ini(*members: dict[str, Any]) -> tuple[tuple[Entry, ...], dict[str, float | None]]:
    validated = validate(members, RULES, source="ini", where=lambda index, key: "f")
    return validated.entries, dict(validated.rates_lines_per_s)


def test_the_highest_layer_that_names_an_entry_decides() -> None:
    merged = merge(
        *ini(raw("/a", topic="ini")),
        [
            document(raw("/a", topic="host"), raw("/b", topic="host")),
            document(raw("/b", topic="web"), raw("/c", topic="web"), source="group web"),
            document(raw("/c", topic="all"), raw("/d", topic="all"), source="default"),
        ],
    )
    assert [(one.log_path, one.topic, one.source) for one in merged.entries] == [
        ("/a", "ini", "ini"),
        ("/b", "host", "etcd"),
        ("/c", "web", "group web"),
        ("/d", "all", "default"),
    ]
    assert [(one.entry.topic, one.by, one.disabled) for one in merged.hidden] == [
        ("host", "ini", False),
        ("web", "etcd", False),
        ("all", "group web", False),
    ]


def test_the_same_path_in_another_service_is_another_entry() -> None:
    merged = merge((), {}, [document(raw()), document(raw(service="other"), source="default")])
    assert [one.service for one in merged.entries] == ["web", "other"]


def test_a_disabled_entry_is_not_taken_from_lower_layers() -> None:
    off = {"service": "web", "log_path": "/a", "disabled": True}
    merged = merge(
        *ini(raw("/b")),
        [
            document(off, {**off, "log_path": "/b"}),
            document(raw("/a"), source="group web"),
            document(raw("/a"), raw("/c"), source="default"),
        ],
    )
    assert [one.log_path for one in merged.entries] == ["/b", "/c"]
    assert [(one.entry.source, one.by, one.disabled) for one in merged.hidden] == [
        ("group web", "etcd", True),
        ("default", "etcd", True),
    ]


def test_a_layer_cannot_disable_what_stands_above_it() -> None:
    off = {"service": "web", "log_path": "/a", "disabled": True}
    merged = merge((), {}, [document(raw("/a")), document(off, source="default")])
    assert shapes(merged.entries) == [("web", "/a", None, "etcd")]


def test_the_highest_written_rate_holds_for_the_whole_service() -> None:
    merged = merge(
        *ini(raw("/a")),
        [
            document(raw("/b", send_rate=7)),
            document(raw("/c", send_rate=9), raw("/x", service="s2", send_rate=3), source="default"),
        ],
    )
    assert shapes(merged.entries) == [
        ("web", "/a", 7.0, "ini"),
        ("web", "/b", 7.0, "etcd"),
        ("web", "/c", 7.0, "default"),
        ("s2", "/x", 3.0, "default"),
    ]


def test_unlimited_in_a_higher_layer_is_a_rate_too() -> None:
    merged = merge(*ini(raw("/a", send_rate="unlimited")), [document(raw("/b", send_rate=7))])
    assert shapes(merged.entries) == [("web", "/a", None, "ini"), ("web", "/b", None, "etcd")]


def test_a_list_of_the_seed_alone_is_taken_as_it_is() -> None:
    found = read(SEED.read_bytes(), 1, KEY, RULES)
    assert (found.faults, found.warnings) == ((), ())
    assert shapes(merge((), {}, [found]).entries) == [
        (
            "test_service",
            "/search/nginx/logs/ping-android.shouji.sogou.com_access_log",
            1000.0,
            "etcd",
        ),
        (
            "srv.android.shouji.sogou.com",
            "/search/nginx/logs/srv.android.shouji.sogou.com_access_log",
            2000.0,
            "etcd",
        ),
    ]


MEMBERS = st.builds(
    lambda service, path, disabled, rate: {
        "service": service,
        "log_path": path,
        **({"disabled": True} if disabled else {"topic": "t", **({"send_rate": rate} if rate else {})}),
    },
    st.sampled_from(["s1", "s2"]),
    st.sampled_from(["/a", "/b", "/c"]),
    st.booleans(),
    st.sampled_from([None, 1, 2, "unlimited"]),
)
LAYERS = st.lists(
    st.lists(MEMBERS, max_size=6).map(lambda members: document(*members)), min_size=1, max_size=4
).map(lambda found: [Document(**{**plain(one), "source": f"layer {at}"}) for at, one in enumerate(found)])


def plain(one: Document) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Document.__slots__}


@given(LAYERS)
def test_merging_obeys_its_laws(layers: list[Document]) -> None:
    top, *documents = layers
    merged = merge(top.entries, top.rates_lines_per_s, documents)
    order = [(top.entries, frozenset[tuple[str, str]]()), *((one.entries, one.disabled) for one in documents)]
    ids = [entry.id for entry in merged.entries]

    assert len(set(ids)) == len(ids)
    assert len(merged.entries) + len(merged.hidden) == sum(len(entries) for entries, _ in order)
    for id_ in {("s1", "/a"), ("s1", "/b"), ("s1", "/c"), ("s2", "/a"), ("s2", "/b"), ("s2", "/c")}:
        words = [
            id_ not in disabled
            for entries, disabled in order
            if id_ in disabled or id_ in {entry.id for entry in entries}
        ]
        assert (id_ in ids) == (bool(words) and words[0])
    for service in ("s1", "s2"):
        written = [one.rates_lines_per_s[service] for one in layers if service in one.rates_lines_per_s]
        rates = {entry.send_rate_lines_per_s for entry in merged.entries if entry.service == service}
        assert rates <= {written[0] if written else None}


@given(LAYERS)
def test_one_layer_alone_is_taken_as_it_is(layers: list[Document]) -> None:
    assert merge((), {}, layers[:1]).entries == layers[0].entries
    assert merge(layers[0].entries, layers[0].rates_lines_per_s, []).entries == layers[0].entries


def test_hidden_entries_can_be_told() -> None:
    (one,) = merge((), {}, [document(raw()), document(raw(), source="default")]).hidden
    assert one == Hidden(document(raw(), source="default").entries[0], "etcd", False)


def test_groups_are_a_list_of_names_with_the_highest_first() -> None:
    assert groups(b'["web", "eu"]', "/g") == ("web", "eu")
    assert groups(b"[]", "/g") == ()
    assert groups(None, "/g") == ()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"", "/g: it is empty; expected a JSON list of group names ([] for none)"),
        (b"null", "/g: it is null; expected a JSON list of group names"),
        (b'"web"', "/g: it is a text; expected a JSON list of group names"),
        (b'["web",', "/g: it is not JSON (line 1, column 8: Expecting value)"),
        (b'["web", "web"]', "/g: member 2: 'web': expected each group once"),
        (
            b'["default"]',
            "/g: member 1: 'default': expected no default here, as it counts for every host, below all groups",
        ),
        (
            b"[5]",
            "/g: member 1: '5': expected a group name of 1 to 249 printable characters without a slash",
        ),
    ],
)
def test_what_is_no_list_of_groups_is_refused(value: bytes, sentence: str) -> None:
    fault = groups(value, "/g")
    assert isinstance(fault, Fault)
    assert str(fault).startswith(sentence)


def test_a_host_is_in_fifty_groups_at_most() -> None:
    names = [f"g{number}" for number in range(51)]
    assert groups(encoded(*names[:50]), "/g") == tuple(names[:50])
    assert str(groups(encoded(*names), "/g")) == "/g: it has 51 group names; expected at most 50"


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: encoded(v)))
def test_no_value_of_the_groups_key_raises(value: bytes) -> None:
    assert isinstance(groups(value, "/g"), (tuple, Fault))
