# SPDX-License-Identifier: Apache-2.0
"""A broker, a network, an agent that follows `recovery.rules`, and what can happen to them, as a state machine.

One topic-partition; the lines of one or two files, of which some vanish once while the agent is off. A line is a bit in
masks. The broker: a log, how far each node has it, the memory of producer ids that follows from the log (any sequence
from an unknown id, five batches remembered, only the last one after a restart of the leader), answer 0 when all nodes
have a batch, clean fail-over, ids that expire by the time stamps of batches (a tick is half the expiry), a limit that
is lowered and raised. The network: requests and answers late, lost, or delivered after a time-out or a restart, at most
one tick later. The agent: journal, positions written at any moment, SIGKILL at any step, new producer ids.
Not modelled: loss of acknowledged data, a damaged journal, topics recreated, replicas out of sync, clock skew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

from logagent.recovery import rules
from logagent.recovery.actions import (
    Action,
    Ask,
    DeadLetter,
    NewEpoch,
    NewId,
    Pending,
    Release,
    Resend,
    SendAnew,
    Settle,
    Slot,
    WaitForReplicas,
)
from logagent.recovery.rules import Clock, Look, Readable, Silence, Told

HALF, EXPIRY = 1, 2
Lines = tuple[int, ...]


class Violation(Exception):
    """A promise is broken, or a rule is missing."""


class Entry(NamedTuple):
    """A batch in the log, or on its way there."""

    slot: Slot
    lines: Lines
    ts: int


class Request(NamedTuple):
    """`live`: the agent waits for the answer."""

    entry: Entry
    sent: int
    node: int
    live: bool


def in_order(requests: Iterable[Request]) -> tuple[Request, ...]:
    """So that states that differ only in the order of what is on its way are one."""
    return tuple(sorted(requests, key=_order))


def _order(request: Request) -> tuple[object, ...]:
    slot, lines, ts = request.entry
    return slot.producer_id, slot.epoch, slot.base_sequence, lines, ts, *request[1:]


class Job(NamedTuple):
    """The batch that is not settled. `cuts` are the lines of `pending.earlier`; `missing` vanished from any of them.

    Modes: ask, send, out (request on its way), wait (appended; answer due), replicas, fence (the next lines go to the
    slot in `info`).
    """

    pending: Pending
    lines: Lines
    cuts: tuple[Lines, ...] = ()
    missing: int = 0
    mode: str = "send"
    info: object = None

    @property
    def all_lines(self) -> int:
        return mask(self.lines) | mask(line for cut in self.cuts for line in cut) | self.missing


class State(NamedTuple):
    """`ends`: how much of the log each node has; `recall`: of batches before it only an id's last is remembered."""

    now: int
    faults: int
    log: tuple[Entry, ...]
    ends: tuple[int, ...]
    leader: int
    epoch: int
    recall: int
    forgot: tuple[tuple[int, int], ...]
    net: tuple[Request, ...]
    gone: int
    small: bool
    up: bool
    gen: int
    gen_epoch: int
    seq: int
    done: int
    durable: int
    job: Job | None
    journal: tuple[Job, int] | None
    counted: int
    unknown: int


class Step(NamedTuple):
    """`rank`: what comes first when nothing goes wrong any more; None for faults and what need not happen."""

    rank: int | None
    label: str
    state: State


def mask(lines: Iterable[int]) -> int:
    """The bits of these lines."""
    found = 0
    for line in lines:
        found |= 1 << line
    return found


