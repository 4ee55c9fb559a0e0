# SPDX-License-Identifier: Apache-2.0
"""When to list, when to give a member up, and how long to wait before the next one. Pure: time comes in."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from logagent.backoff import Backoff

AGAIN = Backoff(first_s=0.2, limit_s=30.0)
"""Pauses between members after the first change, which is made at once."""

SHORT_VISIT_FAILURES = 4
"""A visit that listed but did not last pauses as after so many failures at most: 0.8 s."""

SILENT_ROUNDS = 5
"""How often a member must fail to answer before a vote goes on without it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a supervisor is; seconds.

    Changes are gathered until `quiet_s` passed without one, at most `gather_s`. A watch that says nothing for
    `probe_s` is doubted: the member is asked for a sign of life, which must come within `probe_timeout_s`, for a
    frozen member looks like a silent one. Without any change our keys are listed every `resync_s` all the same. A
    watch says nothing for `idle_s` at most, and `fuse_s` later it is cut off. A visit that lasted `steady_s` clears
    the failures before it.
    """

    quiet_s: float = 0.3
    gather_s: float = 2.0
    probe_s: float = 3.0
    probe_timeout_s: float = 3.0
    resync_s: float = 60.0
    idle_s: float = 60.0
    fuse_s: float = 10.0
    steady_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What came from a watch since the last list: the last sign of life, the first and last untold change."""

    last_s: float
    first_change_s: float | None = None
    last_change_s: float | None = None

    def sign(self, now_s: float, changes: int) -> "Heard":
        """After one message."""
        if not changes:
            return replace(self, last_s=now_s)
        first_s = now_s if self.first_change_s is None else self.first_change_s
        return Heard(now_s, first_s, now_s)

    def told(self) -> "Heard":
        """After the changes so far were taken up."""
        return Heard(self.last_s)


@dataclass(frozen=True, slots=True)
class Step:
    """What to do while a watch is open: `wait` until `at_s`, `list` for a change, `probe` for silence, `cut` it."""

    kind: Literal["wait", "list", "probe", "cut"]
    at_s: float = 0.0


LIST, PROBE, CUT = Step("list"), Step("probe"), Step("cut")


def next_step(pace: Pace, heard: Heard, listed_s: float, answered_s: float, now_s: float) -> Step:
    """`listed_s` is when our keys were last listed, `answered_s` when the member last answered anything: that is a sign
    of life of the member, not of its watch.
    """
    cut_s = heard.last_s + pace.idle_s + pace.fuse_s
    probe_s = max(heard.last_s, answered_s) + pace.probe_s
    list_s = listed_s + pace.resync_s
    if heard.first_change_s is not None and heard.last_change_s is not None:
        gathered_s = min(heard.last_change_s + pace.quiet_s, heard.first_change_s + pace.gather_s)
        list_s = min(list_s, gathered_s)
    if now_s >= cut_s:
        return CUT
    if now_s >= list_s:
        return LIST
    if now_s >= probe_s:
        return PROBE
    return Step("wait", min(cut_s, list_s, probe_s))


@dataclass(frozen=True, slots=True)
class Visit:
    """How it went with one member: whether it listed our keys, how long it was followed, whether it is to blame."""

    listed: bool
    lasted_s: float
    blamed: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """How many visits failed since the last good one; says which member is next, and when."""

    failures: int = 0

    def after(self, visit: Visit, pace: Pace) -> "Retry":
        """One more visit is over."""
        if visit.listed and visit.lasted_s >= pace.steady_s:
            return Retry(1)
        if visit.listed:
            return Retry(min(self.failures + 1, SHORT_VISIT_FAILURES))
        return Retry(self.failures + 1)

    def plan(
        self, visit: Visit, members: int, rand: Callable[[], float] = random.random
    ) -> tuple[bool, float]:
        """Whether there is another one among `members` to go to, and after how many seconds.

        The first change is made at once. A single member is asked again at once only if it is not to blame.
        """
        move = members > 1
        if self.failures <= 1 and (move or not visit.blamed):
            return move, 0.0
        return move, AGAIN.delay_s(max(0, self.failures - 2), rand)


@dataclass(frozen=True, slots=True)
class StaleVotes:
    """Who says that the cluster is older than what was seen before. Any member that does not say so ends the vote."""

    behind: frozenset[str] = frozenset()
    silent: int = 0

    def vote(self, member: str) -> "StaleVotes":
        return replace(self, behind=self.behind | {member})

    def miss(self) -> "StaleVotes":
        """A member that was asked did not answer; that counts only once a vote has begun."""
        return replace(self, silent=self.silent + 1) if self.behind else self

    def agreed(self, members: int) -> bool:
        """All say it, or half of them and the others were asked often enough: an address may be dead for good."""
        missing = members - len(self.behind)
        return missing <= 0 or (2 * len(self.behind) >= members and self.silent >= SILENT_ROUNDS * missing)
