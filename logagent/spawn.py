# SPDX-License-Identifier: Apache-2.0
"""The only way to start a greenlet: it gets a name, its failure is seen, and what happens next is decided here."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import gevent
from gevent import Greenlet

from logagent.backoff import Backoff
from logagent.clock import monotonic

FailureHandler = Callable[[str, BaseException, float | None], None]
"""Called as (greenlet name, exception, seconds until restart or None for "not restarted")."""

Result = TypeVar("Result")

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
                begun_s = monotonic()
                try:
                    function(*args)
                    return
                except Exception as error:  # noqa: BLE001 - the top of every greenlet
                    # Who ran well for a while and failed does not wait for the failures of yesterday.
                    attempt = 0 if monotonic() - begun_s > RESTART.limit_s else attempt
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


def in_thread(function: Callable[..., Result], *args: Any) -> Result:
    """Call something that blocks in a thread of the pool; its exception is raised here.

    gevent prints a traceback for what a pool function raises, so exceptions travel as values. A greenlet that is killed
    meanwhile ends only when the thread is done.
    """

    def guarded() -> tuple[Result | None, Exception | None]:
        try:
            return function(*args), None
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            return None, error

    pending = gevent.get_hub().threadpool.spawn(guarded)
    try:
        value, error = cast("tuple[Result, Exception | None]", pending.get())
    except gevent.GreenletExit:
        pending.wait()
        raise
    if error is not None:
        raise error
    return value
