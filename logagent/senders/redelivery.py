# SPDX-License-Identifier: Apache-2.0
"""Sends records of the dead-letter file once more, for a command. Within one run each record gets in once at most."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import gevent

from logagent.clock import MonotonicClock, WallClock
from logagent.errors import BrokerUnavailable, KafkaError, ProtocolViolation
from logagent.kafka.connections import Cluster, Connection
from logagent.kafka.error_codes import (
    DUPLICATE_SEQUENCE_NUMBER,
    NONE,
    RECORD_REFUSALS,
    TOPIC_REFUSALS,
    describe,
)
from logagent.kafka.record_batch import Records, encode, next_sequence
from logagent.kafka.requests import ProducerId, parse_produce
from logagent.senders.dead_letter import DeadRecord

BATCH_BYTES: Final = 500_000
PATIENCE_S: Final = 60.0
AGAIN_S: Final = 0.2
_PRODUCE_TIMEOUT_MS: Final = 10_000


class Posted(NamedTuple):
    """What became of a record: `refusal` is empty if it is in Kafka, else a sentence."""

    id: str
    refusal: str


class _Letter(NamedTuple):
    id: str
    record: DeadRecord

    @property
    def records(self) -> Records:
        block = self.record.header_block
        return Records([self.record.value], self.record.key, None if block is None else [block])


class Redelivery:
    """For one command and one greenlet. Records of a file stay in one partition and in their order."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        wall: WallClock,
        clock: MonotonicClock,
        sleep: Callable[[float], None] = gevent.sleep,
    ) -> None:
        self._cluster = cluster
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self._producer: ProducerId | None = None
        self._sequences: dict[tuple[str, int], int] = {}
        self._connections: dict[int, Connection] = {}

    def send(self, letters: Iterable[tuple[str, DeadRecord]]) -> Iterator[Posted]:
        """Send them, and tell of each one. Raises KafkaError when Kafka does not answer any more."""
        told = (_Letter(*letter) for letter in letters)
        for (topic, path), same in groupby(told, key=lambda one: (one.record.topic, one.record.path)):
            for batch in _batches(same):
                yield from self._post(topic, path, batch)

    def close(self) -> None:
        """Close the connections."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _post(self, topic: str, path: bytes, letters: Sequence[_Letter]) -> Iterator[Posted]:
        code = self._take_in(topic, path, letters)
        if code == NONE:
            yield from (Posted(letter.id, "") for letter in letters)
        elif code in RECORD_REFUSALS and len(letters) > 1:
            middle = len(letters) // 2
            yield from self._post(topic, path, letters[:middle])
            yield from self._post(topic, path, letters[middle:])
        else:
            yield from (Posted(letter.id, describe(code).sentence) for letter in letters)

    def _take_in(self, topic: str, path: bytes, letters: Sequence[_Letter]) -> int:
        """The code with which the leader settles a batch, however often the same bytes have to be sent for it."""
        deadline_s = self._clock() + PATIENCE_S
        built: dict[int, bytes] = {}
        while True:
            try:
                code = self._once(topic, path, letters, built)
                if code in TOPIC_REFUSALS or code == NONE or not describe(code).retriable:
                    return code
                error: KafkaError = BrokerUnavailable(topic, describe(code).sentence)
            except KafkaError as failure:
                error = failure
                self.close()
            if self._clock() >= deadline_s:
                raise error
            self._sleep(AGAIN_S)

    def _once(self, topic: str, path: bytes, letters: Sequence[_Letter], built: dict[int, bytes]) -> int:
        view = self._cluster.describe([topic]).topics[topic]
        if view.code:
            return view.code
        number = next(iter(built), zlib.crc32(path) % len(view.partitions))
        if number not in built:
            built[number] = self._encode(topic, number, letters)
        code = self._attempt(topic, number, view.partitions[number].leader, built[number])
        if code not in (NONE, DUPLICATE_SEQUENCE_NUMBER):
            return code
        self._sequences[topic, number] = next_sequence(self._sequences.get((topic, number), 0), len(letters))
        return NONE

    def _attempt(self, topic: str, partition: int, leader: int, batch: bytes) -> int:
        connection = self._connections.get(leader) or self._cluster.connect(leader)
        self._connections[leader] = connection
        frame = self._cluster.writer.produce({topic: [(partition, batch)]}, timeout_ms=_PRODUCE_TIMEOUT_MS)
        answer = connection.call(frame, 1.5 * _PRODUCE_TIMEOUT_MS / 1000)
        answers = parse_produce(answer, str(connection.address))
        if [(one.topic, one.partition) for one in answers] != [(topic, partition)]:
            raise ProtocolViolation(
                str(connection.address), "answers for another partition than the one asked for"
            )
        return answers[0].code

    def _encode(self, topic: str, partition: int, letters: Sequence[_Letter]) -> bytes:
        if self._producer is None:
            self._producer = self._cluster.init_producer_id()
        return encode(
            [letter.records for letter in letters],
            timestamp_ms=int(self._wall() * 1000),
            producer_id=self._producer.id,
            producer_epoch=self._producer.epoch,
            base_sequence=self._sequences.get((topic, partition), 0),
        )


def _batches(letters: Iterable[_Letter]) -> Iterator[list[_Letter]]:
    batch: list[_Letter] = []
    size = 0
    for letter in letters:
        record = letter.record
        added = len(record.value) + len(record.key or b"") + len(record.header_block or b"")
        if batch and size + added > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += added + 30
    if batch:
        yield batch
