# SPDX-License-Identifier: Apache-2.0
"""Time as an argument: everything that decides by time takes one of these, so that tests need not sleep."""

import time
from collections.abc import Callable

MonotonicClock = Callable[[], float]
"""Seconds that never run backwards; the zero point means nothing."""

WallClock = Callable[[], float]
"""Seconds since 1970; may jump. Only for time stamps that people or brokers read, never for durations."""

monotonic: MonotonicClock = time.monotonic
wall: WallClock = time.time
