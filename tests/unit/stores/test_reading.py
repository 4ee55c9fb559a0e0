# SPDX-License-Identifier: Apache-2.0
"""A server that never stops talking keeps nobody else from running, and is left."""

import contextlib
import gzip
import json
import time

import gevent
import pytest

from logagent.errors import EtcdRefused, MemberSilent, MemberUnavailable, WatchEnded
from logagent.spawn import Spawner
from logagent.stores import gateway, reading
from logagent.stores.etcd_v2 import KeysStore
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.gateway import Gateway
from logagent.stores.reading import MAX_NEWS, MAX_NEWS_BYTES, NEWS_WINDOW_S, News, Turns
from logagent.stores.store import Access
from logagent.stores.tokens import Tokens
from tests.unit.stores.servers import Server, always, answer

KEY = "/logagent/h/logconfig"
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Time:
    now_s = 100.0

    def clock(self):
        return self.now_s


@pytest.fixture
def serve():
    servers = []

    def start(handler):
        servers.append(Server(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def endless(head, piece):
    def handler(_server, socket, _request):
        socket.sendall(head)
        while True:
            socket.sendall(piece)

    return handler


def test_others_get_their_turn_every_few_milliseconds():
    now, rests = Time(), []

    def sleep(seconds):
        rests.append(now.now_s)
        assert seconds > 0, "a sleep of nothing does not let time-outs run"

    turns = Turns(now.clock, sleep)
    for _ in range(100):
        now.now_s += 0.001
        turns.rest()
    assert 15 <= len(rests) <= 20


def test_a_watch_may_say_only_so_much():
    now = Time()
    news = News("e:1", now.clock)
    for _ in range(3):
        for _ in range(MAX_NEWS):
            news.heard(1)
        now.now_s += NEWS_WINDOW_S
    news.heard(MAX_NEWS_BYTES)
    with pytest.raises(MemberUnavailable, match=r"e:1: its watch says too much \(2 messages"):
        news.heard(1)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 50_000 + b"\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 50_000 + b"\r\n"),
    ],
    ids=["informational answers", "large informational answers", "headers"],
)
def test_an_answer_must_begin_within_so_many_bytes(serve, head, piece):
    server = serve(endless(head, piece))
    with pytest.raises(MemberUnavailable, match=r"sends more than \d+ bytes before an answer begins"):
        Gateway(server.at, Access(20)).get("/version")


def test_a_large_answer_has_a_small_head(serve):
    body = bytes(2 * reading.MAX_HEAD_BYTES)
    assert Gateway(serve(always(answer(200, body))).at, Access(5)).get("/x").body == body


def test_headers_that_come_drop_by_drop_are_bounded_in_time(serve):
    def drip(_server, socket, _request):
        socket.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            socket.sendall(b"y")
            gevent.sleep(0.01)

    begun_s = time.monotonic()
    with pytest.raises(MemberSilent, match=r"did not answer within 0\.3 s"):
        Gateway(serve(drip).at, Access(0.3)).get("/version")
    assert time.monotonic() - begun_s < 2


class Flood:
    """In the place of a connection: there is always something to read, so that no reader ever waits."""

    def __init__(self, head, piece):
        self._data = head
        self._piece = piece

    def readinto(self, buffer):
        while len(self._data) < len(buffer):
            self._data += self._piece
        view = memoryview(buffer)
        view[:] = self._data[: len(view)]
        self._data = self._data[len(view) :]
        return len(view)

    def close(self):
        pass


@pytest.fixture
def flooded(monkeypatch):
    """Every connection is one that always has something to read, from now on; `piece` is what."""

    def flood(head, piece):
        def paced(raw):
            raw.close()
            return real(Flood(head, piece))

        real = reading._Paced
        monkeypatch.setattr(reading, "_Paced", paced)

    return flood


def idle_turns(function):
    """How often another greenlet runs meanwhile."""
    turns = 0

    def run():
        nonlocal turns
        while True:
            gevent.sleep(0.001)
            turns += 1

    other = gevent.spawn(run)
    gevent.sleep(0.002)
    turns = 0
    with gevent.Timeout(10, RuntimeError("it does not end")):
        function()
    other.kill()
    return turns


