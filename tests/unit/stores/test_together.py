# SPDX-License-Identifier: Apache-2.0
"""Several watches as one: whatever ends one of them ends all, and leaves no greenlet and no connection behind."""

import json

import gevent
import pytest
from gevent import socket
from gevent.queue import Queue

from logagent.errors import EtcdRefused, MemberUnavailable, WatchEnded
from logagent.spawn import Spawner
from logagent.stores.etcd_v2 import KeysStore
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.store import Access
from logagent.stores.together import follow_all
from logagent.stores.tokens import Tokens
from tests.unit.stores.servers import Server


class Watches:
    """Three watches that say what they are told to; knows which of them, and which greenlets, have not ended."""

    def __init__(self):
        self.orders = {name: Queue() for name in "abc"}
        self.open = set()
        self.failures = []
        self.greenlets = []
        self.spawner = Spawner(lambda name, error, _restart: self.failures.append((name, repr(error))))
        once = self.spawner.once

        def spawn(*args):
            self.greenlets.append(once(*args))
            return self.greenlets[-1]

        self.spawner.once = spawn
        self.found = follow_all({name: self.watch(name) for name in "abc"}, self.spawner)

    def watch(self, name):
        self.open.add(name)
        try:
            while True:
                order = self.orders[name].get()
                if isinstance(order, Exception):
                    raise order
                yield order
        finally:
            self.open.discard(name)

    def all_ended(self):
        gevent.joinall(self.greenlets, timeout=2)
        return not self.open and self.greenlets and all(one.dead for one in self.greenlets)


@pytest.fixture
def watches():
    return Watches()


def test_all_are_heard(watches):
    for number, name in enumerate("abc"):
        watches.orders[name].put(number)
    assert sorted(next(watches.found) for _ in "abc") == [0, 1, 2]
    watches.found.close()
    assert watches.all_ended()
    assert watches.failures == []


@pytest.mark.parametrize(
    "error", [EtcdRefused("e:1", "no"), MemberUnavailable("e:1", "gone"), WatchEnded("over")]
)
def test_the_error_of_one_ends_all(watches, error):
    watches.orders["b"].put(error)
    with pytest.raises(type(error)) as raised:
        next(watches.found)
    assert raised.value is error
    assert watches.all_ended()
    assert watches.failures == []


def test_a_bug_in_one_is_reported_and_ends_all(watches):
    watches.orders["b"].put(ZeroDivisionError("bug"))
    with pytest.raises(WatchEnded, match="failed unexpectedly"):
        next(watches.found)
    assert watches.all_ended()
    assert watches.failures == [("watch b", "ZeroDivisionError('bug')")]


def test_one_that_is_killed_ends_all(watches):
    gevent.spawn_later(0.01, lambda: watches.greenlets[1].kill())
    with pytest.raises(WatchEnded):
        next(watches.found)
    assert watches.all_ended()


def test_who_listens_and_is_killed_ends_all(watches):
    listener = gevent.spawn(list, watches.found)
    gevent.sleep(0.01)
    assert watches.open == set("abc")
    listener.kill()
    assert watches.all_ended()


@pytest.mark.parametrize("how", ["closed", "let go", "failed"])
def test_they_end_though_nobody_takes_what_they_have_to_say(watches, how):
    for name in "abc":
        for _ in range(200):
            watches.orders[name].put(1)
    next(watches.found)
    gevent.sleep(0.01)
    assert watches.open == set("abc")
    if how == "failed":
        with pytest.raises(ZeroDivisionError):
            watches.found.throw(ZeroDivisionError)
    elif how == "closed":
        watches.found.close()
    del watches.found
    assert watches.all_ended()


def test_the_error_of_one_is_told_though_there_is_no_room_for_it(watches):
    for name in "ab":
        for _ in range(200):
            watches.orders[name].put(1)
    watches.orders["c"].put(EtcdRefused("e:1", "no"))
    next(watches.found)
    gevent.sleep(0.01)
    with pytest.raises(EtcdRefused):
        list(watches.found)
    assert watches.all_ended()


def test_nothing_begins_before_somebody_listens(watches):
    gevent.sleep(0.01)
    assert (watches.open, watches.greenlets) == (set(), [])
    watches.found.close()


KEYS = [f"/logagent-groups/{'g' * 100}{number}/logconfig" for number in range(6)]


class Slow(Server):
    """Begins every watch and says nothing more. `open` are the connections."""

    def __init__(self, api):
        self.api = api
        self.open = []
        self.watches = 0
        super().__init__(lambda _self, socket, request: self.begin(socket, request))

    def _talk(self, socket, address):
        self.open.append(socket)
        try:
            super()._talk(socket, address)
        finally:
            self.open.remove(socket)

    def begin(self, socket, request):
        self.watches += 1
        if self.api == "v3":
            created = json.dumps({"result": {"header": {"revision": "5"}, "created": True}}).encode() + b"\n"
            socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + created * request.count(b"create_request"))


@pytest.fixture(params=["v3", "v2"])
def slow(request):
    server = Slow(request.param)
    greenlets = []
    spawner = Spawner(lambda name, error, _restart: pytest.fail(f"{name}: {error}"))
    once = spawner.once
    spawner.once = lambda *args: greenlets.append(once(*args)) or greenlets[-1]
    access = Access(5.0)
    if request.param == "v3":
        store = GatewayStore(server.at, access, Tokens(None, None), spawner)
    else:
        store = KeysStore(server.at, access, spawner)
    server.greenlets, server.store = greenlets, store
    yield server
    store.close()
    server.stop()


def until(condition):
    with gevent.Timeout(3, AssertionError("it does not come to that")):
        while not condition():
            gevent.sleep(0.005)


@pytest.mark.parametrize("how", ["the store is closed", "the listener is killed", "one connection breaks"])
def test_every_connection_of_a_watch_ends_with_it(slow, how):
    ended = []

    def listen():
        try:
            for _ in slow.store.follow(KEYS, 5, 30.0):
                pass
        except MemberUnavailable as error:
            ended.append(error)

    listener = gevent.spawn(listen)
    until(lambda: slow.watches >= len(slow.open) > 1)
    if how == "the store is closed":
        slow.store.close()
    elif how == "the listener is killed":
        listener.kill()
    else:
        slow.open[0].shutdown(socket.SHUT_RDWR)
    until(lambda: listener.dead and not slow.open)
    assert len(slow.greenlets) > 1
    assert all(one.dead for one in slow.greenlets)
    assert bool(ended) == (how != "the listener is killed")
