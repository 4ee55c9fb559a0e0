# SPDX-License-Identifier: Apache-2.0
"""The v2 API, which Etcd up to 3.5 has if it is switched on: python-etcd speaks it, over connections of ours.

Left to itself, python-etcd sends a write up to four times, waits for ever, and mixes up greenlets that share a client.
It is imported when it is needed: that changes urllib3's TLS for the whole process where pyOpenSSL is installed.
"""

import base64
import json
import logging
from collections.abc import Collection, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote

import gevent

from logagent.config.values import Address
from logagent.errors import EtcdError, EtcdRefused, MemberUnavailable, OutcomeUnknown, SessionLost, WatchEnded
from logagent.spawn import Spawner
from logagent.stores.gateway import MAX_ANSWER_BYTES, Gateway
from logagent.stores.reading import News
from logagent.stores.store import ABSENT, Access, Item, Snapshot
from logagent.stores.together import follow_all
from logagent.stores.tokens import Tokens

if TYPE_CHECKING:
    import etcd

_NOT_FOUND, _COMPARE_FAILED, _NOT_A_DIRECTORY, _EXISTS = 100, 101, 104, 105
_MISSING = (_NOT_FOUND, _NOT_A_DIRECTORY)
_ANSWERS = (*_MISSING, _COMPARE_FAILED, _EXISTS)  # error codes that are no errors to us
_NOT_V2 = (
    "does not serve the v2 API (Etcd up to 3.5 does, with --enable-v2; later ones never): "
    "set api = v3 in [etcd], or auto"
)


class _Reply(NamedTuple):
    """`newest` is the revision of the whole store then; `revision` the key's; `code` one of _ANSWERS, 0: success."""

    newest: int
    revision: int
    node: Mapping[str, Any]
    code: int = 0


class _Answer:
    """What python-etcd wants of a response."""

    def __init__(self, member: str, response: Any) -> None:
        self.status: int = response.status
        self._member = member
        self._response = response
        self._data: bytes | None = None

    def getheader(self, name: str) -> str | None:
        found: str | None = self._response.headers.get(name)
        return found

    @property
    def data(self) -> bytes:
        """Read at the first look, which for a watch takes until something happens."""
        if self._data is None:
            # Nobody is asked to compress, so nothing is unpacked, however large it would become.
            data: bytes = self._response.read(MAX_ANSWER_BYTES + 1, decode_content=False)
            if len(data) > MAX_ANSWER_BYTES:
                self._response.close()
                raise EtcdRefused(self._member, f"answers more than {MAX_ANSWER_BYTES} bytes")
            self._response.release_conn()
            self._data = data
        return self._data


