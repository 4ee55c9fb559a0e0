# SPDX-License-Identifier: Apache-2.0
"""A network between the agent and its brokers that tests can break: it knows requests from answers.

Every broker stands behind a port of its own, and Metadata answers name these ports, so that no client finds the way
around. A rule sees each request and each answer, in the thread of that connection and direction: it may sleep, wait,
cut the connection, or let only the beginning through.
"""

import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Self

HOST = "127.0.0.1"
PRODUCE = 0
METADATA = 3
_HOLD_S = 120.0
_HEAD = struct.Struct(">ihhi")  # size, API key, version, correlation id


class Passage(NamedTuple):
    """One whole request or answer, its size included."""

    broker: int  # the port behind the proxy
    to_broker: bool
    api_key: int
    frame: bytes


class Cut(Exception):  # it is what a rule orders, not what went wrong
    """The connection ends here, on both sides, after ``first`` has passed."""

    def __init__(self, first: bytes = b"") -> None:
        super().__init__()
        self.first = first


Rule = Callable[[Passage], bytes]
"""What passes on; raises Cut."""


class Silent:
    """Takes everything and lets nothing through, until it is over; then all that waited arrives."""

    def __init__(self, brokers: Iterable[int] = ()) -> None:
        """``brokers``: their ports; all when there are none."""
        self._brokers = set(brokers)
        self._over = threading.Event()
        self.caught = 0

    def __call__(self, passage: Passage) -> bytes:
        if not self._brokers or passage.broker in self._brokers:
            self.caught += 1
            self._over.wait(_HOLD_S)
        return passage.frame

    def end(self) -> None:
        self._over.set()


class Ragged:
    """Cuts and delays at random: before the broker has the request, after it, and in the middle of the answer."""

    def __init__(self, dice: random.Random, *, share: float = 0.1, delay_s: float = 0.3) -> None:
        self._dice, self._share, self._delay_s = dice, share, delay_s
        self._lock = threading.Lock()
        self.did: Counter[str] = Counter()

    def __call__(self, passage: Passage) -> bytes:
        with self._lock:
            hit, kind = self._dice.random() < self._share, self._dice.randrange(3)
            delay_s, part = self._dice.uniform(0, self._delay_s), self._dice.random()
            where = "request" if passage.to_broker else "answer"
            if hit:
                self.did[f"{('delayed', 'cut', 'half')[kind]} {where}"] += 1
        if not hit:
            return passage.frame
        if kind == 0:
            time.sleep(delay_s)
            return passage.frame
        raise Cut(b"" if kind == 1 else passage.frame[: 1 + int(part * (len(passage.frame) - 1))])


class Trap:
    """Holds back what the agent sends (``of="request"``) or what brokers say to it (``of="answer"``).

    A batch whose answer is held has been delivered already; one whose request is held has not.
    """

    def __init__(self, of: str, *, api_key: int = PRODUCE) -> None:
        self._requests, self._api_key = of == "request", api_key
        self._decided = threading.Event()
        self._cut = True
        self.caught = threading.Event()
        self.held = 0
        self._frames = b""

    def __call__(self, passage: Passage) -> bytes:
        wanted = passage.api_key == self._api_key and passage.to_broker == self._requests
        if not wanted or self._decided.is_set():
            return passage.frame
        self.held += 1
        self._frames += passage.frame
        self.caught.set()
        self._decided.wait(_HOLD_S)
        if self._cut:
            raise Cut
        return passage.frame

    def holds(self, topics: Iterable[str]) -> bool:
        """Whether something for each of these is among what is held."""
        return all(topic.encode() in self._frames for topic in topics)

    def drop(self) -> None:
        """What is held never arrives; what comes from now on passes."""
        self._decided.set()

    def release(self) -> None:
        """What is held arrives now, late."""
        self._cut = False
        self._decided.set()


