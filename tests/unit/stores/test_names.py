# SPDX-License-Identifier: Apache-2.0
"""A name server that hangs costs two threads of ours, and nobody else any."""

import threading

import gevent
import pytest
from gevent import socket

from logagent.spawn import in_thread
from logagent.stores import names
from logagent.stores.names import THREADS, Resolver

AT = (socket.AF_INET, ("192.0.2.1", 2379))


class NameServer:
    """Hangs until `answer` is set; keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.answer = threading.Event()
        self.error = None

    def look_up(self, host, port, flags):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        self.asked.append(host)
        self.answer.wait(10)
        if self.error is not None:
            raise self.error
        return [AT]


@pytest.fixture
def server():
    server = NameServer()
    yield server
    server.answer.set()


def give_up(resolver, host):
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        resolver.addresses(host, 2379)


def test_an_address_is_no_name(server):
    assert names._ask_system("127.0.0.1", 7, socket.AI_NUMERICHOST) == [(socket.AF_INET, ("127.0.0.1", 7))]
    resolver = Resolver(lambda host, port, flags: [AT] if flags else pytest.fail("nobody need be asked"))
    assert resolver.addresses("192.0.2.1", 2379) == [AT]


def test_who_asks_for_the_same_name_waits_for_the_same_answer(server):
    resolver = Resolver(server.look_up)
    for _ in range(5):
        give_up(resolver, "e1")
    give_up(resolver, "e2")
    waiting = [gevent.spawn(resolver.addresses, "e1", 2379) for _ in range(5)]
    gevent.sleep(0.01)
    server.answer.set()
    gevent.joinall(waiting, timeout=5)
    assert [one.value for one in waiting] == [[AT]] * 5
    assert server.asked == ["e1", "e2"]
    resolver.addresses("e1", 2379)
    assert server.asked == ["e1", "e2", "e1"], "an answer is not kept"


def test_look_ups_that_were_given_up_take_few_threads_and_none_of_others(server, monkeypatch):
    monkeypatch.setattr(gevent.get_hub().threadpool, "maxsize", THREADS)
    resolver = Resolver(server.look_up)
    for host in ("e1", "e2", "e3", "e4", "e1", "e3"):
        give_up(resolver, host)
    assert server.asked == ["e1", "e2"]
    assert THREADS == 2
    with gevent.Timeout(1):
        assert in_thread(lambda: 1) == 1, "who saves positions need not wait"
    server.answer.set()
    with gevent.Timeout(5):
        assert resolver.addresses("e3", 2379) == [AT]


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "later"), UnicodeError("no host name")])
def test_what_the_system_says_is_raised_and_not_kept(server, capfd, error):
    resolver = Resolver(server.look_up)
    server.answer.set()
    server.error = error
    for _ in range(2 * THREADS):
        with pytest.raises(type(error)):
            resolver.addresses("e1", 2379)
    server.error = None
    assert resolver.addresses("e1", 2379) == [AT]
    assert capfd.readouterr().err == ""


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_first_address_that_takes_us_is_used(listening, monkeypatch):
    def look_up(_host, port, _flags):
        return [
            (99, ("nowhere", port)),
            (socket.AF_INET, ("127.0.0.2", 1)),
            (socket.AF_INET, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(names, "_resolver", lambda: Resolver(look_up))
    with names.connect("e1", listening, 1) as link:
        assert link.getpeername() == ("127.0.0.1", listening)


def test_localhost_is_found(listening):
    with names.connect("localhost", listening, 1) as link:
        assert link.getpeername()[1] == listening


@pytest.mark.parametrize("found", [[], [(socket.AF_INET, ("127.0.0.1", 1))]])
def test_no_address_that_takes_us_is_an_error_of_the_system(found, monkeypatch):
    monkeypatch.setattr(names, "_resolver", lambda: Resolver(lambda *_: found))
    with pytest.raises(OSError, match=r"no address|refused"):
        names.connect("e1", 1, 1)
