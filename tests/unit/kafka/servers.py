# SPDX-License-Identifier: Apache-2.0
"""Small TCP servers on loopback that play brokers, good and bad."""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

import gevent
from gevent import socket as green
from gevent.server import StreamServer

from logagent.kafka.metadata import BrokerAddress, Described

Handler = Callable[[green.socket], object]


@contextlib.contextmanager
def serve(handler: Handler, host: str = "127.0.0.1") -> Iterator[BrokerAddress]:
    """A server that gives each accepted connection to `handler` and closes it afterwards."""
    listener = green.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.bind((host, 0))
    listener.listen(50)
    server = StreamServer(listener, lambda link, _peer: handler(link))
    server.start()
    try:
        yield BrokerAddress(host, server.server_port)
    finally:
        server.stop(timeout=0)


@contextlib.contextmanager
def refusing() -> Iterator[BrokerAddress]:
    """A port that is taken but does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield BrokerAddress(*bound.getsockname())


@contextlib.contextmanager
def black_hole() -> Iterator[BrokerAddress]:
    """A port that swallows SYNs: its backlog is full."""
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield BrokerAddress(*listener.getsockname())


def read_request(link: green.socket) -> bytes:
    """One frame without its size; b"" at the end of the connection."""
    head = read_exactly(link, 4)
    return read_exactly(link, struct.unpack(">i", head)[0]) if head else b""


def read_exactly(link: green.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = link.recv(size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


def says(answer: bytes) -> Handler:
    """Reads a request, sends the bytes as they are, waits for the other side to hang up."""

    def handle(link: green.socket) -> None:
        read_request(link)
        link.sendall(answer)
        link.recv(1)

    return handle


def silent(link: green.socket) -> None:
    while link.recv(65536):
        pass


def trickling(link: green.socket) -> None:
    read_request(link)
    link.sendall(struct.pack(">i", 1000))
    with contextlib.suppress(OSError):
        while True:
            link.sendall(b"x")
            gevent.sleep(0.01)


def text(value: str) -> bytes:
    return struct.pack(">h", len(value.encode())) + value.encode()


def metadata_body(
    brokers: Mapping[int, BrokerAddress], topics: Mapping[str, tuple[int, Mapping[int, int]]] | None = None
) -> bytes:
    """A Metadata v1 answer; topics: name -> (code, {partition: leader})."""
    body = struct.pack(">i", len(brokers))
    for node, address in brokers.items():
        body += struct.pack(">i", node) + text(address.host) + struct.pack(">ih", address.port, -1)
    body += struct.pack(">ii", -1, len(topics or {}))
    for name, (code, leaders) in (topics or {}).items():
        body += struct.pack(">h", code) + text(name) + b"\0" + struct.pack(">i", len(leaders))
        for partition, leader in leaders.items():
            body += struct.pack(">hiiiiii", 0, partition, leader, 1, leader, 1, leader)
    return body


class Broker:
    """Answers each API key with a body; remembers the requests."""

    def __init__(self, bodies: dict[int, bytes] | None = None, delay_s: float = 0.0) -> None:
        self.bodies = bodies or {}
        self.delay_s = delay_s
        self.requests: list[bytes] = []

    def __call__(self, link: green.socket) -> None:
        try:
            while request := read_request(link):
                self.requests.append(request)
                gevent.sleep(self.delay_s)
                (api_key,) = struct.unpack_from(">h", request)
                body = self.bodies[api_key]
                link.sendall(struct.pack(">i", 4 + len(body)) + request[4:8] + body)
        except OSError:
            return  # the client hung up first


def _numbers(numbers: Sequence[int]) -> bytes:
    return struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)


def described_body(found: Described, version: int) -> bytes:
    """A Metadata answer of version 4 to 7."""
    body = struct.pack(">ii", 0, len(found.brokers))
    for node, address in found.brokers.items():
        body += struct.pack(">i", node) + text(address.host) + struct.pack(">ih", address.port, -1)
    body += text(found.cluster_id) + struct.pack(">ii", 1, len(found.topics))
    for name, topic in found.topics.items():
        body += struct.pack(">h", topic.code) + text(name) + b"\0" + struct.pack(">i", len(topic.partitions))
        for number, one in topic.partitions.items():
            body += struct.pack(">hii", 0, number, one.leader)
            body += struct.pack(">i", one.leader_epoch) if version >= 7 else b""
            body += _numbers(one.replicas) + _numbers(one.in_sync)
            body += _numbers([9]) if version >= 5 else b""
    return body


def configs_body(
    code: int, values: Mapping[str, str | None], *, synonyms: Mapping[str, str] | None = None
) -> bytes:
    """A DescribeConfigs v1 answer about one topic."""
    body = (
        struct.pack(">iih", 0, 1, code) + b"\xff\xff" + b"\2" + text("logs") + struct.pack(">i", len(values))
    )
    for name, value in values.items():
        body += text(name) + (b"\xff\xff" if value is None else text(value)) + b"\0\5\0"
        body += struct.pack(">i", len(synonyms or {}))
        for other, default in (synonyms or {}).items():
            body += text(other) + text(default) + b"\5"
    return body


def versions_body(ranges: Mapping[int, tuple[int, int]]) -> bytes:
    """An ApiVersions v0 answer."""
    return struct.pack(">hi", 0, len(ranges)) + b"".join(
        struct.pack(">hhh", key, *bounds) for key, bounds in ranges.items()
    )
