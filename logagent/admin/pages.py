# SPDX-License-Identifier: Apache-2.0
"""What the agent answers to which request: a WSGI application over a few callables. Knows no server."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIEnvironment

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"


class Answer(NamedTuple):
    """One answer, before it is HTTP."""

    status: HTTPStatus
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from. `health` and `ready` give the reasons why not; none means yes.

    `explain` tells about any path, so it is only for who may use data_dir; None elsewhere.
    """

    status: Callable[[], dict[str, Any]]
    health: Callable[[], list[str]]
    ready: Callable[[], list[str]]
    metrics: Callable[[], bytes]
    explain: Callable[[bytes], dict[str, Any]] | None = None


def answer(sources: Sources, path: str, query: str) -> Answer:
    """The answer to GET `path`."""
    match path:
        case "/metrics":
            return Answer(HTTPStatus.OK, METRICS, sources.metrics())
        case "/healthz":
            return _verdict(sources.health())
        case "/readyz":
            return _verdict(sources.ready())
        case "/status":
            indent = 2 if "pretty" in query.split("&") else None
            return Answer(HTTPStatus.OK, JSON, _json(sources.status(), indent))
        case "/explain" if sources.explain is not None:
            return _explanation(sources.explain, query)
    return _text(HTTPStatus.NOT_FOUND, "There is /metrics, /healthz, /readyz and /status.")


def application(
    sources: Sources, on_failure: Callable[[str, Exception], None]
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """The WSGI application. What a source raises goes to `on_failure` as (path, error); the answer is 500."""

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if method not in ("GET", "HEAD"):
            got = _text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD.")
        else:
            try:
                got = answer(sources, path, environ.get("QUERY_STRING", ""))
            except Exception as error:  # noqa: BLE001  # the top of a request
                on_failure(path, error)
                got = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "This failed; the agent's log says why.")
        start_response(f"{got.status.value} {got.status.phrase}", _headers(got))
        return [] if method == "HEAD" else [got.body]

    return respond


def _headers(got: Answer) -> list[tuple[str, str]]:
    headers = [
        ("Content-Type", got.content_type),
        ("Content-Length", str(len(got.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ]
    if got.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    return headers


def _explanation(explain: Callable[[bytes], dict[str, Any]], query: str) -> Answer:
    name, _, value = query.partition("=")
    path = unquote_to_bytes(value)
    if name != "path" or not path.startswith(b"/") or b"\0" in path:
        return _text(HTTPStatus.BAD_REQUEST, "It is /explain?path=PATH, an absolute path, percent-encoded.")
    return Answer(HTTPStatus.OK, JSON, _json(explain(path), None))


def _verdict(reasons: list[str]) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return Answer(status, JSON, _json({"ok": not reasons, "reasons": reasons}, None))


def _text(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(status, TEXT, f"{status.value} {status.phrase}. {sentence}\n".encode())


def _json(document: dict[str, Any], indent: int | None) -> bytes:
    return json.dumps(document, indent=indent).encode("ascii") + b"\n"
