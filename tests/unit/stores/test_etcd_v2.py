# SPDX-License-Identifier: Apache-2.0
"""python-etcd as we use it, against servers that misbehave: nothing is sent twice, every answer is understood."""

import logging

import gevent
import pytest
from gevent.event import Event

from logagent.errors import (
    EtcdError,
    EtcdRefused,
    MemberUnavailable,
    OutcomeUnknown,
    SessionLost,
    WatchEnded,
)
from logagent.spawn import Spawner
from logagent.stores.etcd_v2 import KeysStore
from logagent.stores.store import Access, Item
from tests.unit.stores.servers import Server, always, answer

KEY = "/logagent/h/logconfig"
TIMEOUT_S = 0.5
HEADERS = ("X-Etcd-Index: 7", "X-Etcd-Cluster-Id: c1")


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


def found(value="1", revision=5, **more):
    return {"action": "get", "node": {"key": KEY, "value": value, "modifiedIndex": revision} | more}


def error(code, status, message="it said", cause="why"):
    return answer(status, {"errorCode": code, "message": message, "cause": cause, "index": 7}, *HEADERS)


def watching(request):
    return b"wait=true" in request.split(b"\r\n")[0]


@pytest.fixture
def serve():
    servers, stores = [], []

    def start(how, **access):
        servers.append(Server(how))
        stores.append(KeysStore(servers[-1].at, Access(TIMEOUT_S, **access), Spawner(fail)))
        return servers[-1], stores[-1]

    yield start
    for store in stores:
        store.close()
    for server in servers:
        server.stop()


def silent(_server, _socket, _request):
    gevent.sleep(60)


def hang_up(_server, _socket, _request):
    return False


def all_operations(store):
    return [
        lambda: store.load([KEY]),
        lambda: store.commit({KEY: 5}, {KEY: b"2"}),
        lambda: store.commit({}, {KEY: None}),
        lambda: store.session(5).put(KEY, b"1"),
        lambda: next(store.follow([KEY], 5, TIMEOUT_S)),
    ]


def test_the_answers_of_a_server_are_understood(serve):
    server, store = serve(always(answer(200, found(), *HEADERS)))
    snapshot = store.load([KEY])
    assert (snapshot.cluster_id, snapshot.revision, snapshot.term) == ("c1", 7, 0)
    assert snapshot.items == {KEY: Item(b"1", 5)}
    assert b"quorum=true" in server.requests[0]


@pytest.mark.parametrize("how", [silent, hang_up])
def test_a_write_without_an_answer_is_sent_once_and_its_outcome_is_unknown(serve, how):
    server, store = serve(how)
    with pytest.raises(OutcomeUnknown, match="may or may not"):
        store.commit({KEY: 5}, {KEY: b"2"})
    assert len(server.requests) == 1
    with pytest.raises(MemberUnavailable):
        store.load([KEY])
    assert len(server.requests) == 2


def test_python_etcd_writes_no_log_of_its_own(serve, caplog):
    _, store = serve(hang_up)
    with caplog.at_level(logging.DEBUG):
        for call in all_operations(store):
            with pytest.raises(EtcdError):
                call()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("etcd")] == []


@pytest.mark.parametrize(
    "whole",
    [
        answer(404, b"404 page not found\n"),
        answer(200, b"<html>\xff", *HEADERS),
        answer(400, b"\xff\xfe", *HEADERS),
        answer(200, [1], *HEADERS),
        answer(200, {"node": []}, *HEADERS),
        answer(200, {"node": {"key": KEY, "modifiedIndex": "many"}}, *HEADERS),
        answer(200, found(), "X-Etcd-Index: many", "X-Etcd-Cluster-Id: c1"),
        answer(200, found()),
        answer(200, b"[" * 100_000, *HEADERS),
        answer(302, b"", "Location: /elsewhere"),
    ],
)
def test_what_is_no_v2_api_is_refused_in_a_sentence(serve, whole):
    _, store = serve(always(whole))
    for call in all_operations(store):
        with pytest.raises(EtcdRefused, match=r"--enable-v2.*api = v3 in \[etcd\], or auto"):
            call()


def test_strange_nodes_hold_no_values(serve):
    nodes = [
        None,
        1,
        {"key": KEY},
        {"key": KEY, "value": 1, "modifiedIndex": 1},
        {"nodes": "x"},
        found()["node"],
    ]
    _, store = serve(always(answer(200, {"node": {"dir": True, "nodes": nodes}}, *HEADERS)))
    assert store.load(["/logagent/h/"]).items == {KEY: Item(b"1", 5)}


def test_a_directory_in_place_of_a_key_is_no_value(serve):
    below = {"key": f"{KEY}/x", "value": "1", "modifiedIndex": 5}
    _, store = serve(always(answer(200, {"node": {"key": KEY, "dir": True, "nodes": [below]}}, *HEADERS)))
    assert store.load([KEY]).items == {}
    assert store.load([f"{KEY}/"]).items.keys() == {f"{KEY}/x"}


def test_an_answer_without_end_is_refused(serve, monkeypatch):
    monkeypatch.setattr("logagent.stores.etcd_v2.MAX_ANSWER_BYTES", 1000)
    _, store = serve(always(answer(200, found("x" * 2000), *HEADERS)))
    with pytest.raises(EtcdRefused, match="more than 1000 bytes"):
        store.load([KEY])


