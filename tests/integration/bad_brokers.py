# SPDX-License-Identifier: Apache-2.0
"""Servers that are no Kafka, or a sick one: each is a port on loopback for as long as its ``with`` lasts."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"
_HTTP_ANSWER = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbad\n"


@contextlib.contextmanager
def _serving(handle: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server((HOST, 0), handle) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Http(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(_HTTP_ANSWER)


class _Garbage(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        asked = self.request.recv(4096)
        # A frame of the right form that answers the right request, and nonsense in it.
        self.request.sendall((60).to_bytes(4, "big") + asked[8:12] + b"\x7f\xff\xff\xff" * 14)


class _HalfAnAnswer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        asked = self.request.recv(4096)
        self.request.sendall((1000).to_bytes(4, "big") + asked[8:12] + b"\0\0\0\1")
        while self.request.recv(4096):
            pass


def http() -> contextlib.AbstractContextManager[str]:
    """Somebody else's port."""
    return _serving(_Http)


def garbage() -> contextlib.AbstractContextManager[str]:
    """Answers with well-framed nonsense."""
    return _serving(_Garbage)


def half_an_answer() -> contextlib.AbstractContextManager[str]:
    """Begins an answer and falls silent."""
    return _serving(_HalfAnAnswer)


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """A port on which nobody listens, and nobody else will."""
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        yield f"{HOST}:{holder.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The connection is never made: the queue of the listening socket is full, so the kernel drops what comes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"{HOST}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def unknown_host() -> Iterator[str]:
    """A name that never resolves (RFC 6761)."""
    yield "no-such-broker.invalid:9092"
