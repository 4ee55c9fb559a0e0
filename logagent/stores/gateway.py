# SPDX-License-Identifier: Apache-2.0
"""HTTP to one member of an Etcd cluster: everything bounded, nothing repeated, nothing redirected.

The connections are gevent's own, so that another greenlet can break them off, whether the process is patched or not.
"""

import json
import ssl as plain_ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPException
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import gevent
from gevent import socket, ssl
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError
from urllib3.util import SKIP_HEADER, Timeout

from logagent.config.values import Address
from logagent.errors import EtcdError, EtcdRefused, MemberSilent, MemberUnavailable, OutcomeUnknown
from logagent.stores import names, tls
from logagent.stores.reading import EndlessHead, PacedResponse
from logagent.stores.store import Access

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 16384
_CONNECT_S = 3.0
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),
)
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": SKIP_HEADER,
    "Grpc-Metadata-hasleader": "true",  # a member without a leader says so at once and ends its watches
}

_WE_CLOSED = "we have closed the connection"

Spoken = Literal["http", "http2", "tls", "other"]


class Answer(NamedTuple):
    """HTTP status and the whole body."""

    status: int
    body: bytes


class _Connection(HTTPConnection):
    response_class = PacedResponse

    def __init__(self, *args: Any, on_open: Callable[[Any], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._on_open = on_open

    def connect(self) -> None:
        """With name resolution and TLS within the connection's time-out."""
        with gevent.Timeout(self.timeout, ConnectTimeoutError(f"no connection within {self.timeout:g} s")):
            super().connect()
        self._on_open(self.sock)

    def _new_conn(self) -> Any:
        try:
            # Half of the time for each address: a dead one must not use up all.
            link = names.connect(self._dns_host, self.port, (self.timeout or _CONNECT_S) / 2)
            for option in self.socket_options or ():
                link.setsockopt(*option)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, str(error)) from error
        return link


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class Stream:
    """The body of an answer that does not end."""

    def __init__(
        self, response: BaseHTTPResponse, bounded: Callable[..., AbstractContextManager[None]]
    ) -> None:
        self._response = response
        self._bounded = bounded

    def read(self, timeout_s: float) -> bytes:
        """At least one byte; empty at the end. Raises MemberSilent if nothing comes, MemberUnavailable."""
        with self._bounded(timeout_s):
            return self._response.read1(_PIECE_BYTES, decode_content=False)

    def close(self) -> None:
        self._response.close()


class Gateway:
    """Raises MemberUnavailable, EtcdRefused, and OutcomeUnknown when an answer is missing that matters."""

    def __init__(self, address: Address, access: Access) -> None:
        self.member = str(address)
        self._address = address
        self._access = access
        self._closed = False
        self._links: WeakSet[Any] = WeakSet()
        # Two connections: one for a stream, one for everything else.
        options: dict[str, Any] = {"maxsize": 2, "socket_options": _SOCKET_OPTIONS, "on_open": self._opened}
        try:
            self._pool = HTTPConnectionPool(*address, **options)
            self._pool.ConnectionCls = _Connection
            if access.tls:
                self._pool = HTTPSConnectionPool(*address, ssl_context=tls.context(access), **options)
                self._pool.ConnectionCls = _TlsConnection
        except LocationParseError as error:
            raise EtcdRefused(self.member, "etcd_addr names no host") from error

    def post(
        self, path: str, body: Mapping[str, Any], token: str | None = None, *, changes: bool = False
    ) -> Answer:
        """`changes`: if no answer comes and the request may have arrived, raise OutcomeUnknown."""
        with self._bounded(changes=changes):
            return _whole(self.member, self._send("POST", path, json.dumps(body).encode(), _auth(token)))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        with self._bounded():
            return _whole(self.member, self._send("GET", path, None, headers or {}))

    def stream(self, path: str, body: bytes, token: str | None) -> Stream | Answer:
        """A Stream if the status is 200; it may come only with the first message."""
        with self._bounded():
            response = self._send("POST", path, body, _auth(token))
            return (
                Stream(response, self._bounded) if response.status == 200 else _whole(self.member, response)
            )

    def close(self) -> None:
        """May be called from another greenlet, whose pending call then fails."""
        self._closed = True
        for link in list(self._links):
            with suppress(OSError):  # closed already
                # Not the method of a TLS socket: that drops the state which a pending read is using.
                socket.socket.shutdown(link, socket.SHUT_RDWR)
        self._pool.close()

    def explain(self, error: Exception) -> EtcdError:
        """Which of our errors something of the network is."""
        cause = _cause(error)
        if self._closed:
            return MemberUnavailable(self.member, _WE_CLOSED)
        if isinstance(cause, plain_ssl.SSLError):
            return tls.error(self.member, cause, self._address.host, self._access)
        if isinstance(cause, OSError):
            return MemberUnavailable(self.member, cause.strerror or str(cause) or type(cause).__name__)
        if isinstance(cause, ConnectTimeoutError | EndlessHead):
            return MemberUnavailable(self.member, str(cause))
        return MemberUnavailable(self.member, "hung up in the middle, or does not speak HTTP")

    @contextmanager
    def _bounded(self, timeout_s: float | None = None, *, changes: bool = False) -> Iterator[None]:
        """Ends what is inside after that time and translates its errors."""
        limit_s = self._access.timeout_s if timeout_s is None else max(0.001, timeout_s)
        limit = gevent.Timeout.start_new(limit_s)
        try:
            yield
        except gevent.Timeout as fired:
            if fired is not limit:
                raise
            reason = f"did not answer within {limit_s:.3g} s"
            if changes:
                raise self._failure(reason, changes=True) from None
            raise MemberSilent(self.member, reason) from None
        except (HTTPError, HTTPException, OSError) as error:
            found = self.explain(error)
            unsent = isinstance(error, NewConnectionError | ConnectTimeoutError)
            if changes and not unsent and isinstance(found, MemberUnavailable):
                found = self._failure(found.reason, changes=True)
            raise found from error
        finally:
            limit.close()

    def _failure(self, reason: str, *, changes: bool) -> EtcdError:
        if changes:
            return OutcomeUnknown(f"{self.member}: {reason}; the write may or may not be in force")
        return MemberUnavailable(self.member, reason)

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        if self._closed:
            raise MemberUnavailable(self.member, _WE_CLOSED)
        return self._pool.urlopen(
            method,
            path,
            body,
            {**_HEADERS, **headers},
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=Timeout(connect=min(_CONNECT_S, self._access.timeout_s / 2), read=None),
        )

    def _opened(self, link: Any) -> None:
        if self._closed:
            link.close()
            raise OSError(_WE_CLOSED)
        link.settimeout(None)
        self._links.add(link)


def _auth(token: str | None) -> Mapping[str, str]:
    return {"Authorization": token} if token else {}


def _whole(member: str, response: BaseHTTPResponse) -> Answer:
    try:
        body = response.read(MAX_ANSWER_BYTES + 1, decode_content=False)
        if len(body) > MAX_ANSWER_BYTES:
            raise EtcdRefused(member, f"answers more than {MAX_ANSWER_BYTES} bytes")
    except BaseException:
        response.close()
        raise
    return Answer(response.status, body)


def _cause(error: BaseException) -> BaseException:
    """urllib3 wraps what happened, sometimes twice."""
    while not isinstance(error, plain_ssl.SSLError):
        inner = next((one for one in (*error.args, error.__cause__) if isinstance(one, Exception)), None)
        if inner is None:
            break
        error = inner
    return error


def spoken(address: Address, timeout_s: float) -> Spoken:
    """What a port speaks that hung up on us; a second look, for a better sentence than "hung up"."""
    first = b""
    with suppress(OSError), gevent.Timeout(timeout_s, OSError()), names.connect(*address, timeout_s) as link:
        link.sendall(b"GET /version HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n")
        first = link.recv(64)
    if first.startswith(b"HTTP/1"):
        return "http"
    if first[:2] == b"\0\0" and first[3:4] == b"\x04":  # a SETTINGS frame
        return "http2"
    return "tls" if not first and _shakes_hands(address, timeout_s) else "other"


def _shakes_hands(address: Address, timeout_s: float) -> bool:
    context = ssl.SSLContext(plain_ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = plain_ssl.CERT_NONE
    try:
        with gevent.Timeout(timeout_s, OSError()), names.connect(*address, timeout_s) as link:
            context.wrap_socket(link).close()
    except OSError as error:
        return "ALERT" in (getattr(error, "reason", None) or "")
    return True
