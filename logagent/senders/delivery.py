# SPDX-License-Identifier: Apache-2.0
"""One request: build the batches, send them to their leader, and act on the answer for each partition."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Protocol

from logagent.clock import MonotonicClock
from logagent.errors import KafkaError, NotAnswered
from logagent.kafka import record_batch, requests
from logagent.kafka.connections import Cluster, Connection
from logagent.kafka.error_codes import (
    INVALID_TIMESTAMP,
    NONE,
    TOPIC_REFUSALS,
    UNKNOWN_TOPIC_OR_PARTITION,
    describe,
)
from logagent.ops.events import Events
from logagent.pipeline.batch import Batch
from logagent.recovery.actions import Action, Doubt, Pending, Release, Resend
from logagent.senders.directory import Directory
from logagent.senders.doubts import Doubts
from logagent.senders.lanes import Lane
from logagent.senders.links import Links
from logagent.senders.notebook import Notebook
from logagent.senders.outcome import Outcome
from logagent.senders.partition import Partition
from logagent.senders.producer import Producer
from logagent.senders.settler import Settler

PRODUCE_TIMEOUT_MS = 5000
ANSWER_TIMEOUT_S = 8.0
REQUEST_BYTES = 4 * 1024 * 1024
"""A request takes no further partition beyond this size; it bounds what is held encoded."""

UNKNOWN_TOPIC_PARKS_AFTER = 8


class DeliverySettings(Protocol):
    """The part of the sender's settings that is needed here."""

    @property
    def batch_bytes(self) -> int: ...
    @property
    def intent_give_up_s(self) -> float: ...


