# SPDX-License-Identifier: Apache-2.0
"""The agent's side of Etcd: what it steers to, merged with the INI, and what is told there in return."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent

from logagent import clock
from logagent.config.services import Entry
from logagent.config.settings import Settings
from logagent.control.heartbeat import Heartbeat
from logagent.control.keeping import Keeping
from logagent.control.keys import Keys
from logagent.control.layers import Merged, merge
from logagent.control.steering import Steering
from logagent.control.supervisor import ConfigSupervisor
from logagent.ops.events import Events
from logagent.spawn import Spawner

CACHE_NAME = "etcd-cache.json"
FAREWELL_S = 2.0
"""How long a stop waits at most for the leased keys to be removed; otherwise they end with their lease."""

FIRST_ANSWER_S = 5.0
"""How long a start waits at most for Etcd before it takes what Etcd said last."""


class EtcdLink:
    """Exists only with etcd_addr.

    `current` gives the settings in force, of which some are reloaded; `on_change()` is called in the supervisor's
    greenlet: it may only set a flag. `status` and `summary` say what the agent tells of itself besides.
    """

    def __init__(
        self,
        settings: Settings,
        host_id: str,
        *,
        current: Callable[[], Settings],
        on_change: Callable[[], None],
        status: Callable[[], Mapping[str, object]],
        summary: Callable[[], Mapping[str, object]],
        spawner: Spawner,
        events: Events,
    ) -> None:
        # Whoever has no Etcd does without 3 MB of HTTP clients.
        from logagent.control.connect import Cluster  # noqa: PLC0415 - see above

        members = Cluster(settings, host_id, spawner).members()
        keys = Keys(settings.etcd_watch_key, host_id)
        self._spawner = spawner
        self._patience_s = min(settings.etcd_timeout_s, FIRST_ANSWER_S)
        self._status = status
        self._greenlets: list[gevent.Greenlet] = []
        self._supervisor = ConfigSupervisor(
            members,
            keys,
            keeping=Keeping(settings.agent.data_dir / CACHE_NAME, events),
            rules=lambda: current().path_rules,
            accept_empty=lambda: current().etcd.accept_empty,
            on_change=on_change,
            spawner=spawner,
            events=events,
        )
        self._wanted: tuple[Merged, Steering] | None = None
        self._heartbeat: Heartbeat | None = None
        if settings.etcd.publish_status:
            self._heartbeat = Heartbeat(
                members.sibling(), keys, status=self._told, summary=summary, events=events
            )

    @property
    def steering(self) -> Steering:
        """How things are now."""
        return self._supervisor.steering

    def start(self) -> None:
        """Begin to follow; returns when it is known what to do: what Etcd says, or what it said last."""
        self._greenlets = [self._spawner.forever("etcd-follow", self._supervisor.run)]
        if self._heartbeat is not None:
            self._greenlets.append(self._spawner.forever("etcd-tell", self._heartbeat.run))
        self._supervisor.wait_first(self._patience_s)

    def hurry(self) -> None:
        """The agent is to stop: a start that waits for Etcd goes on without it."""
        self._supervisor.hurry()

    def leave(self) -> None:
        """Follow no more, and begin to take back what was told; does not wait."""
        self._supervisor.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def stop(self, left_s: float) -> None:
        """After `leave`, and when the lines are gone: end what has not ended by itself."""
        gevent.joinall(self._greenlets, timeout=max(0.0, min(left_s, FAREWELL_S)))
        gevent.killall(self._greenlets, timeout=1.0)

    def wanted(self, settings: Settings) -> tuple[Entry, ...]:
        """What should run, by the INI and Etcd; say `applied` when it does."""
        now = self.steering
        merged = merge(settings.entries, settings.rates_lines_per_s, now.documents)
        self._wanted = merged, now
        return merged.entries

    def applied(self) -> None:
        """The agent works by what was asked for last."""
        if self._wanted is not None:
            self._supervisor.applied(*self._wanted)
            self.tell()

    def reloaded(self) -> None:
        """The INI was read again: what was refused may be allowed now."""
        self._supervisor.reconsider()

    def tell(self) -> None:
        """Something that the status in Etcd says may have changed."""
        if self._heartbeat is not None:
            self._heartbeat.changed()

    def reasons(self) -> list[str]:
        """Why things are not well, a sentence each."""
        return reasons(self.steering)

    def document(self) -> dict[str, Any]:
        """For /status."""
        since_s = clock.monotonic() - self.steering.since_s
        return {**self._supervisor.status(), "since_s": round(since_s, 1)}

    def _told(self) -> Mapping[str, object]:
        return {**self._status(), **self._supervisor.status()}


def reasons(now: Steering) -> list[str]:
    """What `Steering` says is wrong, a sentence each."""
    return [*_state_reasons(now), *_fault_reasons(now.faults)]


def _state_reasons(now: Steering) -> list[str]:
    match now.state:
        case "from-cache":
            return [f"Etcd has not answered since the start, its last lists are in force: {now.error}"]
        case "unreachable":
            return [f"Etcd does not answer, its last lists are in force: {now.error}"]
        case "waiting":
            return [f"Etcd has not answered yet and nothing is known of before: {now.error or 'trying'}"]
        case "suspicious-empty":
            way_out = "write a list, or set accept_empty = yes"
            return [
                f"Etcd is empty and that is not believed, the last lists are in force: {now.error} ({way_out})"
            ]
    return []


def _fault_reasons(faults: Sequence[object], shown: int = 5) -> list[str]:
    told = [f"refused, the last good version is in force: {fault}" for fault in faults[:shown]]
    more = len(faults) - shown
    return [*told, f"{more} more faults in the lists in Etcd"] if more > 0 else told
