# SPDX-License-Identifier: Apache-2.0
"""The JSON of Etcd's v3 gateway: requests, answers, errors of all server versions, the watch stream. Pure.

Whatever the other side sends, only `EtcdError`s are raised. What the server says and when was measured on 3.4, 3.5
and 3.7; field names and error forms: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from logagent.errors import EtcdRefused, WatchEnded
from logagent.stores.store import Item, Snapshot

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_MAX_TEXT_CHARS = 300
_SURE_BYTES = 504

Body = dict[str, Any]


class Kind(Enum):
    """What a failure means for us."""

    TOKEN = auto()  # missing, expired or outdated
    DENIED = auto()
    PASSWORD = auto()  # or the user is wrong
    AUTH_OFF = auto()
    COMMON_NAME = auto()  # in the client certificate
    ENDED = auto()  # a watch: listing again is right
    LEASE_GONE = auto()
    UNAVAILABLE = auto()  # this member, now
    NO_GATEWAY = auto()
    REFUSED = auto()  # the request itself


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure as the server tells it. `harmless`: the request was certainly not carried out."""

    kind: Kind
    text: str
    harmless: bool = True


@dataclass(frozen=True, slots=True)
class WatchMessage:
    """One message of a watch: how many changes it brought, or why the watch is over."""

    watch_id: int = 0
    changes: int = 0
    created: bool = False
    problem: Problem | None = None


# Servers give one failure different codes (a stale JWT: 3 in 3.4, 2 in 3.5), so the text counts first.
_BY_TEXT = (
    ("invalid auth token", Kind.TOKEN),
    ("revision in header is old", Kind.TOKEN),
    ("revision of auth store is old", Kind.TOKEN),
    ("user name is empty", Kind.TOKEN),
    ("authentication is not enabled", Kind.AUTH_OFF),
    ("invalid user ID or password", Kind.PASSWORD),
    ("permission denied", Kind.DENIED),
    ("has been compacted", Kind.ENDED),
    ("lease not found", Kind.LEASE_GONE),
    ("no leader", Kind.UNAVAILABLE),
    ("too many requests", Kind.UNAVAILABLE),
)
_NOT_TRIED = ("no leader", "too many requests")
_BY_CODE = dict.fromkeys((3, 5, 6, 8, 9), Kind.REFUSED)
_BY_CODE |= {7: Kind.DENIED, 11: Kind.ENDED, 12: Kind.NO_GATEWAY, 16: Kind.TOKEN}


def problem_of(status: int, body: bytes) -> Problem:
    """What an answer with another HTTP status than 200 means."""
    with suppress(ValueError):
        if (found := _problem(_parse(body))) is not None:
            return found
    said = _said(body)
    if "CommonName of client" in said:  # the one sentence that comes without JSON
        return Problem(Kind.COMMON_NAME, said)
    if status in {404, 405, 501}:
        return Problem(Kind.NO_GATEWAY, f"HTTP {status}: {said}")
    kind = Kind.UNAVAILABLE if status >= 500 else Kind.REFUSED  # a load balancer without servers
    return Problem(kind, f"answers HTTP {status} and not as Etcd does: {said}", harmless=status < 500)


def _problem(body: Body) -> Problem | None:
    """Unary or in a stream, of the old gateway (`error`, `grpc_code`) or the current one (`message`, `code`)."""
    inner = body.get("error")
    body = inner if isinstance(inner, dict) else body
    text, code = body.get("message", inner), body.get("grpc_code", body.get("code"))
    return _classify(code, text) if isinstance(text, str) and isinstance(code, int) else None


def _classify(code: int, text: str) -> Problem:
    kind = next((kind for part, kind in _BY_TEXT if part in text), _BY_CODE.get(code, Kind.UNAVAILABLE))
    tried = kind is Kind.UNAVAILABLE and not any(part in text for part in _NOT_TRIED)
    return Problem(kind, _shorten(text), harmless=not tried)


def range_txn(keys: Collection[str]) -> Body:
    """Read all keys at one revision; a key that ends with a slash stands for everything below it."""
    return {"success": [{"request_range": _range(key)} for key in keys]}


