# SPDX-License-Identifier: Apache-2.0
"""Something that has happened, or not: gevent's event, made only when somebody waits for it."""

from gevent.event import Event


class Moment:
    """Thousands of files have one each, and hardly any is waited for."""

    __slots__ = ("_event", "_happened")

    def __init__(self) -> None:
        self._happened = False
        self._event: Event | None = None

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def set(self) -> None:
        """It has happened: who waits goes on."""
        self._happened = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        """It is still to come."""
        self._happened = False

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has happened; False if it did not within `timeout_s`."""
        if not self._happened:
            if self._event is None:
                self._event = Event()
            self._event.wait(timeout=timeout_s)
        return self._happened
