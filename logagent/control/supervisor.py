# SPDX-License-Identifier: Apache-2.0
"""Keeps to what Etcd says: list, watch, list again on any doubt, go to another member, survive everything."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import gevent
from gevent.event import Event

from logagent import clock as clocks
from logagent.clock import MonotonicClock
from logagent.config.services import PathRules
from logagent.control.keeping import Keeping
from logagent.control.keys import Keys
from logagent.control.layers import Merged
from logagent.control.members import Members
from logagent.control.steering import Applied, Held, State, Steering, scope, status
from logagent.control.steps import Pace, Retry, StaleVotes, Visit, next_step
from logagent.control.trust import Verdict, judge
from logagent.control.watching import Watching
from logagent.errors import EtcdError, EtcdRefused, MemberBehind, MemberUnavailable, WatchEnded
from logagent.ops.events import Events
from logagent.spawn import Spawner
from logagent.stores.store import Snapshot, Store

Result = TypeVar("Result")
Wait = Callable[[Event, float], bool]
Timer = Callable[[float], AbstractContextManager[Any]]

ROUNDS = 3
"""Lists in a row while every list names other groups than the one before."""

FIRST_LIST_TIMEOUTS = 2
"""A first list may also have to connect and to log in, each within the time-out of one answer."""


class ConfigSupervisor:
    """Publishes `steering`; `on_change` is called when its documents are other ones. One greenlet, `run`.

    Only what a snapshot says is ever published, never what a watch says; and no snapshot is that is older than one
    before, see `trust`. What is in force at the start comes from `keeping`, the cache on disk.
    """

    def __init__(
        self,
        members: Members,
        keys: Keys,
        *,
        keeping: Keeping,
        rules: Callable[[], PathRules],
        accept_empty: Callable[[], bool],
        on_change: Callable[[], None],
        spawner: Spawner,
        events: Events,
        pace: Pace | None = None,
        clock: MonotonicClock = clocks.monotonic,
        wait: Wait = Event.wait,
        timer: Timer = gevent.Timeout,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._members = members
        self._keys = keys
        self._keeping = keeping
        self._rules = rules
        self._accept_empty = accept_empty
        self._on_change = on_change
        self._spawner = spawner
        self._events = events
        self._pace = pace or Pace()
        self._clock = clock
        self._wait = wait
        self._timer = timer
        self._rand = rand
        self._wake = Event()
        self._known = Event()
        self._stop = Event()
        self._asked = False
        self._answered = False
        self._fruitless = 0
        self._votes = StaleVotes()
        self._listed_s: float | None = None
        self._pinged_s = 0.0
        self._revision = 0
        self._applied: Applied | None = None
        self._held = keeping.load(members, keys, rules())
        self.steering = Steering("waiting", clock())

    # -- for others ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The greenlet; returns only after `stop`."""
        retry = Retry()
        while not self._stop.is_set():
            visit = self._visit()
            retry = retry.after(visit, self._pace)
            move, delay_s = retry.plan(visit, len(self._members), self._rand)
            if move:
                self._members.next()
            until_s = self._clock() + delay_s
            while not self._stop.is_set() and (left_s := until_s - self._clock()) > 0:
                self._wake.clear()
                self._wait(self._wake, left_s)
        if self._members.api is not None and self._answered:
            self._keeping.keep(self._held, self._members.api, last=True)

    def wait_first(self, timeout_s: float) -> Steering:
        """What to start with: what Etcd says, or after `timeout_s` or when no member answers, what the cache says."""
        if not self._wait(self._known, timeout_s):
            self._without_etcd("")
        return self.steering

    def hurry(self) -> None:
        """Whoever waits for the first answer need not wait any more."""
        self._known.set()

    def reconsider(self) -> None:
        """The rules or `accept_empty` may be other ones now: what is in force obeys at once, and a list is due."""
        before, self._held = self._held, self._held.under(self._rules())
        if [one.entries for one in self._held.documents.values()] != [
            one.entries for one in before.documents.values()
        ]:
            self._publish(self.steering.state, self.steering.error)
        self._asked = True
        self._wake.set()

    def stop(self) -> None:
        """Let `run` close its connections and return."""
        self._stop.set()
        self._wake.set()

    def applied(self, merged: Merged, steering: Steering) -> None:
        """The agent works by `steering` now; that is what its status says."""
        self._applied = Applied(steering, len(merged.entries), len(merged.hidden))

    def status(self) -> dict[str, object]:
        """The part of the agent's status in Etcd that is about Etcd."""
        return status(self._applied, self.steering)

    # -- one member ---------------------------------------------------------------------------------------------------

    def _visit(self) -> Visit:
        """Stay with the current member as long as that goes well; says how it went."""
        self._listed_s = None
        begun_s = self._clock()
        error: EtcdError = WatchEnded("the agent stops")
        try:
            self._stay()
        except EtcdError as caught:
            error = caught
        listed = self._listed_s is not None
        if not self._stop.is_set():
            self._tell_end(error, listed)
        return Visit(listed, self._clock() - begun_s, not isinstance(error, WatchEnded))

    def _tell_end(self, error: EtcdError, listed: bool) -> None:
        member = str(self._members.current)
        if isinstance(error, WatchEnded):
            self._events.etcd_resync(member=member, kind="ended", reason=str(error))
        elif isinstance(error, MemberBehind):
            self._events.etcd_resync(member=member, kind="behind", reason=str(error))
        else:
            self._votes = self._votes.miss()
            if not listed:
                self._members.doubt(error)
            if listed:
                self._events.etcd_resync(member=member, kind="failed", reason=str(error))
            self._events.etcd_unreachable(member=member, reason=str(error))
        self._fruitless = 0 if listed else self._fruitless + 1
        if self._fruitless >= len(self._members):
            self._without_etcd(str(error))

    def _stay(self) -> None:
        listing = self._open()
        try:
            settled = self._list(listing, self._first_answer_s)
            self._events.etcd_back(member=listing.member)
            self._events.etcd_connected(member=listing.member, api=listing.api, revision=self._revision)
            while not self._stop.is_set():
                settled = self._watch(listing, settled)
        finally:
            listing.close()

    def _open(self) -> Store:
        known = self._members.api
        store = self._members.open()
        if known is None:
            self._events.etcd_api_detected(member=store.member, api=store.api)
            if self._members.warning:
                self._events.etcd_warning(text=self._members.warning)
        return store

    def _watch(self, listing: Store, settled: bool) -> bool:
        """Follow until another watch is needed. A watch that lasted may end; then the same member is asked again."""
        begun_s = self._clock()
        watching = Watching(
            self._open(),
            {*scope(self._keys, self._held.groups), self._keys.groups},
            self._revision,
            self._pace.idle_s * (0.8 + 0.4 * self._rand()),
            wake=self._wake,
            spawner=self._spawner,
            events=self._events,
            clock=self._clock,
        )
        if not settled:
            watching.suspect_change()
        try:
            return self._follow(listing, watching)
        except WatchEnded as error:
            if self._clock() - begun_s < self._pace.steady_s:
                raise
            self._events.etcd_resync(member=listing.member, kind="ended", reason=str(error))
        finally:
            watching.close()
        return self._list(listing, self._answer_s)

    @property
    def _first_answer_s(self) -> float:
        """Little patience while there are members that were not asked yet, all that is allowed after that."""
        if self._fruitless < len(self._members) - 1:
            return self._answer_s
        return FIRST_LIST_TIMEOUTS * self._members.timeout_s

    @property
    def _answer_s(self) -> float:
        return min(self._members.timeout_s, self._pace.probe_timeout_s)

    def _follow(self, listing: Store, watching: Watching) -> bool:
        """List whenever there is reason to, until the watch does not fit any more."""
        while not self._stop.is_set():
            watching.check()
            if self._asked:
                watching.suspect_change()
                self._asked = False
            listed_s = self._listed_s or 0.0
            answered_s = max(listed_s, self._pinged_s)
            step = next_step(self._pace, watching.heard, listed_s, answered_s, self._clock())
            if step.kind == "cut":
                raise MemberUnavailable(listing.member, "its watch says nothing and does not end")
            if step.kind == "wait":
                self._wake.clear()
                self._wait(self._wake, step.at_s - self._clock())
                continue
            if step.kind == "probe":
                self._bounded(self._answer_s, listing, listing.ping)
                self._pinged_s = self._clock()
                continue
            told = watching.take()
            before = self._held
            settled = self._list(listing, self._answer_s)
            if told and self._revision <= watching.revision:
                raise MemberBehind(f"{listing.member}: it tells of a change and does not show it")
            if not settled or self._held.groups != before.groups:
                return settled
            if not told and self._held.revision != before.revision:
                self._events.etcd_resync(
                    member=listing.member, kind="missed", reason="it did not tell of a change"
                )
                return settled
        return True

    # -- one list -----------------------------------------------------------------------------------------------------

    def _list(self, store: Store, limit_s: float) -> bool:
        """Load, judge, publish. False when the groups would not stand still; then another list is due soon."""
        held, first = self._held, None
        for _ in range(ROUNDS):
            try:
                snapshot = self._load(store, held, limit_s)
            except EtcdRefused as error:
                if first is None:
                    raise
                # Only the groups that are new cannot be had; all else is followed without them.
                held = self._held.after(first, self._keys, self._rules(), error.reason)
                self._take(store, held)
                return True
            first = first or snapshot
            verdict = self._judge(store, held, snapshot)
            self._revision, self._answered = snapshot.revision, True
            if verdict.kind == "suspicious-empty" and not self._accept_empty():
                self._suspect(store, verdict.reason)
                return True
            groups = held.groups
            held = held.after(snapshot, self._keys, self._rules())
            if held.groups == groups:
                self._take(store, held)
                return True
        self._listed_s = self._clock()
        return False

    def _load(self, store: Store, held: Held, limit_s: float) -> Snapshot:
        keys = {*scope(self._keys, held.groups), self._keys.groups}
        snapshot = self._bounded(limit_s, store, lambda: store.load(keys))
        self._events.etcd_listed(member=store.member, revision=snapshot.revision)
        return snapshot

    def _bounded(self, limit_s: float, store: Store, function: Callable[[], Result]) -> Result:
        try:
            with self._timer(limit_s):
                return function()
        except gevent.Timeout as expired:
            raise MemberUnavailable(store.member, f"no answer within {limit_s:g} s") from expired

    def _judge(self, store: Store, held: Held, snapshot: Snapshot) -> Verdict:
        """Raises MemberBehind unless every member is."""
        lists = scope(self._keys, held.groups)
        verdict = judge(held.seen, snapshot, lists)
        if verdict.kind != "stale":
            self._votes = StaleVotes()
            return verdict
        self._votes = self._votes.vote(store.member)
        if not self._votes.agreed(len(self._members)):
            self._events.etcd_stale_member(member=store.member, reason=verdict.reason)
            raise MemberBehind(f"{store.member}: {verdict.reason}")
        self._events.etcd_restored(reason=verdict.reason)
        return judge(held.seen, snapshot, lists, agreed=True)

    def _take(self, store: Store, held: Held) -> None:
        """`held` is in force from now on."""
        before, self._held = self._held, held
        self._listed_s = self._clock()
        self._events.etcd_empty_over()
        self._tell_faults(before, held)
        self._publish("rejected" if held.rejected else "applied", store=store)
        self._keeping.keep(held, store.api)

    def _suspect(self, store: Store, reason: str) -> None:
        self._held = self._held.suspecting(reason)
        self._listed_s = self._clock()
        self._events.etcd_suspicious_empty(reason=reason)
        self._publish("suspicious-empty", reason, store=store)
        self._keeping.keep(self._held, store.api)

    def _tell_faults(self, before: Held, held: Held) -> None:
        """Each fault once, when the value that has it is first read."""
        if held.groups_faults != before.groups_faults:
            for fault in held.groups_faults:
                self._events.etcd_document_rejected(key=self._keys.groups, reason=str(fault))
        for key, document in held.documents.items():
            if document is before.documents.get(key):
                continue
            for text in document.warnings:
                self._events.etcd_warning(text=text)
            if document.rejected:
                self._events.etcd_document_rejected(key=key, reason=str(document.faults[0]))
            elif document.faults:
                self._events.etcd_entries_rejected(key=key, faults=[str(one) for one in document.faults])

    # -- what others see ----------------------------------------------------------------------------------------------

    def _without_etcd(self, error: str) -> None:
        """No member answers, or none did in time."""
        if self._answered:
            self._publish("unreachable", error)
        elif self._held.seen is None:
            self._publish("waiting", error)
        else:
            if self.steering.state != "from-cache":
                self._events.etcd_cache_used(age_s=self._keeping.age_s)
            self._publish("from-cache", error)

    def _publish(self, state: State, error: str = "", *, store: Store | None = None) -> None:
        before, held = self.steering, self._held
        since_s = before.since_s if before.state == state else self._clock()
        now = Steering(
            state,
            since_s,
            tuple(held.documents.values()),
            held.faults,
            held.groups,
            before.member if store is None else store.member,
            before.api if store is None else store.api,
            held.revision,
            "" if held.seen is None else held.seen.cluster_id,
            error,
        )
        self.steering = now
        self._known.set()
        if now.documents != before.documents:
            self._events.etcd_config_changed(revision=now.revision, keys=[one.key for one in now.documents])
            self._on_change()