class Proxy:
    """The port in front of one broker."""

    def __init__(self, broker: int, network: "Network") -> None:
        self.broker = broker
        self._network = network
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self.open()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def open(self) -> None:
        """At its port, or at one that nobody knows yet."""
        self._listener = listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Connections are refused and those that were open are cut, until it is opened again."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> int:
        """Every open connection; how many there were."""
        links = list(self._links)
        for link in links:
            link.close()
        return len(links)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                try:
                    upstream = socket.create_connection((HOST, self.broker), 10)
                except OSError:
                    client.close()
                    continue
                upstream.settimeout(None)
                link = _Link(self.broker, client, upstream, self._network, self._links.discard)
                self._links.add(link)
                link.start()
                if self._listener is not listener:
                    link.close()


class _Link:
    """One connection: a thread for each direction."""

    def __init__(
        self,
        broker: int,
        client: socket.socket,
        upstream: socket.socket,
        network: "Network",
        gone: Callable[["_Link"], object],
    ) -> None:
        self._broker, self._client, self._upstream = broker, client, upstream
        self._network, self._gone = network, gone
        self._api_keys: dict[int, int] = {}
        for one in (client, upstream):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        client, upstream = self._client, self._upstream
        for source, sink in ((client, upstream), (upstream, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        for one in (self._client, self._upstream):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the threads that read
        self._gone(self)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), source.makefile("rb") as reader:
            while True:
                frame = _read_frame(reader.read)
                try:
                    sink.sendall(self._pass(frame, to_broker=sink is self._upstream))
                except Cut as cut:
                    sink.sendall(cut.first)
                    break
        self.close()
        source.close()

    def _pass(self, frame: bytes, *, to_broker: bool) -> bytes:
        if to_broker:
            _size, api_key, _version, correlation_id = _HEAD.unpack_from(frame)
            self._api_keys[correlation_id] = api_key
        else:
            api_key = self._api_keys.pop(struct.unpack_from(">i", frame, 4)[0], -1)
        passed = self._network.judge(Passage(self._broker, to_broker, api_key, frame))
        return self._network.rename(passed) if api_key == METADATA and not to_broker else passed


def _read_frame(read: Callable[[int], bytes]) -> bytes:
    head = read(4)
    if len(head) < 4:
        raise EOFError
    (size,) = struct.unpack(">i", head)
    body = read(size)
    if len(body) < size:
        raise EOFError
    return head + body


class Network:
    """A proxy in front of each broker of a cluster, and the rules for all of them, which come and go."""

    def __init__(self, brokers: Iterable[int]) -> None:
        """``brokers``: their ports."""
        self._rules: tuple[Rule, ...] = ()
        self._lock = threading.Lock()
        self.proxies: Mapping[int, Proxy] = {}
        self.proxies = {port: Proxy(port, self) for port in brokers}

    @contextlib.contextmanager
    def ruled(self, rule: Rule) -> Iterator[None]:
        """What passes within this block has to obey this rule as well."""
        with self._lock:
            self._rules += (rule,)
        try:
            yield
        finally:
            with self._lock:
                self._rules = tuple(one for one in self._rules if one is not rule)

    def judge(self, passage: Passage) -> bytes:
        """What passes on; raises Cut."""
        for rule in self._rules:
            passage = passage._replace(frame=rule(passage))
        return passage.frame

    @property
    def addresses(self) -> str:
        """For kafka_addr."""
        return ", ".join(proxy.address for proxy in self.proxies.values())

    def rename(self, answer: bytes) -> bytes:
        """Metadata names each broker's host and port, one behind the other."""
        for port, proxy in self.proxies.items():
            answer = answer.replace(
                HOST.encode() + struct.pack(">i", port), HOST.encode() + struct.pack(">i", -proxy.port)
            )
        for proxy in self.proxies.values():
            answer = answer.replace(
                HOST.encode() + struct.pack(">i", -proxy.port), HOST.encode() + struct.pack(">i", proxy.port)
            )
        return answer

    @property
    def open_links(self) -> int:
        """How many connections there are."""
        return sum(len(proxy._links) for proxy in self.proxies.values())

    def cut(self) -> int:
        """Every connection there is now; how many there were."""
        return sum(proxy.cut() for proxy in self.proxies.values())

    def move(self, broker: int) -> None:
        """The broker has another address from now on; nobody answers at the old one."""
        proxy = self.proxies[broker]
        proxy.close()
        proxy.port = 0
        proxy.open()

    def close(self) -> None:
        for proxy in self.proxies.values():
            proxy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