@pytest.mark.parametrize(
    ("whole", "reading", "writing"),
    [
        (error(300, 500, "Raft Internal Error"), MemberUnavailable, OutcomeUnknown),
        (answer(503, b"no"), MemberUnavailable, OutcomeUnknown),
        (error(209, 400, "Invalid field"), EtcdRefused, EtcdRefused),
        (answer(401, {"message": "Insufficient credentials"}), EtcdRefused, EtcdRefused),
    ],
)
def test_errors_of_a_server_are_told_apart(serve, whole, reading, writing):
    _, store = serve(always(whole))
    with pytest.raises(reading):
        store.load([KEY])
    with pytest.raises(writing):
        store.commit({}, {KEY: b"1"})


@pytest.mark.parametrize("code", [400, 401])
def test_a_watch_whose_past_is_forgotten_ends(serve, code):
    _, store = serve(always(error(code, 400, "The event in requested index is outdated and cleared")))
    with pytest.raises(WatchEnded, match="outdated"):
        next(store.follow([KEY], 5, 5.0))


def test_a_watch_notices_another_cluster(serve):
    def how(_server, socket, request):
        cluster = "X-Etcd-Cluster-Id: c2" if watching(request) else HEADERS[1]
        socket.sendall(answer(200, found(), HEADERS[0], cluster))

    _, store = serve(how)
    store.load([KEY])
    with pytest.raises(WatchEnded, match="cluster"):
        next(store.follow([KEY], 5, 5.0))


def test_a_list_shows_which_cluster_answers_now(serve):
    def how(server, socket, _request):
        socket.sendall(answer(200, found(), HEADERS[0], f"X-Etcd-Cluster-Id: c{len(server.requests)}"))

    _, store = serve(how)
    assert [store.load([KEY]).cluster_id for _ in range(3)] == ["c1", "c2", "c3"]


def test_a_watch_that_nobody_listens_to_any_more_hangs_up(serve):
    hung_up = Event()

    def how(server, socket, _request):
        if len(server.requests) == 1:
            socket.sendall(answer(200, found(), *HEADERS))
        elif not socket.recv(1):
            hung_up.set()

    _, store = serve(how)
    watch = store.follow([KEY], 4, 60.0)
    assert next(watch) == 1
    watch.close()
    assert hung_up.wait(5)


def test_a_watch_goes_on_from_where_the_one_who_was_told_has_read(serve):
    events = [found(revision=5), found(revision=30)]

    def how(_server, socket, _request):
        if not events:
            gevent.sleep(60)
        socket.sendall(answer(200, events.pop(0), "X-Etcd-Index: 20", HEADERS[1]))

    server, store = serve(how)
    watch = store.follow([KEY], 4, 5.0)
    assert [next(watch), next(watch)] == [1, 1]
    while len(server.requests) < 3:
        gevent.idle()
    watch.close()
    first_lines = [request.split(b" ")[1] for request in server.requests]
    assert [line.rpartition(b"waitIndex=")[2] for line in first_lines] == [b"5", b"21", b"31"]


def test_a_write_of_several_keys_that_breaks_off_is_unknown(serve):
    def how(server, socket, _request):
        socket.sendall(
            answer(200, found(), *HEADERS) if len(server.requests) == 1 else error(209, 400, "Invalid field")
        )

    server, store = serve(how)
    with pytest.raises(OutcomeUnknown, match="/audit was not written after others were"):
        store.commit({KEY: 4}, {"/audit": b"a", KEY: b"1"})
    assert [request.split(b"?")[0].split(b" ")[1] for request in server.requests] == [
        b"/v2/keys/logagent/h/logconfig",
        b"/v2/keys/audit",
    ]


def test_a_session_whose_key_is_gone_is_lost(serve):
    def how(server, socket, _request):
        socket.sendall(answer(200, found(), *HEADERS) if len(server.requests) == 1 else error(100, 404))

    _, store = serve(how)
    session = store.session(5)
    session.put(KEY, b"1")
    with pytest.raises(SessionLost):
        session.keep_alive()


def test_user_and_password_go_with_every_request(serve, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("pä:ss\n")
    secret.chmod(0o600)
    server, store = serve(always(answer(200, found(), *HEADERS)), user="agent", password_file=secret)
    store.load([KEY])
    next(store.follow([KEY], 4, 5.0))
    assert len(server.requests) >= 2
    for request in server.requests:
        assert b"authorization: basic YWdlbnQ6cMOkOnNz".lower() in request.lower()


def test_what_lies_below_another_key_is_not_watched_twice(serve):
    server, store = serve(silent)
    keys = ["/a/h/logconfig", "/a/h/replay/1", "/a/h/replay/", "/a/h/replay/", "/a/h/replay2"]
    with pytest.raises(WatchEnded, match=r"0\.2 s"):
        next(store.follow(keys, 4, 0.2))
    asked = {request.split(b" ")[1] for request in server.requests}
    assert len(server.requests) == 3
    assert asked == {
        b"/v2/keys/a/h/logconfig?wait=true&waitIndex=5",
        b"/v2/keys/a/h/replay?wait=true&waitIndex=5&recursive=true",
        b"/v2/keys/a/h/replay2?wait=true&waitIndex=5",
    }
