# SPDX-License-Identifier: Apache-2.0
"""Servers of a few lines on loopback that do to us what no Etcd does."""

import json

from gevent.server import StreamServer

from logagent.config.values import Address


class Server(StreamServer):
    """Calls ``serve(self, socket, request)`` for each request; keeps all requests as bytes."""

    def __init__(self, serve):
        super().__init__(("127.0.0.1", 0), self._talk)
        self.requests = []
        self.connections = 0
        self._serve = serve
        self.start()

    @property
    def at(self):
        return Address("127.0.0.1", self.server_port)

    def _talk(self, socket, _address):
        self.connections += 1
        data = b""
        try:
            while piece := socket.recv(65536):
                data += piece
                head, end, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                if end and len(body) >= length:
                    self.requests.append(data)
                    data = b""
                    if self._serve(self, socket, self.requests[-1]) is False:
                        return
        except OSError:
            return  # the client hung up


def answer(status, body, *headers):
    """The bytes of a whole answer; ``body`` as JSON unless it is bytes."""
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(said)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + said


def always(whole):
    """Says the same to everybody."""

    def serve(_server, socket, _request):
        socket.sendall(whole)

    return serve


def scripted(answers):
    """``answers``: path -> whole answer; anything else is not found."""

    def serve(_server, socket, request):
        path = request.split(b" ")[1].decode()
        socket.sendall(answers.get(path, answer(404, b"404 page not found\n")))

    return serve
