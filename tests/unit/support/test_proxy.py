# SPDX-License-Identifier: Apache-2.0
"""The network that tests break is tried itself: what it lets through, holds, cuts and renames."""

import random
import socket
import struct
import threading

import pytest

from tests.support.proxy import HOST, METADATA, PRODUCE, Cut, Network, Passage, Ragged, Silent, Trap
from tests.support.waiting import wait_until


class EchoBroker:
    """Answers each request with its correlation id and the bytes behind its header."""

    def __init__(self):
        self.asked = []
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link):
        with link, link.makefile("rb") as reader:
            while head := reader.read(4):
                body = reader.read(struct.unpack(">i", head)[0])
                self.asked.append(body)
                answer = body[4:]
                link.sendall(struct.pack(">i", len(answer)) + answer)

    def close(self):
        self._listener.close()


class Client:
    def __init__(self, proxy):
        self.link = socket.create_connection((HOST, proxy.port))
        self.link.settimeout(5)
        self.reader = self.link.makefile("rb")

    def ask(self, api_key, said):
        self.link.sendall(struct.pack(">ihhi", 8 + len(said), api_key, 0, 7) + said)

    def answer(self):
        """What the answer says; None when the connection is cut before its end."""
        try:
            head = self.reader.read(4)
        except ConnectionResetError:
            return None
        if len(head) < 4:
            return None
        size = struct.unpack(">i", head)[0]
        body = self.reader.read(size)
        return body[4:] if len(body) == size else None

    def close(self):
        self.reader.close()
        self.link.close()


@pytest.fixture
def broker():
    one = EchoBroker()
    yield one
    one.close()


@pytest.fixture
def between(broker):
    with Network([broker.port]) as network:
        yield network


@pytest.fixture
def client(broker, between):
    one = Client(between.proxies[broker.port])
    yield one
    one.close()


def test_requests_and_answers_pass(broker, client):
    client.ask(PRODUCE, b"lines")
    assert client.answer() == b"lines"
    assert broker.asked == [b"\0\0\0\0\0\0\0\7lines"]


def test_a_broker_named_in_metadata_is_found_at_the_port_of_its_proxy(broker, between, client):
    here = HOST.encode()
    client.ask(METADATA, here + struct.pack(">i", broker.port))
    assert client.answer() == here + struct.pack(">i", between.proxies[broker.port].port)
    client.ask(PRODUCE, here + struct.pack(">i", broker.port))
    assert client.answer() == here + struct.pack(">i", broker.port)


def test_a_broker_that_moves_is_named_at_its_new_port_and_gone_from_the_old_one(broker, between, client):
    old = between.proxies[broker.port].port
    between.move(broker.port)
    assert client.answer() is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, old))
    again = Client(between.proxies[broker.port])
    again.ask(METADATA, HOST.encode() + struct.pack(">i", broker.port))
    assert again.answer() == HOST.encode() + struct.pack(">i", between.proxies[broker.port].port)
    again.close()


@pytest.mark.parametrize("of", ["request", "answer"])
def test_a_trap_holds_what_was_sent_or_what_was_said_and_lets_it_through_late(broker, between, client, of):
    trap = Trap(of)
    with between.ruled(trap):
        client.ask(PRODUCE, b"held")
        assert trap.caught.wait(5)
        assert len(broker.asked) == (1 if of == "answer" else 0)
    trap.release()
    assert client.answer() == b"held"
    assert trap.held == len(broker.asked) == 1


@pytest.mark.parametrize("of", ["request", "answer"])
def test_what_a_trap_drops_never_arrives(broker, between, client, of):
    trap = Trap(of)
    with between.ruled(trap):
        client.ask(PRODUCE, b"held")
        assert trap.caught.wait(5)
    trap.drop()
    assert client.answer() is None
    assert len(broker.asked) == (1 if of == "answer" else 0)


def test_a_trap_holds_no_other_requests(between, client):
    with between.ruled(Trap("request")):
        client.ask(METADATA, b"who leads?")
        assert client.answer() == b"who leads?"


def test_silence_ends_and_what_waited_arrives(broker, between, client):
    silence = Silent([broker.port])
    with between.ruled(silence):
        client.ask(PRODUCE, b"lines")
        wait_until(lambda: silence.caught, 5, "the request is caught")
        assert broker.asked == []
    silence.end()
    assert client.answer() == b"lines"


def passed(rule, passage):
    try:
        return rule(passage)
    except Cut as cut:
        return cut.first


def test_a_ragged_network_cuts_delays_and_halves_requests_and_answers():
    ragged = Ragged(random.Random(1), share=1.0, delay_s=0)
    beginnings = {passed(ragged, Passage(1, bool(number % 2), PRODUCE, b"frame")) for number in range(60)}
    assert beginnings == {b"frame"[:end] for end in range(6)}
    assert set(ragged.did) == {
        f"{how} {what}" for how in ("delayed", "cut", "half") for what in ("request", "answer")
    }


def test_a_cut_network_cuts_every_connection_and_takes_new_ones(broker, between, client):
    client.ask(PRODUCE, b"lines")
    client.answer()
    assert between.cut() == 1
    assert client.answer() is None
    again = Client(between.proxies[broker.port])
    again.ask(PRODUCE, b"more")
    assert again.answer() == b"more"
    again.close()
