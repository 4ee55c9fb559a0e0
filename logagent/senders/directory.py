# SPDX-License-Identifier: Apache-2.0
"""Who leads what: keeps the metadata of the topics in use fresh, in one greenlet, with one request at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import gevent
from gevent.event import Event

from logagent.backoff import Backoff
from logagent.errors import KafkaError
from logagent.kafka.error_codes import describe
from logagent.kafka.metadata import Metadata

REFRESH_S = 300.0
PATIENCE = 6
"""So many answers in a row that a topic does not exist, or has no leader, are more than the moment of its creation."""

BETWEEN_S = 0.1
AGAIN = Backoff(first_s=0.1, limit_s=2.0)


class ClusterView(Protocol):
    """What the directory asks of the Kafka room."""

    def refresh(self, topics: list[str]) -> Metadata:
        """Brokers and the topics named; raises KafkaError with the reasons when no broker answers."""


@dataclass(slots=True)
class TopicState:
    """What is known of a topic. `partitions` is None until a broker has named its leaders."""

    name: str
    code: int = 0
    leaders: dict[int, int] = field(default_factory=dict)
    known: Event = field(default_factory=Event)
    attempts: int = 0
    parked: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing about it has to be asked again soon."""
        return bool(self.leaders) and not self.code and min(self.leaders.values()) >= 0

    @property
    def refusal(self) -> str:
        """Why nothing can be sent to it now; empty when it can."""
        if self.code:
            return f"topic {self.name}: {describe(self.code).sentence}"
        return ""


class Directory:
    """Topics and brokers as of the last answer; asks again when told that something is wrong."""

    def __init__(
        self,
        cluster: ClusterView,
        *,
        on_change: Callable[[], None],
        on_failure: Callable[[str], None],
        on_recovery: Callable[[], None],
        on_parked: Callable[[str, int], None],
        on_back: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._on_change = on_change
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._on_parked = on_parked
        self._on_back = on_back
        self._wanted = Event()
        self.topics: dict[str, TopicState] = {}
        self.brokers: dict[int, tuple[str, int]] = {}
        self.failure = ""
        self.answered = False

    def topic(self, name: str) -> TopicState:
        """The state of a topic; a new one is asked for at once."""
        state = self.topics.get(name)
        if state is None:
            state = self.topics[name] = TopicState(name)
            self._wanted.set()
        return state

    def forget(self, names: set[str]) -> None:
        """Topics that nobody uses any more."""
        for name in names:
            self.topics.pop(name, None)

    def refresh_soon(self) -> None:
        """Something looked stale: ask again as soon as it is decent."""
        self._wanted.set()

    def run(self) -> None:
        """The greenlet: asks when wanted and every few minutes; backs off while something is missing."""
        attempt = 0
        while True:
            if not attempt:
                self._wanted.wait(timeout=REFRESH_S)
            self._wanted.clear()
            complete = self._refresh_once()
            attempt = 0 if complete else attempt + 1
            gevent.sleep(BETWEEN_S if complete else AGAIN.delay_s(attempt - 1))

    def _judge(self, state: TopicState) -> None:
        """A topic that is refused, or stays unknown, is told as parked; once."""
        state.attempts = state.attempts + 1 if state.code else 0
        patience = PATIENCE if describe(state.code).retriable else 1
        if state.attempts >= patience and not state.parked:
            state.parked = True
            self._on_parked(state.name, state.code)
        elif state.parked and not state.code:
            state.parked = False
            self._on_back(state.name)

    def _refresh_once(self) -> bool:
        """True when every topic has all its leaders."""
        try:
            metadata = self._cluster.refresh(sorted(self.topics))
        except KafkaError as error:
            self.failure = str(error)
            self._on_failure(self.failure)
            return False
        if self.failure:
            self.failure = ""
            self._on_recovery()
        self.answered = True
        self.brokers = dict(metadata.brokers)
        for name, info in metadata.topics.items():
            state = self.topics.get(name)
            if state is None:
                continue
            state.code = info.code
            if info.leaders:
                state.leaders = dict(info.leaders)
                state.known.set()
            self._judge(state)
        self._on_change()
        return all(state.complete for state in self.topics.values())
