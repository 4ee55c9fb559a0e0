# SPDX-License-Identifier: Apache-2.0
"""Everything that can happen next in a `recovery_world`, what must hold in every state, and the search through them."""

import random
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tests.model.recovery_world import EXPIRY, Job, Request, State, Step, Violation, World, in_order, mask

MAX_CALM_STEPS = 80


def steps(world: World, s: State) -> Iterator[Step]:
    """Every next state."""
    yield from _deliveries(world, s)
    for node, end in enumerate(s.ends):
        if end < len(s.log) and node != s.leader:
            ends = (*s.ends[:node], end + 1, *s.ends[node + 1 :])
            yield Step(1, f"node {node} replicates", s._replace(ends=ends))
    if s.up:
        yield from _agent_steps(world, s)
    else:
        yield Step(5, "agent starts", world.start(s))
    if s.faults:
        yield from _broker_faults(world, s._replace(faults=s.faults - 1))
        yield from _other_faults(world, s._replace(faults=s.faults - 1))
    yield from _expiries(world, s)


def _deliveries(world: World, s: State) -> Iterator[Step]:
    for request in dict.fromkeys(s.net):
        if request.node != s.leader:
            continue
        rest = list(s.net)
        rest.remove(request)
        t, code, index = world.append(s._replace(net=tuple(rest)), request.entry)
        job = t.job
        if request.live and job is not None and job.mode == "out":
            if code:
                t = world.act(t, job, world.rules.answered(job.pending, code, t.now))
            else:
                t = t._replace(job=job._replace(mode="wait", info=(index, s.epoch)))
        entry = request.entry
        late = "" if request.live else " LATE"
        yield Step(
            0 if request.live else None, f"deliver{late} lines {entry.lines} at {entry.slot}: {code}", t
        )


def _agent_steps(world: World, s: State) -> Iterator[Step]:
    job = s.job
    if job is None or job.mode == "fence":
        yield from world.cuts(s)
    elif job.mode == "ask":
        answer = world.tell(s, job.pending.slot.producer_id, s.leader)
        yield Step(4, f"ask about {job.pending.slot}: {answer}", world.ask(s, job))
    elif job.mode == "replicas":
        yield Step(4, "ask the next replica", world.ask_replica(s, job))
    elif job.mode == "send":
        if len(s.net) < world.net:
            yield Step(6, f"send lines {job.lines} at {job.pending.slot}", world.send(s, job))
    else:
        yield from _answers(world, s, job)
    if s.durable != s.done:
        yield Step(None, f"positions {s.done:b} are durable", s._replace(durable=s.done))
    if s.faults and s.gen < world.lives:
        yield from _crashes(s)


def _answers(world: World, s: State, job: Job) -> Iterator[Step]:
    """What comes of a request that is on its way."""
    if job.mode == "wait":
        index, epoch = job.info  # type: ignore[misc]
        moved = epoch != s.epoch
        if not moved and min(s.ends) > index:
            action = world.rules.answered(job.pending, 0, s.now)
            yield Step(2, f"answer 0 for lines {job.lines}", world.act(s, job, action))
        elif not moved and not world.crash_only:
            action = world.rules.answered(job.pending, 7, s.now)
            yield Step(None, "answer 7", world.act(s, job, action))
    else:
        moved = not any(request.live and request.node == s.leader for request in s.net)
    if moved or (s.faults and not world.crash_only):
        t = world.act(s, job, world.rules.unanswered(job.pending))._replace(faults=s.faults - (not moved))
        for late in (True, False) if job.mode == "out" else (False,):
            what = "request still on its way" if late else "request or answer lost"
            yield Step(3 if moved else None, f"time-out, {what}", t._replace(net=_given_up(s.net, late)))


def _given_up(net: tuple[Request, ...], late: bool) -> tuple[Request, ...]:
    """Nobody waits for requests any more."""
    return in_order(request._replace(live=False) for request in net if late or not request.live)


def _crashes(s: State) -> Iterator[Step]:
    dead = s._replace(up=False, seq=0, gen_epoch=0, done=0, job=None, faults=s.faults - 1)
    yield Step(None, "KILL -9, requests still on their way", dead._replace(net=_given_up(s.net, True)))
    if any(request.live for request in s.net):
        yield Step(None, "KILL -9, requests lost", dead._replace(net=_given_up(s.net, False)))


def _broker_faults(world: World, s: State) -> Iterator[Step]:
    if s.log:
        for node, end in enumerate(s.ends):
            if node != s.leader:
                yield Step(
                    None,
                    f"leader FAILS, node {node} takes over",
                    s._replace(
                        log=s.log[:end], ends=tuple(min(one, end) for one in s.ends), leader=node,
                        epoch=s.epoch + 1, recall=min(s.recall, end),
                        forgot=tuple((pid, min(floor, end)) for pid, floor in s.forgot),
                    ),
                )  # fmt: skip
        if s.recall != len(s.log):
            yield Step(None, "leader RESTARTS", s._replace(recall=len(s.log), epoch=s.epoch + 1))
    if world.lowering and not s.small:
        yield Step(None, "limit LOWERED to one line", s._replace(small=True))
    if world.raising and s.small:
        yield Step(None, "limit RAISED again", s._replace(small=False))
    if world.retention and not s.up and not s.net and s.journal and s.journal[0].pending.slot.base_sequence:
        for pid in sorted({entry.slot.producer_id for entry in s.log}):
            if world.remembered(s, pid, len(s.log)):
                yield Step(None, f"retention: the broker FORGETS id {pid}", _forget(s, pid))


