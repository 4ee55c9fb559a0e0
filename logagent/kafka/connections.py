# SPDX-License-Identifier: Apache-2.0
"""The cluster behind its brokers. The Metadata messages that find leaders are pykafka's.

pykafka's own search for metadata is not used: it asks the seeds one after the other, three times each, and
never finds a broker again that changed its address.
"""

import random
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Generic, TypeVar

import gevent
from gevent import Greenlet
from gevent.queue import Empty, SimpleQueue

from logagent.errors import BrokerUnavailable, KafkaError, ProtocolViolation
from logagent.kafka import requests
from logagent.kafka.connection import Connection
from logagent.kafka.error_codes import describe
from logagent.kafka.metadata import BrokerAddress, Described, Metadata, TopicInfo
from logagent.kafka.pykafka_parts import MetadataRequestV1, MetadataResponseV1
from logagent.kafka.requests import (
    BROKER,
    TOPIC,
    ApiVersions,
    PartitionProducers,
    ProducerId,
    RequestWriter,
)
from logagent.spawn import Spawner

__all__ = ["Cluster", "Connection"]

_HEAD_START_S = 0.3
_MAX_KNOWN_ASKED = 8
_MAX_FAILURES_NAMED = 8
_MAX_REASON_CHARS = 160

Answer = TypeVar("Answer")


class _MetadataRequest(MetadataRequestV1):
    """Metadata v1. Asks for the given topics only; the broker creates those that are missing, if it may."""

    def __init__(self, topics: Collection[str], client_id: str, correlation_id: int) -> None:
        super().__init__([topic.encode() for topic in topics])
        self.CLIENT_ID = client_id.encode()
        self.HEADER_LEN = 14 + len(self.CLIENT_ID)
        self._correlation_id = correlation_id

    def _topics_len(self) -> int:
        return len(self.topics)  # pykafka's -1 for an empty list would ask for every topic of the cluster

    def get_bytes(self) -> bytearray:
        frame = super().get_bytes()
        struct.pack_into(">i", frame, 8, self._correlation_id)
        return frame


def _parse_metadata(answer: bytes, address: str) -> Metadata:
    try:
        response = MetadataResponseV1(answer)
        brokers = {
            node: BrokerAddress(broker.host.decode(errors="replace"), broker.port)
            for node, broker in response.brokers.items()
        }
        topics = {
            name.decode(): TopicInfo(
                topic.err, {number: one.leader for number, one in topic.partitions.items()}
            )
            for name, topic in response.topics.items()
        }
    except (struct.error, ValueError, AttributeError, TypeError) as error:
        raise ProtocolViolation(address, "its metadata cannot be understood") from error
    if not brokers:
        raise BrokerUnavailable(address, "the broker does not know its cluster yet")
    return Metadata(brokers, topics)


def _parse_producer_id(answer: bytes, address: str) -> ProducerId:
    code, producer = requests.parse_init_producer_id(answer, address)
    if code:
        error = describe(code)
        raise BrokerUnavailable(address, f"gave out no producer id: {error.sentence} ({error.name})")
    return producer