class _Client(Gateway):
    """One python-etcd client, to be used by one greenlet; it gets its connections here."""

    def __init__(self, address: Address, access: Access) -> None:
        import etcd  # noqa: PLC0415 - see above

        super().__init__(address, access)
        logging.getLogger("etcd").setLevel(logging.CRITICAL + 1)  # every error reaches us as an exception
        self._headers = {}
        if access.user is not None:
            password = Tokens(access.user, access.password_file).password()
            login = base64.b64encode(f"{access.user}:{password}".encode()).decode()
            self._headers = {"Authorization": f"Basic {login}"}
        self._status = 0
        self._etcd = etcd.Client(*address, read_timeout=access.timeout_s, allow_redirect=False)
        self._etcd.http = self

    @property
    def cluster_id(self) -> str | None:
        """Of the last answer."""
        return self._etcd.expected_cluster_id

    def expect(self, cluster_id: str | None) -> None:
        """Raise WatchEnded when another cluster answers."""
        self._etcd.expected_cluster_id = cluster_id

    def ask(
        self, method: str, key: str, fields: Mapping[str, str | bytes], *, changes: bool = False
    ) -> _Reply:
        """One request within timeout_s. `changes`: raises OutcomeUnknown if no answer comes."""
        import etcd  # noqa: PLC0415 - see above

        with self._bounded(changes=changes):
            try:
                return self._execute(method, key, fields, self._access.timeout_s, changes=changes)
            except etcd.EtcdConnectionFailed as error:
                raise error.cause from error

    def watch(self, key: str, revision: int, idle_s: float) -> _Reply:
        """The first change after ``revision``; below the key, too, if it ends with a slash."""
        import etcd  # noqa: PLC0415 - see above

        fields = {"wait": "true", "waitIndex": str(revision + 1)}
        if key.endswith("/"):
            fields["recursive"] = "true"
        idle = WatchEnded(f"nothing heard from {self.member} for {idle_s:g} s")
        with gevent.Timeout(idle_s, idle):
            try:
                return self._execute("GET", key.rstrip("/") or "/", fields, idle_s)
            except etcd.EtcdWatchTimedOut as error:
                raise idle from error
            except etcd.EtcdConnectionFailed as error:
                raise self.explain(error.cause) from error

    def request(self, method: str, url: str, **options: Any) -> _Answer:
        """For python-etcd, as are the next two."""
        return self._send_as("request", method, url, options)

    def request_encode_body(self, method: str, url: str, **options: Any) -> _Answer:
        return self._send_as("request_encode_body", method, url, options)

    def clear(self) -> None:
        self._pool.close()

    def _send_as(self, name: str, method: str, url: str, options: dict[str, Any]) -> _Answer:
        if self._closed:
            raise MemberUnavailable(self.member, "we have closed the connection")
        options |= {"retries": False, "headers": self._headers}
        response = getattr(self._pool, name)(method, url.removeprefix(self._etcd.base_uri), **options)
        self._status = response.status
        return _Answer(self.member, response)

    def _execute(
        self,
        method: str,
        key: str,
        fields: Mapping[str, str | bytes],
        timeout_s: float,
        *,
        changes: bool = False,
    ) -> _Reply:
        import etcd  # noqa: PLC0415 - see above

        try:
            answer = self._etcd.api_execute(f"/v2/keys{quote(key)}", method, fields, timeout_s)
            return self._parse(answer)
        except etcd.EtcdConnectionFailed:
            raise
        except etcd.EtcdException as error:
            said = error.payload or {}
            code = said.get("errorCode")
            if code in _ANSWERS and isinstance(said.get("index"), int):
                return _Reply(said["index"], ABSENT, {}, code)
            raise self._refusal(error, said, key, changes=changes) from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise EtcdRefused(self.member, _NOT_V2) from error

    @staticmethod
    def _parse(answer: "etcd.Response") -> _Reply:
        node = json.loads(answer.data)["node"]
        if not isinstance(node, dict):
            raise TypeError("a node is an object")
        newest = int(answer.getheader("X-Etcd-Index") or "")
        return _Reply(newest, int(node.get("modifiedIndex", newest)), node)

    def _refusal(
        self, error: "etcd.EtcdException", said: Mapping[str, Any], key: str, *, changes: bool
    ) -> EtcdError:
        import etcd  # noqa: PLC0415 - see above

        text = f"{said.get('message')}: {str(said.get('cause'))[:200]}"
        match error:
            case etcd.EtcdEventIndexCleared() | etcd.EtcdWatcherCleared() | etcd.EtcdClusterIdChanged():
                return WatchEnded(f"{self.member}: {error}")
            case etcd.EtcdInsufficientPermissions():
                return EtcdRefused(
                    self.member,
                    f"{said.get('message')} ({key}): check user and password_file, and the user's roles",
                )
        if self._status >= 500:
            return self._failure(f"answers {self._status}, {text}", changes=changes)
        return EtcdRefused(self.member, text if "errorCode" in said else _NOT_V2)


