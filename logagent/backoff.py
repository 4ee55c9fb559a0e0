# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt. Pure: the random number comes in as an argument."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential with jitter: attempt 0 waits about `first_s`, later ones twice as long each, never over `limit_s`.

    The jitter takes away up to half, so that a fleet does not come back in one wave.
    """

    first_s: float
    limit_s: float

    def delay_s(self, attempt: int, rand: Callable[[], float] = random.random) -> float:
        # 2 ** 32 times any sensible first_s is past any limit; the cap keeps the power small for ever-growing attempts.
        full_s = min(self.limit_s, self.first_s * 2.0 ** min(attempt, 32))
        return float(full_s * (1.0 - 0.5 * rand()))
