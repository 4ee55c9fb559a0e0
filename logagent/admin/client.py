# SPDX-License-Identifier: Apache-2.0
"""Asks the agent that works on a data_dir."""

import json
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from logagent.admin.socket_path import NAME, short_name
from logagent.errors import AgentNotRunning, LogagentError
from logagent.ops.shown import shown

TIMEOUT_S = 10.0


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            with short_name(self._path) as name:
                sock.connect(name)
        except OSError:
            sock.close()
            raise
        self.sock = sock


def fetch_status(data_dir: Path, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The agent's /status. Raises AgentNotRunning if nobody listens, LogagentError for a useless answer."""
    return _fetch(data_dir, "/status", timeout_s)


def fetch_explanation(data_dir: Path, path: bytes, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """What the agent says about a path. Raises as `fetch_status`."""
    return _fetch(data_dir, f"/explain?path={quote(path, safe='')}", timeout_s)


def _fetch(data_dir: Path, target: str, timeout_s: float) -> dict[str, Any]:
    path = data_dir / NAME
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise AgentNotRunning(f"no agent works on {shown(data_dir)}") from error
    except TimeoutError as error:
        raise LogagentError(f"the agent at {shown(path)} did not answer within {timeout_s:g} s") from error
    except (OSError, HTTPException) as error:
        raise LogagentError(f"the agent at {shown(path)} cannot be asked: {shown(error)}") from error
    finally:
        connection.close()
    try:
        document = json.loads(body) if response.status == 200 else None
    except ValueError as error:
        raise LogagentError(f"the agent at {shown(path)} did not answer with JSON") from error
    if not isinstance(document, dict):
        raise LogagentError(f"the agent at {shown(path)} answered {response.status} to {target}")
    return document
