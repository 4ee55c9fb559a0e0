# SPDX-License-Identifier: Apache-2.0
"""Connections to hosts by name. A name server that hangs takes two threads of ours, and none of anybody else's.

A look-up cannot be broken off: who gives it up leaves its thread behind, for as long as the system's resolver is
patient, and gevent's own few threads are those that positions are saved in.
"""

import _socket
from collections.abc import Callable
from functools import cache
from typing import Any

from gevent import socket
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

THREADS = 2

Found = tuple[int, tuple[Any, ...]]
"""Address family, and what a socket of it connects to."""

LookUp = Callable[[str, int, int], list[Found]]
"""Called with host, port, and flags of getaddrinfo; raises OSError or UnicodeError."""


def connect(host: str, port: int, timeout_s: float | None) -> Any:
    """A socket, connected to the first address of the host that takes us, each within `timeout_s`. Raises OSError."""
    refused = OSError(f"{host} has no address")
    for family, address in _resolver().addresses(host, port):
        try:
            link = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # a family that this machine does not have
            refused = error
            continue
        try:
            link.settimeout(timeout_s)
            link.connect(address)
        except OSError as error:
            link.close()
            refused = error
        except BaseException:
            link.close()
            raise
        else:
            return link
    raise refused


class Resolver:
    """One look-up of a name at a time, a few in all: who asks for the same name waits for the same answer."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._pool = ThreadPool(THREADS)
        self._free = BoundedSemaphore(THREADS)
        self._flights: dict[tuple[str, int], Any] = {}

    def addresses(self, host: str, port: int) -> list[Found]:
        """Raises OSError and UnicodeError, as the system's resolver does. Waits as long as that does."""
        try:
            return self._look_up(host, port, socket.AI_NUMERICHOST)  # does not ask anybody
        except OSError:
            found, error = self._flight(host, port).get()
        if error is not None:
            raise error
        return list(found)

    def _flight(self, host: str, port: int) -> Any:
        name = host, port
        if name not in self._flights:
            self._free.acquire()
            if name in self._flights:  # somebody else was faster
                self._free.release()
            else:
                # Does not wait: a thread is free before `_landed` says so.
                self._flights[name] = self._pool.spawn(self._guarded, host, port)
                self._flights[name].rawlink(lambda _: self._landed(name))
        return self._flights[name]

    def _landed(self, name: tuple[str, int]) -> None:
        del self._flights[name]
        self._free.release()

    def _guarded(self, host: str, port: int) -> tuple[list[Found], Exception | None]:
        """As gevent prints a traceback for what a function in a thread raises, errors travel as values."""
        try:
            return self._look_up(host, port, 0), None
        except (OSError, UnicodeError) as error:
            return [], error


@cache
def _resolver() -> Resolver:
    return Resolver(_ask_system)


def _ask_system(host: str, port: int, flags: int) -> list[Found]:
    # Not the one of the module socket: that may be gevent's, which would take a thread of the common pool.
    found = _socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
    return [(family, address) for family, _kind, _protocol, _name, address in found]
