# SPDX-License-Identifier: Apache-2.0
"""The agent's admin doors: a Unix socket for whoever may use data_dir, and TCP for whoever reaches it."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gevent import socket

from logagent.admin.door import MAX_CONNECTIONS, Door
from logagent.admin.pages import Sources, application
from logagent.admin.socket_path import short_name
from logagent.config.values import Address
from logagent.ops.events import Events
from logagent.ops.shown import shown
from logagent.spawn import Spawner

SOCKET_MODE = 0o600


class AdminServer:
    """Answers /metrics, /healthz, /readyz and /status, on the socket also /explain.

    A door that cannot be opened does not stop the agent: it is told as an event and stays in `faults`, one
    sentence each. data_dir must be locked by this process: an older socket in it is taken for a stale one.
    """

    def __init__(
        self,
        *,
        status: Callable[[], dict[str, Any]],
        health: Callable[[], list[str]],
        ready: Callable[[], list[str]],
        metrics: Callable[[], bytes],
        socket_path: Path,
        tcp_addr: Address | None,
        addr_file: Path,
        spawn: Spawner,
        events: Events | None = None,
        explain: Callable[[bytes], dict[str, Any]] | None = None,
    ) -> None:
        told = Sources(status, health, ready, metrics)
        self._public = application(told, self._request_failed)
        self._private = application(replace(told, explain=explain), self._request_failed)
        self._socket_path = socket_path
        self._tcp_addr = tcp_addr
        self._addr_file = addr_file
        self._spawner = spawn
        self._events = events
        self._doors: list[Door] = []
        self._made: list[Path] = []
        self.faults: list[str] = []
        self.tcp_address: str | None = None

    def start(self) -> None:
        """Open both doors; `tcp_address` is then the actual "host:port"."""
        with suppress(OSError):  # who finds the file must find this agent behind it
            self._addr_file.unlink()
        self._open(str(self._socket_path), self._private, self._open_unix)
        if self._tcp_addr is not None:
            self._open(str(self._tcp_addr), self._public, self._open_tcp, self._tcp_addr)
        if self.tcp_address is not None:
            self._write_addr_file(self.tcp_address)

    def stop(self) -> None:
        """Close the doors and remove what was written; requests in work have a second to end."""
        for door in self._doors:
            door.stop()
        for path in self._made:
            with suppress(OSError):  # the next start removes it
                path.unlink()
        self._doors.clear()
        self._made.clear()

    def _open(
        self,
        address: str,
        answers: Callable[..., Any],
        opener: Callable[..., tuple[Any, str]],
        *args: object,
    ) -> None:
        try:
            listener, actual = opener(*args)
        except OSError as error:
            self.faults.append(f"cannot answer on {shown(address)}: {shown(error)}")
            if self._events is not None:
                self._events.admin_failed(address=address, error=error)
            return

        def accept_failed(error: OSError) -> None:
            if self._events is not None:
                self._events.admin_accept_failed(address=actual, error=error)

        door = Door(listener, answers, self._spawner, accept_failed)
        door.start()
        self._doors.append(door)
        if self._events is not None:
            self._events.admin_listening(address=actual)

    def _open_unix(self) -> tuple[Any, str]:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(self._socket_path).st_mode):
                raise FileExistsError(17, "something that is no socket is in its place")
            os.unlink(self._socket_path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Linux gives the file the mode of the unbound socket: at no moment may others connect.
            os.fchmod(listener.fileno(), SOCKET_MODE)
            with short_name(self._socket_path) as name:
                listener.bind(name)
            self._made.append(self._socket_path)
            listener.listen(MAX_CONNECTIONS)
        except OSError:
            listener.close()
            raise
        return listener, str(self._socket_path)

    def _open_tcp(self, address: Address) -> tuple[Any, str]:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, sockaddr = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(sockaddr)
            listener.listen(MAX_CONNECTIONS)
            host, port = listener.getsockname()[:2]
            self.tcp_address = str(Address(host, port))
        except OSError:
            listener.close()
            raise
        return listener, self.tcp_address

    def _write_addr_file(self, address: str) -> None:
        draft = self._addr_file.with_name(self._addr_file.name + ".new")
        try:
            draft.write_text(address + "\n")
            draft.replace(self._addr_file)
        except OSError as error:
            self.faults.append(f"cannot write {shown(self._addr_file)}: {shown(error)}")
            return
        self._made.append(self._addr_file)

    def _request_failed(self, path: str, error: Exception) -> None:
        if self._events is not None:
            self._events.admin_request_failed(path=path, error=error)
