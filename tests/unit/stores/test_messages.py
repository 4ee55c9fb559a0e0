# SPDX-License-Identifier: Apache-2.0
"""The gateway's JSON: what servers of all versions said when they were asked, and what nobody ever said."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logagent.errors import EtcdError, EtcdRefused, WatchEnded
from logagent.stores import messages
from logagent.stores.messages import Kind, Lines, Problem, WatchMessage
from logagent.stores.store import Item, Snapshot

MEMBER = "etcd:2379"

HEADER = {"cluster_id": "399923664293175024", "member_id": "1", "revision": "7", "raft_term": "2"}
SNAPSHOT = {
    "header": HEADER,
    "succeeded": True,
    "responses": [
        {
            "response_range": {
                "header": {"revision": "7"},
                "kvs": [{"key": "L2E=", "mod_revision": "5", "value": "W10="}],
            }
        },
        {"response_range": {"header": {"revision": "7"}}},
        {
            "response_range": {
                "kvs": [{"key": "L2Iv/w==", "mod_revision": "18446744073709551615"}],
                "count": "1",
            }
        },
    ],
}
EVENTS = {
    "result": {"header": HEADER, "watch_id": "2", "events": [{"kv": {"key": "L2E="}}, {"type": "DELETE"}]}
}


def as_bytes(value):
    return json.dumps(value).encode()


def test_a_snapshot_has_what_exists_at_one_revision():
    assert messages.read_snapshot(MEMBER, as_bytes(SNAPSHOT)) == Snapshot(
        cluster_id="399923664293175024",
        revision=7,
        term=2,
        items={"/a": Item(b"[]", 5), "/b/\udcff": Item(b"", 18446744073709551615)},
    )


def test_a_key_that_ends_with_a_slash_stands_for_all_below_it():
    whole, below = messages.range_txn(["/h/1", "/h/1/"])["success"]

    assert whole == {"request_range": {"key": base64.b64encode(b"/h/1").decode()}}
    assert base64.b64decode(below["request_range"]["key"]) == b"/h/1/"
    assert base64.b64decode(below["request_range"]["range_end"]) == b"/h/10"


def test_a_commit_compares_revisions_and_writes_or_deletes():
    assert messages.commit_txn({"/a": 0, "/b": 9}, {"/a": b"\xff", "/b": None}) == {
        "compare": [
            {"key": "L2E=", "target": "MOD", "result": "EQUAL", "mod_revision": "0"},
            {"key": "L2I=", "target": "MOD", "result": "EQUAL", "mod_revision": "9"},
        ],
        "success": [
            {"request_put": {"key": "L2E=", "value": "/w=="}},
            {"request_delete_range": {"key": "L2I="}},
        ],
    }


def test_a_failed_guard_is_told_by_what_is_left_out():
    assert messages.read_commit(MEMBER, as_bytes({"header": HEADER, "succeeded": True})) == 7
    assert messages.read_commit(MEMBER, as_bytes({"header": HEADER})) is None


def test_a_watch_asks_for_all_keys_in_one_body():
    ((body, count),) = messages.watches(["/a", "/b/"], 41)
    creates = [json.loads(line)["create_request"] for line in body.splitlines()]

    assert count == 2
    assert creates[1]["range_end"] == base64.b64encode(b"/b0").decode()
    assert {(one["start_revision"], one["progress_notify"], one["fragment"]) for one in creates} == {
        ("42", True, True)
    }


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_no_body_of_several_watches_is_longer_than_what_surely_arrives(lengths: list[int]):
    keys = [f"/{number}/" + "x" * length for number, length in enumerate(lengths)]
    bodies = messages.watches(keys, 1)

    assert all(count == 1 or len(body) <= 504 for body, count in bodies)
    assert [count for _, count in bodies] == [len(body.splitlines()) for body, _ in bodies]
    asked = [json.loads(line)["create_request"]["key"] for body, _ in bodies for line in body.splitlines()]
    assert asked == [messages.encode(key) for key in keys]


def test_a_simple_answer_has_its_field_at_the_top_or_in_a_result():
    assert messages.read_field(MEMBER, as_bytes({"header": HEADER, "ID": "12"}), "ID") == "12"
    assert messages.read_field(MEMBER, as_bytes({"result": {"header": HEADER, "TTL": "9"}}), "TTL") == "9"
    assert messages.read_field(MEMBER, as_bytes({"result": {"header": HEADER}}), "TTL") == ""
    for bad in ({}, {"ID": "12"}, {"header": HEADER, "ID": 12}, {"header": HEADER, "ID": "a\r\nb"}):
        with pytest.raises(EtcdRefused, match="is not Etcd"):
            messages.read_field(MEMBER, as_bytes(bad), "ID")


AUTH_OFF = "etcdserver: authentication is not enabled"


@pytest.mark.parametrize(
    ("status", "body", "kind", "harmless"),
    [
        (400, {"error": AUTH_OFF, "code": 9, "message": AUTH_OFF}, Kind.AUTH_OFF, True),
        (400, {"code": 9, "message": AUTH_OFF}, Kind.AUTH_OFF, True),
        (401, {"code": 16, "message": "etcdserver: invalid auth token"}, Kind.TOKEN, True),
        (400, {"code": 3, "message": "etcdserver: revision of auth store is old"}, Kind.TOKEN, True),
        (500, {"code": 2, "message": "auth: revision in header is old"}, Kind.TOKEN, True),
        (400, {"code": 3, "message": "etcdserver: user name is empty"}, Kind.TOKEN, True),
        (
            400,
            {"code": 3, "message": "etcdserver: authentication failed, invalid user ID or password"},
            Kind.PASSWORD,
            True,
        ),
        (403, {"code": 7, "message": "etcdserver: permission denied"}, Kind.DENIED, True),
        (
            400,
            {"code": 11, "message": "etcdserver: mvcc: required revision has been compacted"},
            Kind.ENDED,
            True,
        ),
        (404, {"code": 5, "message": "etcdserver: requested lease not found"}, Kind.LEASE_GONE, True),
        (503, {"code": 14, "message": "etcdserver: no leader"}, Kind.UNAVAILABLE, True),
        (503, {"code": 14, "message": "etcdserver: request timed out"}, Kind.UNAVAILABLE, False),
        (500, {"code": 2, "message": "context deadline exceeded"}, Kind.UNAVAILABLE, False),
        (429, {"code": 8, "message": "etcdserver: mvcc: database space exceeded"}, Kind.REFUSED, True),
        (429, {"code": 8, "message": "etcdserver: too many requests"}, Kind.UNAVAILABLE, True),
        (400, {"code": 3, "message": "etcdserver: request is too large"}, Kind.REFUSED, True),
        (
            400,
            b"CommonName of client sending a request against gateway will be ignored\n",
            Kind.COMMON_NAME,
            True,
        ),
        (404, b"404 page not found\n", Kind.NO_GATEWAY, True),
        (405, b"Method Not Allowed\n", Kind.NO_GATEWAY, True),
        (502, b"<html>Bad Gateway", Kind.UNAVAILABLE, False),
        (302, b"", Kind.REFUSED, True),
        (400, b'{"code": "3", "message": 4}', Kind.REFUSED, True),
    ],
)
def test_errors_of_all_versions_are_understood(status, body, kind, harmless):
    said = body if isinstance(body, bytes) else as_bytes(body)
    found = messages.problem_of(status, said)

    assert (found.kind, found.harmless) == (kind, harmless)


CREATED = {"header": HEADER, "created": True}
DENIED = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"result": CREATED}, WatchMessage(created=True)),
        ({"result": {"header": HEADER, "watch_id": 3}}, WatchMessage(watch_id=3)),
        (EVENTS, WatchMessage(watch_id=2, changes=2)),
        (
            {"result": {"header": {}, "canceled": True, "compact_revision": "12"}},
            WatchMessage(problem=Problem(Kind.ENDED, "compacted up to revision 12")),
        ),
        (
            {"result": CREATED | {"canceled": True, "cancel_reason": DENIED}},
            WatchMessage(created=True, problem=Problem(Kind.DENIED, DENIED)),
        ),
        (
            {"result": {"canceled": True}},
            WatchMessage(problem=Problem(Kind.ENDED, "the server cancelled the watch")),
        ),
        (
            {"error": {"grpc_code": 14, "http_code": 503, "message": "etcdserver: no leader"}},
            WatchMessage(problem=Problem(Kind.UNAVAILABLE, "etcdserver: no leader")),
        ),
        (
            {"error": {"code": 16, "message": "etcdserver: invalid auth token", "details": []}},
            WatchMessage(problem=Problem(Kind.TOKEN, "etcdserver: invalid auth token")),
        ),
    ],
)
def test_messages_of_a_watch_are_understood(message, meaning):
    assert messages.read_watch(MEMBER, as_bytes(message)) == meaning


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ({"etcdserver": "3.5.1", "etcdcluster": "3.5.0"}, (3, 5)),
        ({"etcdserver": "3.7.3", "etcdcluster": "3.6.0", "storage": "3.6.0"}, (3, 6)),
        ({"etcdserver": "3.4.23", "etcdcluster": "not_decided"}, (3, 4)),
    ],
)
def test_the_version_is_that_of_the_cluster(body, version):
    assert messages.read_version(MEMBER, as_bytes(body)) == version


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"action":"get","node":{"key":"/a","value":"x","modifiedIndex":9}}', (True, 9)),
        (b'{"errorCode":100,"message":"Key not found","index":3}', (True, 0)),
        (b'{"message":"Insufficient credentials"}', (True, 0)),
        (b"404 page not found\n", (False, 0)),
        (b"{}", (False, 0)),
    ],
)
def test_an_answer_of_the_old_api_is_recognised(body, found):
    assert messages.read_v2_key(body) == found


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").strip())), st.data())
def test_lines_survive_whatever_the_network_makes_of_them(lines, data):
    stream = b"\n".join(lines)
    splitter, found = Lines(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    found.append(splitter.rest())

    assert [line for line in found if line] == [line for line in lines if line]


def test_a_line_without_end_is_given_up():
    splitter = Lines()
    assert list(splitter.feed(bytes(messages.MAX_MESSAGE_BYTES))) == []
    with pytest.raises(WatchEnded, match="larger than"):
        list(splitter.feed(b"x"))


NAMES = st.sampled_from(
    [
        "header",
        "result",
        "responses",
        "response_range",
        "kvs",
        "key",
        "value",
        "mod_revision",
        "events",
        "created",
        "canceled",
        "compact_revision",
        "cancel_reason",
        "error",
        "code",
        "grpc_code",
        "message",
        "watch_id",
        "revision",
        "cluster_id",
        "raft_term",
        "node",
        "modifiedIndex",
        "etcdcluster",
        "etcdserver",
        "errorCode",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("9" * 5000),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=20,
)
REAL = st.sampled_from(
    [
        SNAPSHOT,
        EVENTS,
        {"result": CREATED},
        {"error": {"grpc_code": 14, "message": "x"}},
        {"etcdserver": "3.5.1"},
    ]
)


@st.composite
def mutated(draw):
    """A real message with one of its values, at any depth, replaced or removed."""
    whole = json.loads(json.dumps(draw(REAL)))
    place = whole
    while True:
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 3)) == 0:
            break
        place = inner
    if draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(JSON)
    return whole


@st.composite
def cut(draw):
    body = as_bytes(draw(REAL))
    return body[: draw(st.integers(0, len(body)))] + draw(st.binary(max_size=5))


BODIES = st.binary(max_size=60) | JSON.map(as_bytes) | mutated().map(as_bytes) | cut()


@example(rb'{"code": 3, "message": "\u001b[1m\n\u0000"}', 400)
@example(b'{"result": {"watch_id": null}}', 200)
@example(b'{"result": {"watch_id": 1e999}}', 200)
@example(b'{"result": {"watch_id": [1]}}', 200)
@given(BODIES | st.just(b"[" * 100_000) | st.just(b'{"result":' * 50_000), st.integers(100, 599))
def test_garbage_raises_nothing_but_etcd_errors(body, status):
    assert messages.problem_of(status, body).text.isprintable()
    messages.read_v2_key(body)
    for read in (
        messages.read_snapshot,
        messages.read_commit,
        messages.read_watch,
        messages.read_version,
        lambda member, body: messages.read_field(member, body, "ID"),
    ):
        try:
            read(MEMBER, body)
        except EtcdError as error:
            assert str(error).isprintable()  # noqa: PT017
            assert len(str(error)) < 1000  # noqa: PT017