class KeysStore:
    """A Store on the v2 API. The term is not told; a value must be UTF-8."""

    api: Literal["v2"] = "v2"

    def __init__(self, address: Address, access: Access, spawner: Spawner) -> None:
        """Raises EtcdRefused for files that cannot be used."""
        self.member = str(address)
        self._address = address
        self._access = access
        self._spawner = spawner
        self._client = _Client(address, access)
        self._watching: set[_Client] = set()
        self._closed = False

    def load(self, keys: Collection[str]) -> Snapshot:
        client = self._client
        client.expect(None)
        fields = {"quorum": "true", "recursive": "true"}
        items: dict[str, Item] = {}
        revisions = []
        for key in keys or ["/"]:
            reply = client.ask("GET", key.rstrip("/") or "/", fields)
            revisions.append(reply.newest)
            items |= {found: item for found, item in _leaves(reply.node) if _covers(key, found)}
        if client.cluster_id is None:
            raise EtcdRefused(self.member, _NOT_V2)
        return Snapshot(client.cluster_id, min(revisions), 0, items if keys else {})

    def follow(self, keys: Collection[str], revision: int, idle_s: float) -> Iterator[int]:
        clients = {key: _Client(self._address, self._access) for key in _topmost(keys)}
        if self._closed:
            raise MemberUnavailable(self.member, "the store was closed")
        self._watching.update(clients.values())
        for client in clients.values():
            client.expect(self._client.cluster_id)
        watches = {key: _watch(client, key, revision, idle_s) for key, client in clients.items()}
        try:
            yield from follow_all(watches, self._spawner)
        finally:
            for client in clients.values():
                client.close()
            self._watching.difference_update(clients.values())

    def ping(self) -> None:
        self._client.get("/version")

    def commit(self, guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        """The revision is that of the key written first."""
        if len(guards) > 1 or not guards.keys() <= writes.keys():
            raise EtcdRefused(self.member, "the v2 API can guard one key, which must be written, not more")
        first: int | None = None
        for key in sorted(writes, key=lambda one: one not in guards):
            try:
                written = self._write(key, writes[key], guards.get(key))
            except EtcdError as error:
                if first is None:
                    raise
                raise OutcomeUnknown(f"{key} was not written after others were: {error}") from error
            if written is None:
                return None
            first = first or written
        return first if first is not None else self.load([]).revision

    def session(self, ttl_s: int) -> "KeysSession":
        return KeysSession(self._client, ttl_s)

    def close(self) -> None:
        self._closed = True
        for client in [self._client, *self._watching]:
            client.close()

    def _write(self, key: str, value: bytes | None, guard: int | None) -> int | None:
        """The revision; None if it is guarded and has another one."""
        fields: dict[str, str | bytes] = {}
        if guard == ABSENT:
            fields["prevExist"] = "false"
        elif guard is not None:
            fields["prevIndex"] = str(guard)
        if value is not None:
            fields["value"] = _utf8(self.member, key, value)
            reply = self._client.ask("PUT", key, fields, changes=True)
        elif guard == ABSENT:  # nothing to delete: only look
            reply = self._client.ask("GET", key, {"quorum": "true"})
            return reply.newest if reply.code in _MISSING else None
        else:
            reply = self._client.ask("DELETE", key, fields, changes=True)
            if reply.code in _MISSING and guard is None:
                return reply.newest
        return None if reply.code else reply.revision


class KeysSession:
    """The v2 API has no leases: every key has a time to live of its own."""

    def __init__(self, client: _Client, ttl_s: int) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._revisions: dict[str, int] = {}

    def put(self, key: str, value: bytes) -> None:
        self._renew(key, {"value": _utf8(self._client.member, key, value)}, changes=True)

    def keep_alive(self) -> None:
        for key in self._revisions:
            self._renew(key, {"refresh": "true"})

    def close(self) -> None:
        try:
            for key, revision in self._revisions.items():
                self._client.ask("DELETE", key, {"prevIndex": str(revision)})
        except EtcdError:
            return  # they vanish by themselves

    def _renew(self, key: str, fields: dict[str, str | bytes], *, changes: bool = False) -> None:
        fields["ttl"] = str(self._ttl_s)
        if key in self._revisions:
            fields["prevExist"] = "true"
        reply = self._client.ask("PUT", key, fields, changes=changes)
        if reply.code:
            raise SessionLost(f"{key} has vanished from {self._client.member}")
        self._revisions[key] = reply.revision


def _watch(client: _Client, key: str, revision: int, idle_s: float) -> Generator[int, None, None]:
    """One for every event."""
    news = News(client.member)
    while True:
        reply = client.watch(key, revision, idle_s)
        news.heard(0)
        # Who is told of a change reads everything, and so sees what there was when this request began.
        revision = max(reply.revision, reply.newest)
        yield 1


def _topmost(keys: Collection[str]) -> list[str]:
    """Those that do not lie below another one. A role for ``/a/h/*`` may watch each of them, but not ``/a/h``."""
    return [
        key for key in dict.fromkeys(keys) if not any(_covers(other, key) for other in keys if other != key)
    ]


def _covers(key: str, found: str) -> bool:
    return found == key or (key.endswith("/") and found.startswith(key))


def _leaves(node: Mapping[str, Any]) -> Iterator[tuple[str, Item]]:
    """Every value in a tree of nodes."""
    waiting: list[Any] = [node]
    while waiting:
        one = waiting.pop()
        match one:
            case {"nodes": list(nodes)}:
                waiting += nodes
            case {"key": str(key), "value": str(value), "modifiedIndex": int(revision)}:
                yield key, Item(value.encode(errors="replace"), revision)


def _utf8(member: str, key: str, value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise EtcdRefused(member, f"the v2 API takes only UTF-8, which the value of {key} is not") from error
    return value
