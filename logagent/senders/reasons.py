# SPDX-License-Identifier: Apache-2.0
"""Why lines wait, in sentences for people."""

from logagent.clock import MonotonicClock
from logagent.senders.directory import Directory, TopicState
from logagent.senders.graveyard import Graveyard
from logagent.senders.lanes import Lane, Lanes
from logagent.senders.leaders import Leaders
from logagent.senders.notebook import Notebook

MAX_REASONS = 20


class Reasons:
    """For health and status, and for the side that reads."""

    def __init__(
        self,
        lanes: Lanes,
        directory: Directory,
        leaders: Leaders,
        graveyard: Graveyard,
        notebook: Notebook | None,
        clock: MonotonicClock,
    ) -> None:
        self._lanes = lanes
        self._directory = directory
        self._leaders = leaders
        self._graveyard = graveyard
        self._notebook = notebook
        self._clock = clock

    def all(self) -> list[str]:
        """Everything that is wrong on the way to Kafka."""
        failure = self._directory.failure
        return [
            *([f"Kafka does not answer: {failure}"] if failure else []),
            *self._leaders.troubles(),
            *self.topics(),
            *self.partitions(),
            *self._graveyard.reasons,
            *([] if self._notebook is None else self._notebook.reasons),
        ]

    def topics(self) -> list[str]:
        """Why topics in use cannot be sent to."""
        parked = {lane.partition.parked_reason for lane in self._lanes.busy if lane.partition.parked_reason}
        refused = {state.refusal for state in self._directory.topics.values() if state.attempts > 1}
        return sorted(parked | refused)

    def partitions(self) -> list[str]:
        """Why partitions in use get no acknowledgements."""
        now_s = self._clock()
        lanes = self._lanes.all.values()
        failing = [lane for lane in lanes if lane.leader < 0 or lane.partition.failing(now_s)]
        return sorted({self.why_full(lane) for lane in failing})[:MAX_REASONS]

    def why_unknown(self, topic: TopicState) -> str:
        """Why nobody knows where the topic's lines go."""
        if self._directory.failure:
            return f"Kafka does not answer: {self._directory.failure}"
        return topic.refusal or "waiting for the topic's metadata"

    def why_full(self, lane: Lane) -> str:
        """Why nothing can be put for the partition now."""
        partition = lane.partition
        if partition.parked_reason:
            return partition.parked_reason
        trouble = self._leaders.trouble(lane.leader)
        if trouble:
            return f"{partition.topic}-{partition.number}: {trouble}" if lane.leader < 0 else trouble
        if partition.failing(self._clock()):
            waited_s = self._clock() - partition.unacked_since_s
            return f"{partition.topic}-{partition.number} has not acknowledged for {waited_s:.0f} s"
        return f"{partition.topic}-{partition.number} is busy"