class Delivery:
    """Sends jobs; called by the pool's greenlets, each with its own slot of connections."""

    def __init__(
        self,
        cluster: Cluster,
        directory: Directory,
        links: Links,
        producer: Producer,
        settler: Settler,
        notebook: Notebook | None,
        settings: DeliverySettings,
        *,
        events: Events,
        clock: MonotonicClock,
        work_turn: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._links = links
        self._producer = producer
        self._settler = settler
        self._notebook = notebook
        self._settings = settings
        self._events = events
        self._clock = clock
        self._work_turn = work_turn
        self._doubts = Doubts(cluster)

    def send(self, slot: int, leader: int, lanes: Sequence[Lane]) -> None:
        """Send one request with a batch of each lane and act on the answer. Returns when all lanes are settled."""
        if lanes[0].partition.question is not None:
            self._ask(slot, leader, lanes[0].partition)
            return
        try:
            connection = self._links.get(slot, leader)
        except KafkaError as error:
            self._links.failed(slot, leader, error)
            for lane in lanes:
                lane.partition.not_sent(self._clock())
            return
        producer_id, epoch = self._producer.identity()
        frame, sent = self._build(lanes, producer_id, epoch)
        if not sent:
            return
        started_s = self._clock()
        try:
            answer = connection.call(frame, ANSWER_TIMEOUT_S)
            results = {
                (result.topic, result.partition): result.code
                for result in requests.parse_produce(answer, str(connection.address))
            }
        except KafkaError as error:
            self._links.failed(slot, leader, error)
            for partition in sent:
                partition.unanswered(self._clock())
            return
        self._links.used(slot, leader, connection)
        took_s = self._clock() - started_s
        for partition in sent:
            code = results.get((partition.topic, partition.number))
            if code is None:
                partition.unanswered(self._clock())
            else:
                self._answered(slot, leader, partition, code, took_s)

    # -- before -------------------------------------------------------------------------------------------------------

    def _build(self, lanes: Sequence[Lane], producer_id: int, epoch: int) -> tuple[bytes, list[Partition]]:
        """The request and what is in it. Lanes with nothing to send, or for which there is no room, are let go."""
        topics: dict[str, list[tuple[int, bytes]]] = {}
        sent: list[Partition] = []
        size_bytes = 0
        for lane in lanes:
            partition = lane.partition
            if size_bytes >= REQUEST_BYTES:
                partition.not_sent(self._clock())
                continue
            batch = partition.take(self._settings.batch_bytes, self._clock())
            if batch is None:
                partition.not_sent(self._clock())
                continue
            self._note(partition, producer_id, epoch)
            self._settler.doubt(partition, partition.before_send(self._producer.clock()), batch.records)
            with self._work_turn():
                encoded = encode(batch, partition.stamp(producer_id, epoch))
            size_bytes += len(encoded)
            topics.setdefault(partition.topic, []).append((partition.number, encoded))
            sent.append(partition)
        if not sent:
            return b"", sent
        return self._cluster.writer.produce(topics, timeout_ms=PRODUCE_TIMEOUT_MS), sent

    def _note(self, partition: Partition, producer_id: int, epoch: int) -> None:
        """Give the batch its place, and see to it that the journal knows of it."""
        partition.stamp(producer_id, epoch)
        if partition.to_be_noted and self._notebook is not None:
            topic = self._directory.topics.get(partition.topic)
            partitions = len(topic.leaders) if topic is not None else 0
            self._notebook.note(partition, self._producer.cluster_id, partitions)

    # -- after --------------------------------------------------------------------------------------------------------

    def _answered(self, slot: int, leader: int, partition: Partition, code: int, took_s: float) -> None:
        batch = partition.batch
        records, bytes_ = (batch.records, batch.size_bytes) if batch is not None else (0, 0)
        was_parked = bool(partition.parked_reason)
        if code in TOPIC_REFUSALS and code != UNKNOWN_TOPIC_OR_PARTITION:
            partition.attempts += 1
            self._try_again(partition, code, parked=True)
            return
        action = partition.answered(code, self._producer.clock())
        outcome = self._carry_out(slot, leader, partition, action, code)
        if outcome.settled_records:
            if was_parked:
                self._events.topic_back(topic=partition.topic)
            self._events.batch_sent(topic=partition.topic, records=records, bytes_=bytes_, seconds=took_s)
        elif isinstance(action, Resend) and code != INVALID_TIMESTAMP:
            self._try_again(partition, code, parked=False)

    def _try_again(self, partition: Partition, code: int, *, parked: bool) -> None:
        """The batch stays where it is, and its positions too."""
        self._directory.refresh_soon()
        topic, reason = partition.topic, describe(code).sentence
        unknown = code == UNKNOWN_TOPIC_OR_PARTITION
        if parked:
            partition.park(self._clock())
        if (parked or unknown) and partition.doubtful:
            self._give_up(partition, vanished=unknown)
        if parked or (unknown and partition.attempts > UNKNOWN_TOPIC_PARKS_AFTER):
            partition.parked_reason = f"topic {topic}: {reason}"
            self._events.topic_parked(topic=topic, code=code, reason=reason)
            return
        wait_s = max(0.0, partition.retry_at_s - self._clock())
        self._events.batch_retried(
            topic=topic, partition=partition.number, code=code, reason=reason, wait_s=wait_s
        )

    # -- doubts -------------------------------------------------------------------------------------------------------

    def _ask(self, slot: int, leader: int, partition: Partition) -> None:
        """What became of a batch, before anything else of its partition leaves."""
        partition.begin_asking()
        try:
            connection = self._links.get(slot, leader)
            action = self._asked(connection, partition)
        except NotAnswered as refusal:
            self._directory.refresh_soon()
            partition.unanswered(self._clock())
            if refusal.code in TOPIC_REFUSALS:
                self._give_up(partition, vanished=refusal.code == UNKNOWN_TOPIC_OR_PARTITION)
            return
        except KafkaError as error:
            self._links.failed(slot, leader, error)
            partition.unanswered(self._clock())
            return
        self._links.used(slot, leader, connection)
        self._carry_out(
            slot, leader, partition, action, 0 if partition.pending is None else partition.pending.refused
        )

    def _asked(self, connection: Connection, partition: Partition) -> Action:
        question, pending = partition.question, partition.pending
        if question is None or pending is None:
            raise ValueError(f"{partition.topic}-{partition.number}: there is nothing to ask")
        self._producer.identity()
        here = self._producer.cluster_id
        if partition.cluster_id and here and partition.cluster_id != here:
            return Release(Doubt.TOPIC_GONE)
        topic, number, producer_id = partition.topic, partition.number, pending.slot.producer_id
        if not question.records:
            answer = self._doubts.leaders_word(connection, topic, number, producer_id)
            return partition.asked(answer, self._producer.clock())
        try:
            look = self._doubts.look(topic, number, producer_id)
        except KafkaError as error:  # perhaps another broker's fault
            raise NotAnswered(NONE) from error
        return partition.replicas_asked(look, self._clock(), self._settings.intent_give_up_s)

    def _carry_out(self, slot: int, leader: int, partition: Partition, action: Action, code: int) -> Outcome:
        outcome = self._settler.carry_out(partition, action, code)
        if outcome.new_id:
            # Nothing may arrive under the old id behind what goes under the new one.
            self._links.drop(slot, leader)
        return outcome

    def look_for_the_gone(self, lanes: Iterable[Lane]) -> None:
        """Partitions with a batch in doubt that do not exist any more, or are denied, are not waited for for ever."""
        for lane in lanes:
            partition = lane.partition
            topic = self._directory.topics.get(partition.topic)
            if lane.in_job or topic is None or not partition.doubtful:
                continue
            vanished = bool(topic.leaders) and partition.number not in topic.leaders
            if vanished or topic.code in TOPIC_REFUSALS:
                self._give_up(partition, vanished=vanished or topic.code == UNKNOWN_TOPIC_OR_PARTITION)

    def _give_up(self, partition: Partition, *, vanished: bool) -> None:
        action = partition.unaskable(self._clock(), self._settings.intent_give_up_s, vanished=vanished)
        if isinstance(action, Release):
            self._settler.carry_out(partition, action)


def encode(batch: Batch, pending: Pending) -> bytes:
    """The record batch of these lines in this place."""
    segments = batch.segments
    if len(segments) > 1 and all(segment.key is None and segment.headers is None for segment in segments):
        # One group costs as much as each of the many little ones of quiet files.
        groups = [record_batch.Records(list(chain.from_iterable(segment.values for segment in segments)))]
    else:
        groups = [record_batch.Records(segment.values, segment.key, segment.headers) for segment in segments]
    return record_batch.encode(
        groups,
        timestamp_ms=pending.timestamp_ms,
        producer_id=pending.slot.producer_id,
        producer_epoch=pending.slot.epoch,
        base_sequence=pending.slot.base_sequence,
    )