def _other_faults(world: World, s: State) -> Iterator[Step]:
    if world.vanish and not s.gone and not s.up:
        for file in range(world.files):
            lines = range(file, world.lines, world.files)
            for count in range(1, len(lines) + (world.files > 1)):
                gone = mask(lines[:count])
                yield Step(None, f"lines {gone:b} VANISH", s._replace(gone=gone))
    if s.now < world.ticks and not (world.crash_only and s.up):
        net = tuple(request for request in s.net if s.now + 1 - request.sent < EXPIRY)
        yield Step(None, "half an expiry PASSES", s._replace(now=s.now + 1, net=net))


def _expiries(world: World, s: State) -> Iterator[Step]:
    for pid in sorted({entry.slot.producer_id for entry in s.log}):
        known = world.remembered(s, pid, len(s.log))
        if known and s.now - s.log[known[-1]].ts >= EXPIRY:
            yield Step(None, f"the broker FORGETS id {pid}", _forget(s, pid))


def _forget(s: State, pid: int) -> State:
    forgot = dict(s.forgot) | {pid: len(s.log)}
    return s._replace(forgot=tuple(sorted(forgot.items())))


# -- what must hold ---------------------------------------------------------------------------------------------------


def check(world: World, s: State) -> None:
    """Nothing settled is missing, nothing is there twice without being counted, files are in order."""
    seen = 0
    highest = [-1] * world.files
    copies = [0] * world.lines
    for entry in s.log[: min(s.ends)]:
        for line in entry.lines:
            copies[line] += 1
            if copies[line] > world.copies:
                raise Violation(f"line {line} more than {world.copies} times")
            if seen >> line & 1:
                if not s.counted >> line & 1:
                    raise Violation(f"line {line} twice, not counted")
                continue
            seen |= 1 << line
            if line < highest[line % world.files]:
                raise Violation(f"line {line} behind a later one")
            highest[line % world.files] = line
    settled = s.durable | s.done | (s.journal[1] if s.journal else 0)
    if lost := settled & ~seen & ~s.unknown:
        raise Violation(f"lines {lost:b} settled but lost")


def finished(world: World, s: State) -> bool:
    """Whether the agent has nothing left to do."""
    if not s.up or (s.job is not None and s.job.mode != "fence"):
        return False
    return (s.done | s.gone | (s.job.missing if s.job else 0)) == world.everything


def _calm(world: World, s: State) -> State | None:
    """The next state when nothing goes wrong any more."""
    ranked = [step for step in steps(world, s) if step.rank is not None]
    return min(ranked, key=lambda step: step.rank).state if ranked else None


class Found(NamedTuple):
    """What a search found: the broken promise and the steps to it, or nothing."""

    violation: str
    trace: tuple[str, ...]
    states: int
    seconds: float


def explore(world: World, *, limit: int = 3_000_000) -> Found:
    """Every state within the bounds, breadth first, so that a trace is a shortest one. AssertionError at the limit."""
    begun = time.monotonic()
    first = world.initial()
    parents: dict[State, tuple[State, str] | None] = {first: None}
    queue = deque([first])
    finishing: set[State] = set()

    def found(violation: str, s: State) -> Found:
        labels = []
        while (parent := parents[s]) is not None:
            s, label = parent
            labels.append(label)
        return Found(violation, tuple(reversed(labels)), len(parents), time.monotonic() - begun)

    while queue:
        s = queue.popleft()
        try:
            check(world, s)
            following = list(steps(world, s))
        except Violation as error:
            return found(str(error), s)
        if not _finishes(world, s, finishing):
            return found("never finishes", s)
        for step in following:
            if step.state not in parents:
                parents[step.state] = (s, step.label)
                queue.append(step.state)
        assert len(parents) < limit, "more states than expected"
    return Found("", (), len(parents), time.monotonic() - begun)


def _finishes(world: World, s: State, finishing: set[State]) -> bool:
    """Whether the agent comes to an end from here without further faults."""
    path: list[State] = []
    here: State | None = s._replace(net=tuple(request for request in s.net if request.live))
    try:
        while here is not None and here not in finishing and not finished(world, here):
            path.append(here)
            here = _calm(world, here)
            if len(path) > MAX_CALM_STEPS:
                return False
    except Violation:
        return True  # the search itself meets it, with its trace
    finishing.update(path)
    return here is not None


def walk(world: World, *, seconds: float, seed: int) -> Found:
    """Random walks; `states` counts their steps."""
    chance, begun, count = random.Random(seed), time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        s, labels = world.initial(), []
        for _ in range(400):
            try:
                check(world, s)
                choices = list(steps(world, s))
            except Violation as error:
                return Found(str(error), tuple(labels), count, time.monotonic() - begun)
            if not choices:
                break
            calm = [step for step in choices if step.rank is not None]
            step = chance.choice(calm if calm and chance.random() < 0.7 else choices)
            s = step.state
            labels.append(step.label)
            count += 1
    return Found("", (), count, time.monotonic() - begun)
