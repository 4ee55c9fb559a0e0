# SPDX-License-Identifier: Apache-2.0
"""The agent's own keys in Etcd: status when it changes, a small summary now and then, both leased."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gevent import GreenletExit
from gevent.event import Event

from logagent import clock as clocks
from logagent.clock import MonotonicClock
from logagent.control.keys import Keys
from logagent.control.members import Members
from logagent.control.steps import Pace, Retry, Visit
from logagent.errors import EtcdError, MemberUnavailable, OutcomeUnknown, SessionLost
from logagent.ops.events import Events
from logagent.stores.store import Api, Session

STATUS_BYTES = 32 * 1024
SUMMARY_BYTES = 2 * 1024
ERRORS = 50
ERROR_CHARACTERS = 400

SUMMARY_EVERY_S = 30.0
STATUS_PAUSE_S = 1.0
"""A status that changes all the time is put once a second."""

STATUS_AGAIN_S = 600.0
"""An unchanged status is put again: a late write of a lost connection may have tied the key to a dead lease."""

JITTER = 0.2

Wait = Callable[[Event, float], bool]
Document = Callable[[], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Life of the lease and pause between two renewals, seconds."""

    ttl_s: int
    renew_s: float


def rhythm(api: Api) -> Rhythm:
    """Every refresh of API v2 takes a place in its history of 1,000 events, so it gets fewer."""
    return Rhythm(180, 60.0) if api == "v2" else Rhythm(60, 20.0)


def status_value(document: Mapping[str, object]) -> bytes:
    """At most 32 KiB: of `errors` the first 50 stay, `errors_count` tells how many there are."""
    errors = [str(error)[:ERROR_CHARACTERS] for error in _sequence(document.get("errors"))]
    return _fit({**document, "errors_count": len(errors), "errors": errors[:ERRORS]}, "errors", STATUS_BYTES)


def summary_value(document: Mapping[str, object]) -> bytes:
    """At most 2 KiB: `worst_files` are cut from their end."""
    return _fit(dict(document), "worst_files", SUMMARY_BYTES)


def _sequence(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _fit(document: dict[str, object], cut: str, limit: int) -> bytes:
    value = _encode(document)
    members = _sequence(document.get(cut))
    while len(value) > limit and members:
        members = members[: len(members) // 2]
        value = _encode({**document, cut: members, "cut": True})
    if len(value) > limit:
        small = {key: item for key, item in document.items() if len(_encode(item)) <= limit // 32}
        value = _encode({**dict(list(small.items())[:16]), "cut": True})
    return value


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=str).encode()


@dataclass(slots=True)
class _Due:
    """When what is next, on the clock of the heartbeat; and what was put last."""

    renew_s: float
    summary_s: float
    status_s: float
    again_s: float
    status: bytes = field(default=b"")

    def next_s(self, *, pending: bool) -> float:
        """`pending`: a changed status waits for its pause to pass."""
        due_s = min(self.renew_s, self.summary_s)
        return min(due_s, self.status_s) if pending else due_s


class Heartbeat:
    """Publishes what `status` and `summary` return. One greenlet, `run`; losing Etcd never matters to anybody else."""

    def __init__(
        self,
        members: Members,
        keys: Keys,
        *,
        status: Document,
        summary: Document,
        events: Events,
        clock: MonotonicClock = clocks.monotonic,
        wait: Wait = Event.wait,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._members = members
        self._keys = keys
        self._status = status
        self._summary = summary
        self._events = events
        self._clock = clock
        self._wait = wait
        self._rand = rand
        self._wake = Event()
        self._changed = True
        self._stop = Event()
        self._well_since_s: float | None = None

    def changed(self) -> None:
        """The status may be another one now."""
        self._changed = True
        self._wake.set()

    def stop(self) -> None:
        """Remove the keys, as far as the server can be reached, and let `run` return."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """The greenlet; returns only after `stop`."""
        retry = Retry()
        while not self._stop.is_set():
            self._well_since_s = None
            try:
                self._publish()
            except EtcdError as error:
                well_s = self._well_for_s()
                visit = Visit(well_s is not None, well_s or 0.0, not isinstance(error, SessionLost))
                retry = retry.after(visit, Pace())
                self._events.status_publish_failed(reason=str(error))
                move, delay_s = retry.plan(visit, len(self._members), self._rand)
                if move:
                    self._members.next()
                self._pause(delay_s)

    def _well_for_s(self) -> float | None:
        """How long the session has published; None if it never did."""
        return None if self._well_since_s is None else self._clock() - self._well_since_s

    def _pause(self, delay_s: float) -> None:
        until_s = self._clock() + delay_s
        while not self._stop.is_set() and (left_s := until_s - self._clock()) > 0:
            self._wake.clear()
            self._wait(self._wake, left_s)

    def _publish(self) -> None:
        """One session with one member; ends by an EtcdError or by `stop`."""
        store = self._members.open()
        try:
            beat = rhythm(store.api)
            session = store.session(beat.ttl_s)
            takes_back = True
            try:
                self._keep(session, beat)
            except (MemberUnavailable, OutcomeUnknown, SessionLost, GreenletExit):
                takes_back = False  # nobody to ask, or no time: the lease ends by itself
                raise
            finally:
                if takes_back:
                    session.close()
        finally:
            store.close()

    def _keep(self, session: Session, beat: Rhythm) -> None:
        due = self._begin(session, beat)
        self._well_since_s = self._clock()
        self._events.status_publish_back()
        while not self._stop.is_set():
            self._beat(session, due, beat)

    def _begin(self, session: Session, beat: Rhythm) -> _Due:
        now_s = self._clock()
        due = _Due(now_s + self._about(beat.renew_s), now_s + self._about(SUMMARY_EVERY_S), 0.0, 0.0)
        self._put_status(session, due, now_s)
        session.put(self._keys.summary, summary_value(self._summary()))
        return due

    def _beat(self, session: Session, due: _Due, beat: Rhythm) -> None:
        left_s = due.next_s(pending=self._changed) - self._clock()
        if left_s > 0:
            self._wake.clear()
            self._wait(self._wake, left_s)
        now_s = self._clock()
        if now_s >= due.renew_s:
            due.renew_s = now_s + self._about(beat.renew_s)
            session.keep_alive()
            self._changed = True
        if now_s >= due.summary_s:
            due.summary_s = now_s + self._about(SUMMARY_EVERY_S)
            session.put(self._keys.summary, summary_value(self._summary()))
        if self._changed and now_s >= due.status_s:
            self._put_status(session, due, now_s)

    def _put_status(self, session: Session, due: _Due, now_s: float) -> None:
        self._changed = False
        value = status_value(self._status())
        if value == due.status and now_s < due.again_s:
            return
        session.put(self._keys.status, value)
        due.status = value
        due.status_s = now_s + STATUS_PAUSE_S
        due.again_s = now_s + self._about(STATUS_AGAIN_S)

    def _about(self, seconds: float) -> float:
        """`seconds` more or less a fifth, so that a fleet does not come in one wave."""
        return seconds * (1 - JITTER + 2 * JITTER * self._rand())
