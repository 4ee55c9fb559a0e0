# SPDX-License-Identifier: Apache-2.0
"""A connection to one broker. The socket's life is pykafka's; calls and their reasons for failing are ours."""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import gevent
from gevent import socket

from logagent.errors import BrokerUnavailable, ProtocolViolation
from logagent.kafka.metadata import BrokerAddress
from logagent.kafka.pykafka_parts import BrokerConnection, SocketDisconnectedError
from logagent.kafka.requests import ApiVersions

# pykafka logs each failure without its cause. We raise it with the cause, and the caller decides what to log.
logging.getLogger("pykafka").propagate = False

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MIN_ANSWER_BYTES = 4  # the correlation id
_CHUNK_BYTES = 65536


class Connection(BrokerConnection):
    """A connection to one broker, open from the start; any failure closes it. For one greenlet at a time."""

    def __init__(self, address: BrokerAddress, timeout_s: float) -> None:
        """Connects within `timeout_s`, name resolution included; BrokerUnavailable says why not."""
        self.address = address
        self.versions: ApiVersions | None = None
        """What the broker understands, once somebody asked."""
        dialer = _Dialer()
        # No buffer: it is for pykafka's reader, which trusts any size that the other side announces.
        super().__init__(address.host, address.port, dialer, buffer_size=0)
        try:
            self.connect(timeout_s * 1000)
        except SocketDisconnectedError as error:
            reason = _reason(dialer.error, timeout_s)
            raise BrokerUnavailable(str(address), reason) from (dialer.error or error)

    def call(self, frame: bytes, timeout_s: float) -> bytes:
        """Send a request and return its answer without size and correlation id, all within `timeout_s`.

        Raises BrokerUnavailable (try again, the broker may have acted on the request) or ProtocolViolation.
        """
        with self._closed_on_failure(timeout_s) as link:
            deadline = monotonic() + timeout_s
            link.settimeout(timeout_s)
            link.sendall(frame)
            head = _receive(link, 4, deadline)
            (size,) = struct.unpack(">i", head)
            if not _MIN_ANSWER_BYTES <= size <= MAX_ANSWER_BYTES:
                raise ProtocolViolation(str(self.address), _not_kafka(head))
            answer = _receive(link, size, deadline)
            if answer[:4] != frame[8:12]:
                raise ProtocolViolation(str(self.address), "answered another request than the one sent")
            return answer[4:]

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        self.disconnect()

    @contextmanager
    def _closed_on_failure(self, timeout_s: float) -> Iterator[socket.socket]:
        if not self.connected:
            raise BrokerUnavailable(str(self.address), "the connection is closed")
        try:
            yield self._socket
        except OSError as error:
            self.close()
            raise BrokerUnavailable(str(self.address), _reason(error, timeout_s)) from error
        except BaseException:  # also when the greenlet is killed: half a request must not stay on the wire
            self.close()
            raise


def _receive(link: socket.socket, size: int, deadline: float) -> bytes:
    chunks: list[bytes] = []
    while size:
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise TimeoutError
        link.settimeout(left_s)
        chunk = link.recv(min(size, _CHUNK_BYTES))
        if not chunk:
            raise ConnectionResetError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


class _Dialer:
    """pykafka's handler and the handler's socket module in one; keeps the error that pykafka drops."""

    SockErr = OSError
    GaiError = socket.gaierror

    def __init__(self) -> None:
        self.Socket = self
        self.error: OSError | None = None

    def create_connection(
        self, address: tuple[str, int], timeout_s: float, _source_address: tuple[str, int]
    ) -> socket.socket:
        try:
            with gevent.Timeout(timeout_s, TimeoutError):  # name resolution has no time-out of its own
                return _connect_any(*address, deadline=monotonic() + timeout_s)
        except OSError as error:
            self.error = error
            raise


def _connect_any(host: str, port: int, deadline: float) -> socket.socket:
    """Try the host's addresses, each for an equal part of the time left: a dead one must not use up all."""
    if not 0 < port < 65536:  # getaddrinfo would take it modulo 65536
        raise OSError(f"{port} is not a port")
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except (UnicodeError, ValueError) as error:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    last_error = OSError("the host has no address")
    for tries_left, (family, kind, protocol, _name, address) in zip(
        range(len(found), 0, -1), found, strict=True
    ):
        link = socket.socket(family, kind, protocol)
        try:
            link.settimeout(max(0.001, (deadline - monotonic()) / tries_left))
            link.connect(address)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return link
        except BaseException as error:
            link.close()
            if not isinstance(error, OSError):
                raise
            last_error = error
    raise last_error


def _reason(error: OSError | None, timeout_s: float) -> str:
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "the host name cannot be resolved at the moment"
        case socket.gaierror():
            return f"unknown host ({error.strerror})"
        case TimeoutError():
            return f"timed out after {timeout_s:.3g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "the broker closed the connection"
        case _:
            return ((error.strerror or str(error)) if error else "cannot connect").lower()


def _not_kafka(head: bytes) -> str:
    if head[:2] == b"\x15\x03":
        return "does not speak plain Kafka (answered with a TLS alert)"
    text = head.decode("latin-1")
    said = text if text.isascii() and text.isprintable() else f"the bytes {head.hex(' ')}"
    return f"does not speak Kafka (answered {said})"
