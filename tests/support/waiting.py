# SPDX-License-Identifier: Apache-2.0
"""Bounded waits: a test waits for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout_s: float, what: str, *, interval_s: float = 0.05) -> T:
    """The first true value of ``predicate``; AssertionError that says ``what`` did not come within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"Not within {timeout_s:g} s: {what}.")
        time.sleep(interval_s)
