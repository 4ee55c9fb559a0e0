# SPDX-License-Identifier: Apache-2.0
"""Lines that cannot be sent are given back to their files, to be read again when they can."""

from logagent.clock import WallClock
from logagent.pipeline.batch import Segment
from logagent.senders.directory import Directory
from logagent.senders.lanes import Lanes, Schedule
from logagent.senders.partition import State


class Retreat:
    """From partitions that fail, and from those that do not exist any more."""

    def __init__(self, lanes: Lanes, directory: Directory, schedule: Schedule, wall: WallClock) -> None:
        self._lanes = lanes
        self._directory = directory
        self._schedule = schedule
        self._wall = wall

    def look(self, now_s: float) -> None:
        """Look at all busy partitions."""
        self._drop_stalled(now_s)
        self._leave_the_gone(now_s)

    def _drop_stalled(self, now_s: float) -> None:
        """Partitions that fail keep only the batch on its way: their files are read again from there later."""
        for lane in list(self._lanes.busy):
            partition = lane.partition
            if partition.open.empty or not partition.failing(now_s):
                continue
            kept = [
                segment for segment in reversed(partition.give_back_open()) if not self._give_back(segment)
            ]
            for segment in reversed(kept):
                partition.open.add(segment, now_s, int(self._wall() * 1000))
            if partition.empty:
                del self._lanes.busy[lane]

    def _leave_the_gone(self, now_s: float) -> None:
        """Lines for partitions that do not exist any more go to others of their topic."""
        for lane in list(self._lanes.busy):
            partition = lane.partition
            topic = self._directory.topics.get(partition.topic)
            exists = topic is None or not topic.leaders or partition.number in topic.leaders
            if topic is None or exists or lane.in_job or partition.doubtful or partition.state is State.HELD:
                continue
            lane.gone = True
            del self._lanes.busy[lane], self._lanes.all[partition.topic, partition.number]
            kept = [one for one in reversed(partition.give_back_all()) if not self._give_back(one)]
            if kept:
                other = self._lanes.of(partition.topic, partition.number % len(topic.leaders))
                for segment in reversed(kept):
                    other.partition.open.add(segment, now_s, int(self._wall() * 1000))
                self._lanes.busy[other] = None
                self._schedule.push(other, now_s)
            lane.room.set()

    def _give_back(self, segment: Segment) -> bool:
        """Drop a segment that can be read again; False if not: its bytes are gone, or newer ones are on their way."""
        source = segment.source
        if not source.readable_again or not source.acks.take_back(segment):
            return False
        self._lanes.released(segment.memory_bytes)
        source.rewind(segment.start_offset)
        return True
