# SPDX-License-Identifier: Apache-2.0
"""A listening socket with pywsgi behind it: few connections, small requests, short times, no prints."""

import io
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import gevent
from gevent import Greenlet
from gevent.pywsgi import WSGIHandler, WSGIServer

from logagent.spawn import Spawner

MAX_CONNECTIONS = 16
MAX_REQUEST_BYTES = 16 * 1024
CONNECTION_S = 5.0
ACCEPT_AGAIN_S = 1.0
STOP_S = 1.0


class _TooLarge(ValueError):
    pass


class _HasBody(ValueError):
    pass


class _Capped:
    """The reading side of a connection; fails after so many bytes."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        self._raw = raw
        self._left_bytes = MAX_REQUEST_BYTES

    @property
    def closed(self) -> bool:
        return self._raw.closed

    def readline(self, limit: int) -> bytes:
        line = self._raw.readline(min(limit, self._left_bytes + 1))
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise _TooLarge
        return line


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """Refuses bodies and large requests, and prints nothing about what clients do wrong."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        super().__init__(sock, address, server)
        self.rfile: Any = _Capped(self.rfile)

    def read_request(self, raw_requestline: str) -> bool:
        understood = bool(super().read_request(raw_requestline))
        if self.content_length or self.headers.get("transfer-encoding"):
            raise _HasBody
        return understood

    def _handle_client_error(self, ex: BaseException) -> tuple[str, bytes]:
        if isinstance(ex, _TooLarge):
            return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "A request may have 16 KiB at most.")
        if isinstance(ex, _HasBody):
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Requests have no body here.")
        return _refusal(HTTPStatus.BAD_REQUEST, "This is no HTTP request.")

    def handle_error(self, t: type[BaseException], v: BaseException, tb: object) -> None:  # noqa: ARG002  # pywsgi calls it so
        # pywsgi would print a traceback and then try to answer a client that is slow or gone.
        self.close_connection = True
        if not issubclass(t, gevent.Timeout | OSError):
            raise v


def _refusal(status: HTTPStatus, sentence: str) -> tuple[str, bytes]:
    body = f"{status.value} {status.phrase}. {sentence}\n"
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    return str(status.value), f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii")


class Door(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """A server on a listening gevent socket. `on_accept_failure` hears why nobody could be let in."""

    def __init__(
        self,
        listener: Any,
        application: Callable[..., Any],
        spawner: Spawner,
        on_accept_failure: Callable[[OSError], None],
    ) -> None:
        self._connections: set[Greenlet] = set()
        self._spawner = spawner
        self._on_accept_failure = on_accept_failure
        super().__init__(
            listener,
            application,
            spawn=self._begin,
            log=None,
            error_log=None,
            handler_class=_Handler,
            # Without a name pywsgi asks DNS for one.
            environ={"SERVER_NAME": "logagent", "SERVER_PORT": ""},
        )

    def full(self) -> bool:
        return len(self._connections) >= MAX_CONNECTIONS

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            # No descriptors left: pywsgi would print a traceback for every attempt.
            self._on_accept_failure(error)
            self.stop_accepting()
            self._timer = self.loop.timer(ACCEPT_AGAIN_S)
            self._timer.start(self._start_accepting_if_started)
            return None

    def stop(self, timeout: float | None = STOP_S) -> None:
        """Stop listening; connections have `timeout` seconds to end."""
        super().stop(timeout)
        gevent.joinall(list(self._connections), timeout)
        gevent.killall(list(self._connections))

    def _begin(self, serve: Callable[..., None], *args: Any) -> None:
        self._connections.add(self._spawner.once("admin-connection", self._serve, serve, *args))

    def _serve(self, serve: Callable[..., None], *args: Any) -> None:
        try:
            with gevent.Timeout(CONNECTION_S, False):
                serve(*args)
        except OSError:
            # The client went away while it was told what is wrong with its request; nobody is left to tell.
            return
        finally:
            self._connections.discard(gevent.getcurrent())
            self._start_accepting_if_started()