def test_a_body_that_always_has_more_lets_others_run_and_is_bounded_in_time(serve, flooded):
    chunk = b"1\r\nx\r\n"
    flooded(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk * 1000)
    link = Gateway(serve(always(b"")).at, Access(0.3))
    begun_s = time.monotonic()

    def read():
        with pytest.raises(MemberSilent, match=r"did not answer within 0\.3 s"):
            link.get("/x")

    assert idle_turns(read) > 10
    assert time.monotonic() - begun_s < 2


def message(**result):
    return json.dumps({"result": {"header": {"revision": "6"}, **result}}).encode() + b"\n"


def follow(store, idle_s=30.0):
    def run():
        with contextlib.closing(store), contextlib.closing(store.follow([KEY], 5, idle_s)) as found:
            for _ in found:
                pass

    return run


def v3(server, timeout_s=5.0):
    spawner = Spawner(lambda name, error, _restart: pytest.fail(f"{name}: {error}"))
    return GatewayStore(server.at, Access(timeout_s), Tokens(None, None), spawner)


def test_a_watch_that_never_pauses_lets_others_run_and_is_left(serve, flooded):
    event = message(watch_id="1", events=[{"kv": {"key": "YQ==", "mod_revision": "6"}}])
    flooded(HEAD + message(created=True, watch_id="1"), event * 100)
    store = v3(serve(always(b"")))

    def run():
        with pytest.raises(MemberUnavailable, match="its watch says too much"):
            follow(store)()

    assert idle_turns(run) > 5


def test_a_watch_that_says_nothing_whole_is_left(serve, flooded):
    flooded(HEAD, b"\n" * 1000)
    store = v3(serve(always(b"")), timeout_s=0.3)

    def run():
        with pytest.raises(MemberSilent, match="said nothing whole within"):
            follow(store)()

    assert idle_turns(run) > 10


def test_a_watch_that_says_nothing_whole_any_more_has_ended(serve, flooded):
    flooded(HEAD + message(created=True, watch_id="1"), b"\n" * 1000)
    with pytest.raises(WatchEnded, match="nothing heard for"):
        follow(v3(serve(always(b""))), idle_s=0.3)()


V2 = ("X-Etcd-Index: 7", "X-Etcd-Cluster-Id: c1")


def v2(server):
    return KeysStore(server.at, Access(5.0), Spawner(lambda *_: None))


def test_a_watch_on_v2_that_never_pauses_is_left(serve, monkeypatch):
    monkeypatch.setattr(reading, "MAX_NEWS", 50)
    node = {"action": "set", "node": {"key": KEY, "value": "1", "modifiedIndex": 6}}
    with pytest.raises(MemberUnavailable, match=r"its watch says too much \(51 messages"):
        follow(v2(serve(always(answer(200, node, *V2)))))()


def unasked_gzip(body):
    return answer(200, gzip.compress(body), "Content-Encoding: gzip", *V2)


def test_nothing_is_unpacked(serve, monkeypatch):
    monkeypatch.setattr(gateway, "MAX_ANSWER_BYTES", 100_000)
    small = gzip.compress(bytes(10_000_000))
    assert Gateway(serve(always(unasked_gzip(bytes(10_000_000)))).at, Access(5)).get("/x").body == small
    node = {"node": {"key": KEY, "value": "1", "modifiedIndex": 6}}
    with pytest.raises(EtcdRefused, match="does not serve the v2 API"):
        v2(serve(always(unasked_gzip(json.dumps(node).encode())))).load([KEY])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(serve, status):
    other = serve(always(answer(200, {"node": {"key": KEY, "value": "1", "modifiedIndex": 6}}, *V2)))
    location = f"Location: http://127.0.0.1:{other.server_port}/v2/keys{KEY}"
    for where in (location, "Location: /elsewhere"):
        server = serve(always(answer(status, b"", where, *V2)))
        store = v2(server)
        for call in (
            lambda store=store: store.load([KEY]),
            lambda store=store: store.commit({}, {KEY: b"1"}),
            lambda store=store: store.commit({}, {KEY: None}),
            lambda store=store: next(store.follow([KEY], 5, 1.0)),
        ):
            with pytest.raises(EtcdRefused, match="does not serve the v2 API"):
                call()
        assert Gateway(server.at, Access(5)).get("/x").status == status
        assert len(server.requests) == 5
    assert other.requests == []
