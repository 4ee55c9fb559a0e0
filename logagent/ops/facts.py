# SPDX-License-Identifier: Apache-2.0
"""How a fact is declared: `fact` turns a method that moves metrics into one that also writes the log line."""

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from logagent.clock import MonotonicClock, WallClock
from logagent.ops.metrics import Metrics
from logagent.ops.repeats import Repeats
from logagent.ops.shown import shown


@dataclass(frozen=True, slots=True)
class Fact:
    """What docs/events.md and the tests know of a method of Events.

    `subject` names the arguments that say which trouble this is: given, the fact is a failure that may
    repeat, or, with `ends`, the end of the failures named there. `metrics` are what its method moves.
    """

    name: str
    logger: str
    level: int
    sentence: str
    metrics: tuple[str, ...]
    subject: tuple[str, ...] | None
    ends: tuple[str, ...]
    with_traceback: bool


class FactTeller:
    """What every group of facts has: metrics to move, and the memory of what was said already."""

    def __init__(self, metrics: Metrics, clock: MonotonicClock, wall: WallClock) -> None:
        self._metrics = metrics
        self._wall = wall
        self._repeats = Repeats(clock)


Teller = TypeVar("Teller", bound=FactTeller)
Params = ParamSpec("Params")
Extra = Mapping[str, object] | None
"""Values that a method computes for its sentence beyond its arguments."""


def fact(
    logger: str,
    level: int,
    sentence: str,
    *metrics: str,
    subject: tuple[str, ...] | None = None,
    ends: tuple[str, ...] = (),
    with_traceback: bool = False,
) -> Callable[[Callable[Concatenate[Teller, Params], Extra]], Callable[Concatenate[Teller, Params], None]]:
    """Declare a fact. The method moves the metrics named; without any, logagent_events_total counts."""

    def decorate(
        body: Callable[Concatenate[Teller, Params], Extra],
    ) -> Callable[Concatenate[Teller, Params], None]:
        log = logging.getLogger(f"logagent.{logger}")
        told = Fact(
            body.__name__,
            log.name,
            level,
            sentence,
            metrics or (f'logagent_events_total{{event="{body.__name__}"}}',),
            subject,
            ends,
            with_traceback,
        )

        @functools.wraps(body)
        def tell(self: Teller, *args: Params.args, **values: Params.kwargs) -> None:
            extra = body(self, *args, **values)
            if not metrics:
                self._metrics.events.labels(told.name).inc()
            tail = _tail(self._repeats, told, values) if subject is not None else ""
            if tail is not None and log.isEnabledFor(level):
                _write(log, told, {**values, **(extra or {})}, tail)

        cast(Any, tell).fact = told
        return cast(Callable[Concatenate[Teller, Params], None], tell)

    return decorate


def _tail(repeats: Repeats, told: Fact, values: Mapping[str, object]) -> str | None:
    """What to add to the sentence; None to say nothing."""
    key = tuple(shown(values[name]) for name in told.subject or ())
    if not told.ends:
        silent = repeats.failed((told.name, *key))
        if silent is None:
            return None
        return f" ({silent} more since the last message.)" if silent else ""
    overs = [over for name in told.ends if (over := repeats.over((name, *key))) is not None]
    if not overs:
        return None
    return f" It took {max(over.lasted_s for over in overs):.0f} s."


def _write(log: logging.Logger, told: Fact, values: dict[str, object], tail: str) -> None:
    error = values.get("error")
    exc_info = error if told.with_traceback and isinstance(error, BaseException) else None
    fields = {name: shown(value) for name, value in values.items()}
    # An empty mapping is no argument to logging, but an argument too many to the sentence.
    args = (fields,) if fields else ()
    sentence = told.sentence + tail
    log.log(told.level, sentence, *args, exc_info=exc_info, extra={"fact": told.name})