def commit_txn(guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> Body:
    """A key that does not exist has the mod_revision 0."""
    return {
        "compare": [
            {"key": encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
            for key, revision in guards.items()
        ],
        "success": [_write(key, value) for key, value in writes.items()],
    }


def _write(key: str, value: bytes | None) -> Body:
    if value is None:
        return {"request_delete_range": {"key": encode(key)}}
    return {"request_put": put(key, value)}


def put(key: str, value: bytes) -> Body:
    """The body of a put, also inside a transaction."""
    return {"key": encode(key), "value": base64.b64encode(value).decode()}


def watches(keys: Collection[str], revision: int) -> list[tuple[bytes, int]]:
    """Bodies of watches on all the keys after `revision`, each with how many watches it begins.

    Nothing can be sent later on such a stream, and of what is sent only the first 512 bytes surely arrive: the gateway
    decodes what it reads first, and Go's server gives out no more of a request once its answer has begun.
    """
    same = {"start_revision": str(revision + 1), "progress_notify": True, "fragment": True}
    bodies: list[tuple[bytes, int]] = []
    for key in keys:
        create = json.dumps({"create_request": same | _range(key)}, separators=(",", ":")).encode()
        if bodies and len(bodies[-1][0]) + 1 + len(create) <= _SURE_BYTES:
            body, count = bodies.pop()
            bodies.append((body + b"\n" + create, count + 1))
        else:
            bodies.append((create, 1))
    return bodies


def _range(key: str) -> Body:
    if not key.endswith("/"):
        return {"key": encode(key)}
    return {"key": encode(key), "range_end": encode(f"{key[:-1]}0")}  # "0" is the byte after "/"


def encode(key: str) -> str:
    """A key as the gateway wants it."""
    return base64.b64encode(key.encode("utf-8", "surrogateescape")).decode()


def read_snapshot(member: str, body: bytes) -> Snapshot:
    """The answer to a `range_txn`."""
    with _understood(member, body):
        answer = _parse(body)
        header = _object(answer["header"])
        items: dict[str, Item] = {}
        for response in _list(answer, "responses"):
            for found in _list(_object(response["response_range"]), "kvs"):
                key = _bytes(found, "key").decode("utf-8", "surrogateescape")
                items[key] = Item(_bytes(found, "value"), _integer(found, "mod_revision"))
        cluster_id = str(_integer(header, "cluster_id"))
        return Snapshot(cluster_id, _integer(header, "revision"), _integer(header, "raft_term"), items)


def read_commit(member: str, body: bytes) -> int | None:
    """The revision of a commit; None if a guard failed."""
    with _understood(member, body):
        answer = _parse(body)
        revision = _integer(_object(answer["header"]), "revision")
        return revision if answer.get("succeeded") is True else None


def read_field(member: str, body: bytes, name: str) -> str:
    """A text or number of a simple answer; empty where proto3 leaves out a zero."""
    with _understood(member, body):
        answer = _parse(body)
        answer = _object(answer.get("result", answer))
        _object(answer["header"])
        value = answer.get(name, "")
        if isinstance(value, str) and value.isascii() and value.isprintable():
            return value
        raise ValueError(f"{name} is not text")


def read_watch(member: str, line: bytes) -> WatchMessage:
    """One message of a watch stream. `canceled` counts before `created`: a refusal has both."""
    with _understood(member, line):
        message = _parse(line)
        if (problem := _problem(message)) is not None:
            return WatchMessage(problem=problem)
        result = _object(message["result"])
        return WatchMessage(
            watch_id=_integer(result, "watch_id"),
            changes=len(_list(result, "events")),
            created=result.get("created") is True,
            problem=_cancellation(result) if result.get("canceled") is True else None,
        )


def _cancellation(result: Body) -> Problem:
    if _integer(result, "compact_revision"):
        return Problem(Kind.ENDED, f"compacted up to revision {result['compact_revision']}")
    reason = result.get("cancel_reason")
    if not isinstance(reason, str) or not reason:
        return Problem(Kind.ENDED, "the server cancelled the watch")
    return _classify(-1, reason)


def read_version(member: str, body: bytes) -> tuple[int, int]:
    """Major and minor of the version that the whole cluster speaks, or the member while a cluster forms."""
    with _understood(member, body):
        answer = _parse(body)
        cluster, server = str(answer.get("etcdcluster")), str(answer["etcdserver"])
        found = re.match(r"(\d{1,4})\.(\d{1,4})\.", cluster) or re.match(r"(\d{1,4})\.(\d{1,4})\.", server)
        if found is None:
            raise ValueError("no version")
        return int(found[1]), int(found[2])


def read_v2_key(body: bytes) -> tuple[bool, int]:
    """Whether it is Etcd that answers /v2/keys, and the index of the key (0: none, or we may not see it)."""
    try:
        answer = _parse(body)
        if "node" in answer:
            return True, _integer(_object(answer["node"]), "modifiedIndex")
    except ValueError:
        return False, 0
    return "errorCode" in answer or "message" in answer, 0


@contextmanager
def _understood(member: str, body: bytes) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError) as error:
        raise not_etcd(member, body) from error


def not_etcd(member: str, body: bytes) -> EtcdRefused:
    """The error for an answer that Etcd does not give."""
    return EtcdRefused(member, f"what answers is not Etcd (check etcd_addr); it says {_said(body)!r}")


class Lines:
    """Splits a watch stream into messages, whatever the network made of them."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every message that is complete now. Raises `WatchEnded` when one is larger than any of Etcd's."""
        *complete, rest = data.split(b"\n")
        for line in complete:
            self._keep(line)
            if message := self.rest():
                yield message
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        if len(self._begun) + len(part) > MAX_MESSAGE_BYTES:
            raise WatchEnded(f"a message is larger than {MAX_MESSAGE_BYTES} bytes")
        self._begun += part

    def rest(self) -> bytes:
        """What came since the last newline: old gateways end a stream with an error that has none."""
        line = bytes(self._begun.strip())
        self._begun.clear()
        return line


def _parse(body: bytes) -> Body:
    try:
        return _object(json.loads(body))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _object(value: object) -> Body:
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - bad data, not a bug
    return value


def _list(body: Body, name: str) -> list[Body]:
    """proto3 leaves out an empty list."""
    value = body.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004
    return [_object(one) for one in value]


def _integer(body: Body, name: str) -> int:
    """64 bits travel as text; proto3 leaves out a zero."""
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{name} is not a number")  # noqa: TRY004
    return int(value)


def _bytes(body: Body, name: str) -> bytes:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")  # noqa: TRY004
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name} is not base64") from error


def _said(body: bytes) -> str:
    return _shorten(body[: 4 * _MAX_TEXT_CHARS].decode(errors="replace")) or "nothing"


def _shorten(text: str) -> str:
    """On one line, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _MAX_TEXT_CHARS]).split())
    return line if len(line) <= _MAX_TEXT_CHARS else f"{line[:_MAX_TEXT_CHARS]}..."
