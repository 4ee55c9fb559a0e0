# SPDX-License-Identifier: Apache-2.0
"""Reading from a server that never stops talking: others get their turn, and it may not talk for ever.

A read that finds something does not wait, and who never waits keeps every other greenlet, and every time-out, from
running.
"""

import io
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

import gevent

from logagent import clock as clocks
from logagent.clock import MonotonicClock
from logagent.errors import MemberUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

MAX_HEAD_BYTES = 128 * 1024
"""Of an answer, with what is said before it (100 Continue)."""

MAX_NEWS = 5_000
MAX_NEWS_BYTES = 64 * 1024 * 1024
NEWS_WINDOW_S = 10.0
"""So many messages and bytes of a watch in so much time: lists of services change some times a day."""

_SLICE_S = 0.005
_REST_S = 1e-6


class EndlessHead(HTTPException):
    """A server sends headers, or promises to continue, and never comes to the answer."""


class Turns:
    """`rest` lets the other greenlets run if they had no chance for 5 ms."""

    def __init__(
        self, clock: MonotonicClock = clocks.monotonic, sleep: "Callable[[float], object]" = gevent.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._until_s = clock() + _SLICE_S

    def rest(self) -> None:
        if self._clock() >= self._until_s:
            self._sleep(_REST_S)
            self._until_s = self._clock() + _SLICE_S


class News:
    """Counts what a watch says. Raises MemberUnavailable when that is more than any list of services can need."""

    def __init__(self, member: str, clock: MonotonicClock = clocks.monotonic) -> None:
        self._member = member
        self._clock = clock
        self._begun_s = clock()
        self._messages = 0
        self._bytes = 0

    def heard(self, message_bytes: int) -> None:
        """One message more."""
        now_s = self._clock()
        if now_s - self._begun_s >= NEWS_WINDOW_S:
            self._begun_s, self._messages, self._bytes = now_s, 0, 0
        self._messages += 1
        self._bytes += message_bytes
        if self._messages > MAX_NEWS or self._bytes > MAX_NEWS_BYTES:
            raise MemberUnavailable(
                self._member,
                f"its watch says too much ({self._messages} messages with {self._bytes} bytes within"
                f" {NEWS_WINDOW_S:g} s): is something writing our keys in a loop?",
            )


class PacedResponse(HTTPResponse):
    """Reads in turns with others, and no more than so much before the answer itself begins."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.in_head = False


class _Paced(io.RawIOBase):
    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._turns = Turns()
        self._read_bytes = 0
        self.in_head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if self.in_head and self._read_bytes > MAX_HEAD_BYTES:
            raise EndlessHead(f"sends more than {MAX_HEAD_BYTES} bytes before an answer begins")
        self._turns.rest()
        count: int | None = self._raw.readinto(buffer)
        self._read_bytes += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
