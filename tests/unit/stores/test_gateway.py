# SPDX-License-Identifier: Apache-2.0
"""HTTP to a member: bounded, never repeated, never redirected, and broken off from another greenlet."""

import time

import gevent
import pytest

from logagent.config.values import Address
from logagent.errors import EtcdRefused, MemberSilent, MemberUnavailable, OutcomeUnknown
from logagent.stores import gateway
from logagent.stores.gateway import Answer, Gateway, Stream, spoken
from logagent.stores.store import Access
from tests.unit.stores.servers import Server, always, answer

TIMEOUT_S = 0.3


@pytest.fixture
def serve():
    servers = []

    def start(handler):
        servers.append(Server(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def gateway_to(server, **access):
    return Gateway(server.at, Access(**({"timeout_s": TIMEOUT_S} | access)))


def silent(_server, _socket, _request):
    gevent.sleep(60)


def hang_up(_server, _socket, _request):
    return False


def dribble(_server, socket, _request):
    socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        socket.sendall(b" ")
        gevent.sleep(0.01)


def test_one_connection_serves_many_requests(serve):
    server = serve(always(answer(200, {"a": 1})))
    link = gateway_to(server)

    assert [link.post("/x", {}, "token") for _ in range(3)] == [Answer(200, b'{"a": 1}')] * 3
    assert server.connections == 1
    assert b"Authorization: token\r\n" in server.requests[0]
    assert b"Grpc-Metadata-hasleader: true\r\n" in server.requests[0]


def test_a_redirect_is_an_answer_and_nothing_else(serve):
    server = serve(always(answer(307, b"", "Location: /elsewhere")))

    assert gateway_to(server).post("/x", {}) == Answer(307, b"")
    assert len(server.requests) == 1


@pytest.mark.parametrize("handler", [silent, dribble])
def test_the_whole_request_is_bounded_in_time(serve, handler):
    server = serve(handler)
    begun_s = time.monotonic()
    with pytest.raises(MemberSilent, match=r"did not answer within 0\.3 s"):
        gateway_to(server).get("/version")

    assert time.monotonic() - begun_s < 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("handler", [silent, dribble, hang_up, always(b"nonsense\r\n\r\n")])
def test_a_change_without_an_answer_is_unknown_and_not_sent_again(serve, handler):
    server = serve(handler)
    with pytest.raises(OutcomeUnknown):
        gateway_to(server).post("/x", {}, changes=True)

    assert len(server.requests) == 1


def test_a_change_that_was_not_sent_is_known_not_to_be_in_force(serve):
    server = serve(silent)
    server.stop()
    with pytest.raises(MemberUnavailable, match="refused"):
        gateway_to(server).post("/x", {}, changes=True)
    with pytest.raises(MemberUnavailable):
        Gateway(Address("a" * 70, 2379), Access(TIMEOUT_S)).post("/x", {}, changes=True)


def test_what_is_no_host_name_is_an_error_of_ours():
    with pytest.raises((EtcdRefused, MemberUnavailable)):  # newer ones of urllib3 look at the name
        Gateway(Address("no host", 2379), Access(TIMEOUT_S)).get("/version")


def test_an_answer_is_bounded_in_size(serve, monkeypatch):
    monkeypatch.setattr(gateway, "MAX_ANSWER_BYTES", 1000)
    server = serve(always(answer(200, bytes(1000))))
    link = gateway_to(server)
    assert len(link.get("/x").body) == 1000

    monkeypatch.setattr(gateway, "MAX_ANSWER_BYTES", 999)
    with pytest.raises(EtcdRefused, match="more than 999 bytes"):
        link.get("/x")
    monkeypatch.setattr(gateway, "MAX_ANSWER_BYTES", 1000)
    assert len(link.get("/x").body) == 1000


def test_a_connection_that_failed_is_not_used_again(serve):
    def first_badly(server, socket, _request):
        socket.sendall(
            answer(200, b"ok")
            if len(server.requests) > 1
            else b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        )
        return len(server.requests) > 1

    server = serve(first_badly)
    link = gateway_to(server)
    with pytest.raises(MemberUnavailable):
        link.get("/x")

    assert link.get("/x") == Answer(200, b"ok")
    assert server.connections == 2


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_stream_gives_what_is_there(serve):
    def pieces(_server, socket, _request):
        socket.sendall(CHUNKED + b"4\r\nfour\r\n")
        gevent.sleep(0.05)
        socket.sendall(b"3\r\nsix\r\n0\r\n\r\n")

    stream = gateway_to(serve(pieces)).stream("/v3/watch", b"", None)

    assert isinstance(stream, Stream)
    assert [stream.read(1), stream.read(1), stream.read(1)] == [b"four", b"six", b""]


def test_a_stream_that_is_cut_is_not_an_orderly_end(serve):
    def cut(_server, socket, _request):
        socket.sendall(CHUNKED + b"4\r\nfour\r\n")
        return False

    stream = gateway_to(serve(cut)).stream("/v3/watch", b"", None)

    assert stream.read(1) == b"four"
    with pytest.raises(MemberUnavailable, match="hung up"):
        stream.read(1)


def test_a_silent_stream_is_given_up(serve):
    stream = gateway_to(serve(always(CHUNKED + b"4\r\nfour\r\n"))).stream("/v3/watch", b"", None)
    stream.read(1)

    with pytest.raises(MemberSilent):
        stream.read(0.05)


def test_a_refused_stream_is_an_answer(serve):
    server = serve(always(answer(503, b"{}")))

    assert gateway_to(server).stream("/v3/watch", b"", None) == Answer(503, b"{}")


def test_closing_breaks_off_what_others_wait_for(serve):
    link = gateway_to(serve(silent), timeout_s=30)
    pending = gevent.spawn(link.get, "/x")
    gevent.sleep(0.05)
    link.close()
    pending.join(1)

    assert isinstance(pending.exception, MemberUnavailable)
    with pytest.raises(MemberUnavailable, match="we have closed the connection"):
        link.post("/x", {}, changes=True)


def test_a_time_out_of_the_caller_passes_through_and_leaves_no_half_request(serve):
    server = serve(dribble)
    link = gateway_to(server, timeout_s=30)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        link.get("/x")

    server._serve = always(answer(200, b"ok"))
    assert link.get("/x") == Answer(200, b"ok")


@pytest.mark.parametrize("which", ["ca", "cert"])
def test_files_for_tls_that_cannot_be_used_are_named(tmp_path, which):
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for file, reason in (
        (bad, "bad.pem cannot be used for TLS: "),
        (tmp_path / "none", "No such file|no such file"),
    ):
        with pytest.raises(EtcdRefused, match=reason):
            Gateway(Address("127.0.0.1", 1), Access(1, tls=True, **{which: file}))


@pytest.mark.parametrize(
    ("handler", "language"),
    [
        (always(answer(200, b"")), "http"),
        (always(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0"), "http2"),
        (always(b"220 mail ready\r\n"), "other"),
        (silent, "other"),
        (hang_up, "other"),
    ],
)
def test_what_a_port_speaks(serve, handler, language):
    assert spoken(serve(handler).at, 0.2) == language
