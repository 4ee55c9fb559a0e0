# SPDX-License-Identifier: Apache-2.0
"""Connections to brokers, and the cluster behind them. Sockets and Metadata messages are pykafka's.

pykafka's own search for metadata is not used: it asks the seeds one after the other, three times each, and
never finds a broker again that changed its address.
"""

import logging
import random
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Generic, TypeVar

import gevent
from gevent import Greenlet, socket
from gevent.queue import Empty, SimpleQueue

from logagent.errors import BrokerUnavailable, KafkaError, ProtocolViolation
from logagent.kafka import requests
from logagent.kafka.error_codes import describe
from logagent.kafka.metadata import BrokerAddress, Metadata, TopicInfo
from logagent.kafka.pykafka_parts import (
    BrokerConnection,
    MetadataRequestV1,
    MetadataResponseV1,
    SocketDisconnectedError,
)
from logagent.kafka.requests import ApiVersions, ProducerId, RequestWriter
from logagent.spawn import Spawner

# pykafka logs each failure without its cause. We raise it with the cause, and the caller decides what to log.
logging.getLogger("pykafka").propagate = False

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MIN_ANSWER_BYTES = 4  # the correlation id
_CHUNK_BYTES = 65536
_HEAD_START_S = 0.3
_MAX_KNOWN_ASKED = 8
_MAX_FAILURES_NAMED = 8
_MAX_REASON_CHARS = 160

Answer = TypeVar("Answer")


class Connection(BrokerConnection):
    """A connection to one broker, open from the start; any failure closes it. For one greenlet at a time."""

    def __init__(self, address: BrokerAddress, timeout_s: float) -> None:
        """Connects within `timeout_s`, name resolution included; BrokerUnavailable says why not."""
        self.address = address
        dialer = _Dialer()
        # No buffer: it is for pykafka's reader, which trusts any size that the other side announces.
        super().__init__(address.host, address.port, dialer, buffer_size=0)
        try:
            self.connect(timeout_s * 1000)
        except SocketDisconnectedError as error:
            reason = _reason(dialer.error, timeout_s)
            raise BrokerUnavailable(str(address), reason) from (dialer.error or error)

    def call(self, frame: bytes, timeout_s: float) -> bytes:
        """Send a request and return its answer without size and correlation id, all within `timeout_s`.

        Raises BrokerUnavailable (try again, the broker may have acted on the request) or ProtocolViolation.
        """
        with self._closed_on_failure(timeout_s) as link:
            deadline = monotonic() + timeout_s
            link.settimeout(timeout_s)
            link.sendall(frame)
            head = _receive(link, 4, deadline)
            (size,) = struct.unpack(">i", head)
            if not _MIN_ANSWER_BYTES <= size <= MAX_ANSWER_BYTES:
                raise ProtocolViolation(str(self.address), _not_kafka(head))
            answer = _receive(link, size, deadline)
            if answer[:4] != frame[8:12]:
                raise ProtocolViolation(str(self.address), "answered another request than the one sent")
            return answer[4:]

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        self.disconnect()

    @contextmanager
    def _closed_on_failure(self, timeout_s: float) -> Iterator[socket.socket]:
        if not self.connected:
            raise BrokerUnavailable(str(self.address), "the connection is closed")
        try:
            yield self._socket
        except OSError as error:
            self.close()
            raise BrokerUnavailable(str(self.address), _reason(error, timeout_s)) from error
        except BaseException:  # also when the greenlet is killed: half a request must not stay on the wire
            self.close()
            raise


def _receive(link: socket.socket, size: int, deadline: float) -> bytes:
    chunks: list[bytes] = []
    while size:
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise TimeoutError
        link.settimeout(left_s)
        chunk = link.recv(min(size, _CHUNK_BYTES))
        if not chunk:
            raise ConnectionResetError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


class _Dialer:
    """pykafka's handler and the handler's socket module in one; keeps the error that pykafka drops."""

    SockErr = OSError
    GaiError = socket.gaierror

    def __init__(self) -> None:
        self.Socket = self
        self.error: OSError | None = None

    def create_connection(
        self, address: tuple[str, int], timeout_s: float, _source_address: tuple[str, int]
    ) -> socket.socket:
        try:
            with gevent.Timeout(timeout_s, TimeoutError):  # name resolution has no time-out of its own
                return _connect_any(*address, deadline=monotonic() + timeout_s)
        except OSError as error:
            self.error = error
            raise


def _connect_any(host: str, port: int, deadline: float) -> socket.socket:
    """Try the host's addresses, each for an equal part of the time left: a dead one must not use up all."""
    if not 0 < port < 65536:  # getaddrinfo would take it modulo 65536
        raise OSError(f"{port} is not a port")
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except (UnicodeError, ValueError) as error:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    last_error = OSError("the host has no address")
    for tries_left, (family, kind, protocol, _name, address) in zip(
        range(len(found), 0, -1), found, strict=True
    ):
        link = socket.socket(family, kind, protocol)
        try:
            link.settimeout(max(0.001, (deadline - monotonic()) / tries_left))
            link.connect(address)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return link
        except BaseException as error:
            link.close()
            if not isinstance(error, OSError):
                raise
            last_error = error
    raise last_error


def _reason(error: OSError | None, timeout_s: float) -> str:
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "the host name cannot be resolved at the moment"
        case socket.gaierror():
            return f"unknown host ({error.strerror})"
        case TimeoutError():
            return f"timed out after {timeout_s:.3g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "the broker closed the connection"
        case _:
            return ((error.strerror or str(error)) if error else "cannot connect").lower()


def _not_kafka(head: bytes) -> str:
    if head[:2] == b"\x15\x03":
        return "does not speak plain Kafka (answered with a TLS alert)"
    text = head.decode("latin-1")
    said = text if text.isascii() and text.isprintable() else f"the bytes {head.hex(' ')}"
    return f"does not speak Kafka (answered {said})"


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
        self.metadata = self._first_answer(frame, _parse_metadata)
        return self.metadata

    def init_producer_id(self) -> ProducerId:
        """A new producer id from any broker; never -1, which would let resent lines in a second time."""
        return self._first_answer(self.writer.init_producer_id(), _parse_producer_id)

    def connect(self, node_id: int) -> Connection:
        """A new connection to the broker with this id in `metadata`."""
        address = self.metadata.brokers.get(node_id)
        if address is None:
            raise BrokerUnavailable(f"broker {node_id}", "the cluster's metadata does not list it")
        return Connection(address, self._timeout_s)

    def api_versions(self, connection: Connection) -> ApiVersions:
        """Which requests the broker at the other end understands."""
        answer = connection.call(self.writer.api_versions(), self._timeout_s)
        return requests.parse_api_versions(answer, str(connection.address))

    def _first_answer(self, frame: bytes, parse: Callable[[bytes, str], Answer]) -> Answer:
        """Ask one known broker; if it fails or dawdles, everybody at once. The first good answer wins.

        Without an order among the others, dead, silent and black-holed addresses cost no time.
        """
        addresses = self._candidates()
        head_start = 1 if self.metadata.brokers else 0
        race = _Race(self._spawner, lambda address: self._ask(address, frame, parse))
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