@dataclass
class World:
    """The bounds, and the rules that the agent follows (a mutant has one of them removed)."""

    lines: int = 3
    files: int = 1
    faults: int = 2
    ticks: int = 2
    lives: int = 3
    net: int = 2
    nodes: int = 2
    batch: int = 2
    unaskable: bool = False
    vanish: bool = True
    lowering: bool = True
    crash_only: bool = False  # no time-outs; time passes only while the agent is off
    retention: bool = False  # brokers may forget young ids while the agent is off
    raising: bool = False  # the lowered limit may be raised again
    poison: int = -1  # a line that is over the lowered limit even alone
    copies: int = 3  # so often may a line be in the log at most, counted or not
    rules: ModuleType | SimpleNamespace = rules
    seen: dict[str, int] = field(default_factory=dict)
    """How often each kind of action was decided."""

    def initial(self) -> State:
        return State(
            now=0, faults=self.faults, log=(), ends=(0,) * self.nodes, leader=0, epoch=0, recall=0, forgot=(),
            net=(), gone=0, small=False, up=True, gen=1, gen_epoch=0, seq=0, done=0, durable=0, job=None,
            journal=None, counted=0, unknown=0,
        )  # fmt: skip

    @property
    def everything(self) -> int:
        return (1 << self.lines) - 1

    # -- broker -------------------------------------------------------------------------------------------------------

    @staticmethod
    def remembered(s: State, pid: int, end: int) -> list[int]:
        floor = next((floor for one, floor in s.forgot if one == pid), 0)
        return [i for i in range(floor, end) if s.log[i].slot.producer_id == pid]

    def append(self, s: State, entry: Entry) -> tuple[State, int, int]:
        """The state after it, the code, and where in the log the batch is."""
        slot, count = entry.slot, len(entry.lines)
        if s.small and (count > 1 or entry.lines[0] == self.poison):
            return s, 10, -1
        known = self.remembered(s, slot.producer_id, len(s.log))
        if known:
            last = s.log[known[-1]]
            if slot.epoch < last.slot.epoch:
                return s, 47, -1
            for i in known[-5:]:
                same = s.log[i].slot == slot and len(s.log[i].lines) == count
                if same and (i >= s.recall or i == known[-1]):
                    return s, 0, i
            fresh = slot.epoch > last.slot.epoch
            expected = 0 if fresh else last.slot.base_sequence + len(last.lines)
            if slot.base_sequence != expected:
                return s, 45, -1
        log = (*s.log, entry)
        ends = tuple(len(log) if node == s.leader else end for node, end in enumerate(s.ends))
        return s._replace(log=log, ends=ends), 0, len(s.log)

    def tell(self, s: State, pid: int, node: int) -> Told | Silence:
        """DescribeProducers."""
        if self.unaskable:
            return Silence.UNASKABLE
        known = self.remembered(s, pid, s.ends[node])
        if not known:
            return Silence.ABSENT
        last = s.log[known[-1]]
        return Told(last.slot.epoch, last.slot.last_sequence(len(last.lines)))

    # -- agent --------------------------------------------------------------------------------------------------------

    def act(self, s: State, job: Job, action: Action) -> State:
        """Do what the rules say."""
        kind = type(action).__name__
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if action.doubt is not None:
            s = s._replace(counted=s.counted | job.all_lines)
        match action:
            case Settle():
                return self._settle(s, job, action.records)
            case Resend():
                return s._replace(job=job._replace(pending=action.pending, mode="send", info=None))
            case Ask():
                return s._replace(job=job._replace(pending=action.pending, mode="ask", info=None))
            case WaitForReplicas():
                info = (action.records, s.epoch, ())
                return s._replace(job=job._replace(pending=action.pending, mode="replicas", info=info))
            case SendAnew():
                return self._anew(s, job, action.pending)
            case NewEpoch():
                missing = job.missing | job.all_lines & s.gone
                return s._replace(job=job._replace(missing=missing, mode="fence", info=action.slot))
            case NewId() | Release():
                return self._new_id(s, job, release=isinstance(action, Release))
            case DeadLetter():
                return self._bury(s, job, action)
            case _:
                raise Violation(f"no rule: {action}")

    def _settle(self, s: State, job: Job, records: int) -> State:
        pending, lines = job.pending, job.lines
        if records != pending.records:
            lines = job.cuts[pending.earlier.index(records)]
        missing = (job.missing | job.all_lines & s.gone) & ~mask(lines)
        done = s.done | mask(lines) | missing
        s = s._replace(done=done, unknown=s.unknown | missing, job=None)
        slot = pending.slot
        if slot.producer_id == s.gen:
            s = s._replace(gen_epoch=slot.epoch, seq=slot.base_sequence + records)
        return s

    def _anew(self, s: State, job: Job, pending: Pending) -> State:
        lines = tuple(line for line in job.lines if not s.gone >> line & 1)[: pending.records]
        cuts = job.cuts if len(pending.earlier) == len(job.cuts) else (*job.cuts, job.lines)
        if len(cuts) != len(pending.earlier):
            cuts = cuts[len(cuts) - len(pending.earlier) :]
        missing = job.missing | job.all_lines & s.gone
        return self._write(s, Job(pending, lines, cuts, missing))

    def _new_id(self, s: State, job: Job, *, release: bool) -> State:
        missing = job.missing | job.all_lines & s.gone
        lines = tuple(line for line in job.lines if not missing >> line & 1)
        if release or not lines:
            return s._replace(job=None, done=s.done | missing, unknown=s.unknown | missing)
        s = s._replace(gen=s.gen + 1, gen_epoch=0, seq=0)
        return self._write(s, Job(Pending(Slot(s.gen, 0, 0), len(lines), s.now), lines, (), missing))

    def _bury(self, s: State, job: Job, action: DeadLetter) -> State:
        """Its record is as good as delivered; what else was tried in its slot may yet come in."""
        buried = mask(job.lines)
        s = s._replace(unknown=s.unknown | buried)
        if action.next_slot is None:
            return s._replace(job=None, done=s.done | buried)
        return s._replace(job=job._replace(missing=job.missing | buried, mode="fence", info=action.next_slot))

    @staticmethod
    def _write(s: State, job: Job) -> State:
        """The intent, and that everything before it is settled."""
        note = replace(job.pending, sent=True, refused=0, refusals=0)
        return s._replace(job=job, journal=(job._replace(pending=note, mode="ask", info=None), s.done))

    def start(self, s: State) -> State:
        s = s._replace(up=True, gen=s.gen + 1, gen_epoch=0, seq=0, done=s.durable)
        if s.journal is None:
            return s
        job, done = s.journal
        s = s._replace(done=s.durable | done)
        reached = not mask(job.lines) & ~s.durable
        return self.act(s, job, self.rules.at_start(job.pending, reached=reached))

    def clock(self, s: State) -> Clock:
        return Clock(s.now, HALF)

    def ask(self, s: State, job: Job) -> State:
        answer = self.tell(s, job.pending.slot.producer_id, s.leader)
        readable = sum(not s.gone >> line & 1 for line in job.lines)
        beyond = bool(job.all_lines & ~mask(job.lines) & ~s.gone)
        action = self.rules.asked(job.pending, answer, Readable(readable, beyond), self.clock(s))
        return self.act(s, job, action)

    def ask_replica(self, s: State, job: Job) -> State:
        """One node after the other; after the last of them the rules look at the answers."""
        records, epoch, answers = job.info  # type: ignore[misc]
        node = len(answers)
        answers = (*answers, self.tell(s, job.pending.slot.producer_id, node))
        if len(answers) < self.nodes:
            return s._replace(job=job._replace(info=(records, epoch, answers)))
        look = Look(epoch, s.epoch, s.leader, frozenset(range(self.nodes)), dict(enumerate(answers)))
        action = self.rules.replicas_asked(job.pending, records, look, waited_s=0, give_up_s=1)
        return self.act(s, job, action)

    def send(self, s: State, job: Job) -> State:
        if mask(job.lines) & s.durable:
            raise Violation("sent again although its durable position says that it is settled")
        pending, doubt = self.rules.before_send(job.pending, self.clock(s))
        if doubt is not None:
            s = s._replace(counted=s.counted | job.all_lines)
        request = Request(Entry(pending.slot, job.lines, pending.timestamp_ms), s.now, s.leader, True)
        return s._replace(job=job._replace(pending=pending, mode="out"), net=in_order((*s.net, request)))

    def cuts(self, s: State) -> Iterator[Step]:
        """New batches, and what goes to a fenced slot: the intent is written, nothing is sent yet."""
        missing = s.job.missing if s.job else 0
        vanished = s.gone & ~s.done & ~missing
        s = s._replace(done=s.done | vanished, unknown=s.unknown | vanished)
        lines = [line for line in range(self.lines) if not (s.done | missing) >> line & 1]
        slot = s.job.info if s.job else Slot(s.gen, s.gen_epoch, s.seq)
        for count in range(1, 1 if not lines else min(self.batch, len(lines)) + 1):
            if count > 1 and s.small:
                return
            job = Job(Pending(slot, count, s.now), tuple(lines[:count]), (), missing)  # type: ignore[arg-type]
            yield Step(7, f"cut lines {lines[:count]} for {slot}", self._write(s, job))
