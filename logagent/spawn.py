# SPDX-License-Identifier: Apache-2.0
"""The only way to start a greenlet: it gets a name, its failure is seen, and what happens next is decided here."""

from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet

from logagent.backoff import Backoff

FailureHandler = Callable[[str, BaseException, float | None], None]
"""Called as (greenlet name, exception, seconds until restart or None for "not restarted")."""

RESTART = Backoff(first_s=0.5, limit_s=30.0)


class Spawner:
    """Starts greenlets for one agent and reports their failures to one place."""

    def __init__(self, on_failure: FailureHandler) -> None:
        self._on_failure = on_failure

    def once(self, name: str, function: Callable[..., Any], *args: Any) -> Greenlet:
        """Run to the end; a failure is reported and the greenlet is gone. For work whose owner notices its end."""

        def body() -> None:
            try:
                function(*args)
            except Exception as error:  # noqa: BLE001 - the top of every greenlet
                self._on_failure(name, error, None)

        return self._start(name, body)

    def forever(self, name: str, function: Callable[..., Any], *args: Any) -> Greenlet:
        """Run until killed; a failure is reported and the function is called again after a growing pause."""

        def body() -> None:
            attempt = 0
            while True:
                try:
                    function(*args)
                    return
                except Exception as error:  # noqa: BLE001 - the top of every greenlet
                    delay_s = RESTART.delay_s(attempt)
                    attempt += 1
                    self._on_failure(name, error, delay_s)
                    gevent.sleep(delay_s)

        return self._start(name, body)

    @staticmethod
    def _start(name: str, body: Callable[[], None]) -> Greenlet:
        greenlet = Greenlet(body)
        greenlet.name = name
        greenlet.start()
        return greenlet
