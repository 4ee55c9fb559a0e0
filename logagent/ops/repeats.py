# SPDX-License-Identifier: Apache-2.0
"""When to speak of a failure that goes on: at once, then ever more rarely, and once when it is over. Pure."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

EVERY_S = 60.0
LIMIT_S = 3600.0
MAX_SUBJECTS = 10_000


@dataclass(slots=True)
class _Trouble:
    since_s: float
    said_s: float
    pause_s: float
    count: int
    silent: int


@dataclass(frozen=True, slots=True)
class Over:
    """How long a trouble lasted, and how often it was reported."""

    count: int
    lasted_s: float


class Repeats:
    """Remembers which subjects are in trouble.

    The first pause between two messages of one subject is `EVERY_S`; it doubles up to `LIMIT_S`, so that a
    file that stays away for a week does not fill the log.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._troubles: dict[Hashable, _Trouble] = {}

    def failed(self, subject: Hashable) -> int | None:
        """Returns None to keep silent, else how many failures were kept silent since the last message."""
        now_s = self._clock()
        trouble = self._troubles.pop(subject, None)
        if trouble is None:
            # The dict is kept in the order of the latest failure; the one that failed longest ago has to go.
            if len(self._troubles) >= MAX_SUBJECTS:
                del self._troubles[next(iter(self._troubles))]
            self._troubles[subject] = _Trouble(now_s, now_s, EVERY_S, count=1, silent=0)
            return 0
        self._troubles[subject] = trouble
        trouble.count += 1
        if now_s - trouble.said_s < trouble.pause_s:
            trouble.silent += 1
            return None
        silent, trouble.silent = trouble.silent, 0
        trouble.said_s = now_s
        trouble.pause_s = min(LIMIT_S, trouble.pause_s * 2)
        return silent

    def over(self, subject: Hashable) -> Over | None:
        """Returns None if the subject was in no trouble."""
        trouble = self._troubles.pop(subject, None)
        return None if trouble is None else Over(trouble.count, self._clock() - trouble.since_s)
