# SPDX-License-Identifier: Apache-2.0
"""The rate rule as a function of integers: GCRA in nanoseconds. Pure; a test walks a virtual clock over it."""

from dataclasses import dataclass

NS_PER_S = 1_000_000_000

BURST_NS = 20_000_000
"""An idle service may send at once what it could have sent in this time (never less than one line)."""

SLICE_NS = 10_000_000
"""Lines are let through in slices of this much rate, so that files of one service take short turns."""


@dataclass(slots=True)
class Bucket:
    """Lines per second for one service.

    `tat_ns` is GCRA's theoretical arrival time: the moment at which everything sent so far is paid for. Integers only:
    with floats a waiter can wake a hair too early for ever.
    """

    lines_per_s: float
    tat_ns: int = 0

    @property
    def burst_ns(self) -> int:
        """How far ahead of the plain rate a sender may be, in nanoseconds of rate."""
        return max(BURST_NS, self._cost_ns(1))

    @property
    def slice_lines(self) -> int:
        """How many lines one turn may take; at least one."""
        return max(1, int(self.lines_per_s * SLICE_NS / NS_PER_S))

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds until the next line may go; 0 = now. A turn may then take up to `slice_lines`."""
        return max(0, self.tat_ns + self._cost_ns(1) - self.burst_ns - now_ns)

    def spend(self, now_ns: int, lines: int) -> None:
        """Book `lines` as sent now; more than allowed leaves a debt that the next ones wait for."""
        self.tat_ns = max(self.tat_ns, now_ns) + self._cost_ns(lines)

    def retune(self, now_ns: int, lines_per_s: float) -> None:
        """Change the rate. What is owed stays owed as a number of lines, now to be paid at the new rate."""
        owed_lines = max(0, self.tat_ns - now_ns) * self.lines_per_s / NS_PER_S
        self.lines_per_s = lines_per_s
        self.tat_ns = now_ns + int(owed_lines * NS_PER_S / lines_per_s)

    def _cost_ns(self, lines: int) -> int:
        return int(lines * NS_PER_S / self.lines_per_s)