class Cluster:
    """Finds a Kafka cluster from its seeds, and finds it again when brokers die, hang or move.

    `timeout_s` bounds each connection attempt and each question. Failures are KafkaErrors; any call may be
    repeated.
    """

    def __init__(
        self, seeds: Sequence[tuple[str, int]], client_id: str, timeout_s: float, spawner: Spawner
    ) -> None:
        self.writer = RequestWriter(client_id)
        self.metadata = Metadata()
        """What the last successful `refresh` found; empty before."""
        self._seeds = [BrokerAddress(*seed) for seed in seeds]
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._spawner = spawner

    def refresh(self, topics: Collection[str]) -> Metadata:
        """Ask for brokers and the leaders of `topics`, which are created if allowed; replaces `metadata`."""
        correlation_id = self.writer.next_correlation_id()
        frame = bytes(_MetadataRequest(topics, self._client_id, correlation_id).get_bytes())
        self.metadata = self._first_answer(lambda address: self._ask(address, frame, _parse_metadata))
        return self.metadata

    def describe(self, topics: Collection[str], *, create: bool = False) -> Described:
        """Ask for cluster, brokers and these topics in detail; takes over the brokers into `metadata`.

        Missing topics are created only if `create` says so and the cluster allows it.
        """
        found = self._first_answer(lambda address: self._ask_description(address, topics, create))
        self.metadata = Metadata(found.brokers, self.metadata.topics)
        return found

    def least_in_sync(self, topic: str) -> int | None:
        """The topic's min.insync.replicas; None if the cluster does not tell."""
        name = "min.insync.replicas"
        frame = self.writer.describe_configs(TOPIC, topic, [name])
        parse = requests.parse_describe_configs
        return self._first_answer(lambda address: self._ask(address, frame, parse)).number(name)

    def producer_expiration_ms(self) -> int | None:
        """The least producer.id.expiration.ms of the known brokers that answer; None if one does not tell."""
        found: list[int | None] = []
        failures: dict[BrokerAddress, str] = {}
        greenlets = [
            self._spawner.once(f"ask {address}", self._ask_expiration, node, address, found, failures)
            for node, address in self.metadata.brokers.items()
        ]
        gevent.joinall(greenlets, timeout=2 * self._timeout_s)
        gevent.killall(greenlets, block=False)
        if not found:
            raise _no_broker(list(self.metadata.brokers.values()), failures, self._timeout_s)
        told = [one for one in found if one is not None]
        return min(told) if len(told) == len(found) else None

    def _ask_expiration(
        self, node: int, address: BrokerAddress, found: list[int | None], failures: dict[BrokerAddress, str]
    ) -> None:
        name = "producer.id.expiration.ms"
        frame = self.writer.describe_configs(BROKER, str(node), [name])
        try:
            found.append(self._ask(address, frame, requests.parse_describe_configs).number(name))
        except KafkaError as error:
            failures[address] = str(error)

    def init_producer_id(self) -> ProducerId:
        """A new producer id from any broker; never -1, which would let resent lines in a second time."""
        frame = self.writer.init_producer_id()
        return self._first_answer(lambda address: self._ask(address, frame, _parse_producer_id))

    def connect(self, node_id: int) -> Connection:
        """A new connection to the broker with this id in `metadata`."""
        address = self.metadata.brokers.get(node_id)
        if address is None:
            raise BrokerUnavailable(f"broker {node_id}", "the cluster's metadata does not list it")
        return Connection(address, self._timeout_s)

    def api_versions(self, connection: Connection) -> ApiVersions:
        """Which requests the broker at the other end understands."""
        if connection.versions is None:
            answer = connection.call(self.writer.api_versions(), self._timeout_s)
            connection.versions = requests.parse_api_versions(answer, str(connection.address))
        return connection.versions

    def knows_describe_producers(self, connection: Connection) -> bool:
        """Whether that broker can be asked; asked otherwise, it hangs up."""
        return self.api_versions(connection).describes_producers

    def describe_producers(self, connection: Connection, topic: str, partition: int) -> PartitionProducers:
        """Which producer ids that broker, leader or not, remembers in a partition."""
        frame = self.writer.describe_producers({topic: [partition]})
        answer = connection.call(frame, self._timeout_s)
        found = requests.parse_describe_producers(answer, str(connection.address))
        if [(one.topic, one.partition) for one in found] != [(topic, partition)]:
            raise ProtocolViolation(
                str(connection.address), "describes another partition than the one asked for"
            )
        return found[0]

    def _ask_description(self, address: BrokerAddress, topics: Collection[str], create: bool) -> Described:
        connection = Connection(address, self._timeout_s)
        try:
            version = self.api_versions(connection).metadata_version
            if version is None:
                raise ProtocolViolation(str(address), "is older than Kafka 0.11")
            frame = self.writer.describe_topics(topics, create=create, version=version)
            answer = connection.call(frame, self._timeout_s)
            found = requests.parse_describe_topics(answer, str(address), version)
        finally:
            connection.close()
        if not found.brokers:
            raise BrokerUnavailable(str(address), "the broker does not know its cluster yet")
        return found

    def _first_answer(self, ask: Callable[[BrokerAddress], Answer]) -> Answer:
        """Ask one known broker; if it fails or dawdles, everybody at once. The first good answer wins.

        Without an order among the others, dead, silent and black-holed addresses cost no time.
        """
        addresses = self._candidates()
        head_start = 1 if self.metadata.brokers else 0
        race = _Race(self._spawner, ask)
        deadline = monotonic() + self._timeout_s
        try:
            race.start(addresses[:head_start])
            answer = race.winner(monotonic() + _HEAD_START_S)
            if answer is None:
                race.start(addresses[head_start:])
                answer = race.winner(deadline)
        finally:
            race.stop()
        if answer is None:
            raise _no_broker(addresses, race.failures, self._timeout_s)
        return answer

    def _candidates(self) -> list[BrokerAddress]:
        """Known brokers at random, lest one with an outdated view be asked for ever; then the seeds."""
        known = list(self.metadata.brokers.values())
        return list(dict.fromkeys(random.sample(known, min(len(known), _MAX_KNOWN_ASKED)) + self._seeds))

    def _ask(self, address: BrokerAddress, frame: bytes, parse: Callable[[bytes, str], Answer]) -> Answer:
        connection = Connection(address, self._timeout_s)
        try:
            return parse(connection.call(frame, self._timeout_s), str(address))
        finally:
            connection.close()


class _Race(Generic[Answer]):
    """Asks several brokers side by side."""

    def __init__(self, spawner: Spawner, ask: Callable[[BrokerAddress], Answer]) -> None:
        self.failures: dict[BrokerAddress, str] = {}
        self._spawner = spawner
        self._ask = ask
        self._greenlets: list[Greenlet] = []
        self._outcomes: SimpleQueue[tuple[BrokerAddress, Answer | KafkaError]] = SimpleQueue()

    def start(self, addresses: Sequence[BrokerAddress]) -> None:
        for address in addresses:
            self._greenlets.append(self._spawner.once(f"ask {address}", self._run, address))

    def winner(self, deadline: float) -> Answer | None:
        """The first answer; None when all that were started have failed or the deadline is over."""
        while len(self.failures) < len(self._greenlets):
            outcome: Answer | KafkaError
            try:
                address, outcome = self._outcomes.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                return None
            if not isinstance(outcome, KafkaError):
                return outcome
            self.failures[address] = str(outcome)
        return None

    def stop(self) -> None:
        gevent.killall(self._greenlets, block=False)

    def _run(self, address: BrokerAddress) -> None:
        try:
            self._outcomes.put((address, self._ask(address)))
        except KafkaError as error:
            self._outcomes.put((address, error))


def _no_broker(
    addresses: Sequence[BrokerAddress], failures: Mapping[BrokerAddress, str], timeout_s: float
) -> BrokerUnavailable:
    silent = f"no answer within {timeout_s:.3g} s"
    named = [
        failures.get(address, f"{address}: {silent}")[:_MAX_REASON_CHARS]
        for address in addresses[:_MAX_FAILURES_NAMED]
    ]
    more = [f"and {len(addresses) - len(named)} more"] if len(addresses) > len(named) else []
    return BrokerUnavailable("kafka_addr", f"no broker answers ({'; '.join(named + more)})")
