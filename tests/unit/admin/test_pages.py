# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest

from logagent.admin.pages import Sources, application


class Asked:
    """Calls the WSGI application as a server would."""

    def __init__(self, **sources: Any) -> None:
        defaults: dict[str, Any] = {
            "status": lambda: {"schema": 1, "path": "/a\udcff"},
            "health": list,
            "ready": list,
            "metrics": lambda: b"logagent_files_open 2.0\n",
        }
        self.failures: list[tuple[str, Exception]] = []
        self._respond = application(
            Sources(**{**defaults, **sources}), lambda path, error: self.failures.append((path, error))
        )

    def __call__(self, path: str, method: str = "GET", query: str = "") -> tuple[str, dict[str, str], bytes]:
        started: list[Any] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
        body = b"".join(self._respond(environ, lambda *args: started.extend(args)))  # type: ignore[arg-type]
        return started[0], dict(started[1]), body


def test_metrics_are_handed_through_with_the_type_that_prometheus_expects() -> None:
    status, headers, body = Asked()("/metrics")
    assert status == "200 OK"
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Content-Length"] == str(len(body))
    assert body == b"logagent_files_open 2.0\n"


def test_status_is_one_line_of_json_and_indented_on_request() -> None:
    _, headers, body = Asked()("/status")
    assert headers["Content-Type"] == "application/json"
    assert body == b'{"schema": 1, "path": "/a\\udcff"}\n'
    _, _, pretty = Asked()("/status", query="pretty")
    assert pretty.count(b"\n") == 4
    assert json.loads(pretty) == json.loads(body)


@pytest.mark.parametrize(("path", "source"), [("/healthz", "health"), ("/readyz", "ready")])
def test_health_and_readiness_give_their_reasons_with_503(path: str, source: str) -> None:
    status, _, body = Asked()(path)
    assert (status, json.loads(body)) == ("200 OK", {"ok": True, "reasons": []})
    status, headers, body = Asked(**{source: lambda: ["topic a is parked"]})(path)
    assert status == "503 Service Unavailable"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"ok": False, "reasons": ["topic a is parked"]}


@pytest.mark.parametrize("path", ["/", "", "/metrics/", "/statusx", "/../status"])
def test_an_unknown_path_is_404_and_names_the_known_ones(path: str) -> None:
    status, _, body = Asked()(path)
    assert status == "404 Not Found"
    assert b"/healthz" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "nonsense"])
def test_other_methods_are_405_and_ask_no_source(method: str) -> None:
    status, headers, _ = Asked(status=pytest.fail)("/status", method)
    assert status == "405 Method Not Allowed"
    assert headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_of_get_and_no_body() -> None:
    asked = Asked()
    status, headers, body = asked("/metrics", "HEAD")
    assert (status, headers) == asked("/metrics")[:2]
    assert body == b""


def test_a_source_that_fails_is_500_and_is_told() -> None:
    def broken() -> bytes:
        raise ValueError("secret")

    asked = Asked(metrics=broken)
    status, _, body = asked("/metrics")
    assert status == "500 Internal Server Error"
    assert b"secret" not in body
    assert [(path, str(error)) for path, error in asked.failures] == [("/metrics", "secret")]


def test_explain_takes_the_bytes_of_an_absolute_path() -> None:
    asked: list[bytes] = []

    def explain(path: bytes) -> dict[str, Any]:
        asked.append(path)
        return {"schema": 1}

    told = Asked(explain=explain)
    status, headers, body = told("/explain", query="path=%2Fl%2Fa%20%FF%26b")
    assert (status, headers["Content-Type"], body) == ("200 OK", "application/json", b'{"schema": 1}\n')
    assert asked == [b"/l/a \xff&b"]


@pytest.mark.parametrize("query", ["", "path=", "path=relative", "path=%2Fa%00b", "other=%2Fa"])
def test_explain_without_a_usable_path_is_a_bad_request(query: str) -> None:
    status, _, body = Asked(explain=pytest.fail)("/explain", query=query)
    assert status == "400 Bad Request"
    assert b"/explain?path=PATH" in body


def test_where_nothing_is_explained_there_is_no_such_page() -> None:
    assert Asked()("/explain", query="path=%2Fa")[0] == "404 Not Found"
