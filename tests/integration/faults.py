# SPDX-License-Identifier: Apache-2.0
"""What can befall a cluster and the network before it, one function each, under the load of a stage."""

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from confluent_kafka import Message, Producer

from tests.integration.proofs import MIB, put_lines, sentences
from tests.support.agent import AgentProcess
from tests.support.kafka_cluster import KafkaCluster
from tests.support.proxy import Network, Ragged, Silent
from tests.support.waiting import wait_until
from tests.support.writer import Habits, Writer

LABELS = tuple(f"f{number}" for number in range(12))  # a service with a file each; they meet in 6 partitions
LINES_PER_S = 2_000
HABITS = Habits(
    rate_lines_per_s=LINES_PER_S, size_bytes=150, burst_lines=3, torn=True, rotate_every_lines=1_000
)
MEMORY_LIMIT_BYTES = 128 * MIB
LEADER_MOVED_S = 2.0  # until lines flow again after Metadata names the new leader
SLACK_S = 0.5  # of a busy machine that looks at both once in a while
PROBE_S = 3.0  # until the first acknowledgement after somebody else got one


@dataclass
class Stage:
    """An agent under load before a cluster; ``long`` for the long form of a fault.

    ``mixed``: the agent is killed all the while, so that nothing of its counts can be waited for.
    """

    cluster: KafkaCluster
    network: Network
    shipper: AgentProcess
    load: Writer
    topic: str
    other: Path  # a log for another topic, empty so far
    dice: random.Random
    long: bool = False
    mixed: bool = False
    events: list[str] = field(default_factory=list)  # what happened, for people to read

    def length_s(self, short_s: float, long_s: float) -> float:
        return long_s if self.long else short_s

    def note(self, event: str) -> None:
        self.events.append(event)

    def acked(self) -> dict[str, float]:
        """Acknowledged lines by label."""
        found = self.shipper.metrics()
        return {label: found.get(_acked_name(label), 0.0) for label in LABELS}

    def wait_flow(
        self,
        timeout_s: float,
        what: str,
        labels: Collection[str] = LABELS,
        since: dict[str, float] | None = None,
    ) -> float:
        """Until each of these files has more acknowledged lines than before; how long that took, in seconds."""
        if self.mixed:
            return 0.0
        begun_s = time.monotonic()
        before = since or self.acked()

        def flows() -> bool:
            now = self.acked()
            return all(now[label] > before[label] for label in labels)

        self.shipper.wait_for(flows, timeout_s, f"lines of {len(labels)} files flow again after {what}")
        return time.monotonic() - begun_s

    def wait_led(self, without: int, timeout_s: float = 30) -> None:
        """Until somebody else says that every partition has a leader, and not this node."""
        other = next(number for number in self.cluster.nodes if number != without)

        def led() -> bool:
            leaders = self.cluster.leaders(self.topic, ask=other)
            return bool(leaders) and not {-1, without} & set(leaders.values())

        wait_until(led, timeout_s, f"others lead than node {without}", interval_s=0.02)

    def leader(self) -> int:
        return self.cluster.leaders(self.topic)[self.dice.randrange(6)]


def _acked_name(label: str) -> str:
    return f'logagent_lines_acked_total{{service="{label}"}}'


def leader_killed(stage: Stage) -> None:
    """Kill -9 of a leader, and its restart."""
    number = stage.leader()
    stage.cluster.nodes[number].kill()
    stage.wait_led(number)
    took_s = stage.wait_flow(20, "a leader was killed")
    stage.note(f"flow {took_s:.2f} s after the new leaders were named")
    assert took_s <= LEADER_MOVED_S + SLACK_S
    stage.cluster.heal()
    stage.cluster.wait_in_sync(stage.topic)


def leader_frozen(stage: Stage) -> None:
    """SIGSTOP: its connections stay open and say nothing."""
    number = stage.leader()
    begun_s = time.monotonic()
    stage.cluster.nodes[number].freeze()
    stage.wait_led(number)
    named_s = time.monotonic() - begun_s
    took_s = stage.wait_flow(20, "a leader was frozen")
    stage.note(f"new leaders after {named_s:.2f} s, flow {took_s:.2f} s later")
    time.sleep(max(0.0, stage.length_s(0, 20) - (time.monotonic() - begun_s)))
    stage.cluster.heal()
    stage.cluster.wait_in_sync(stage.topic)


def rolling_restart(stage: Stage) -> None:
    """In order, one node after the other."""
    for node in stage.cluster.nodes.values():
        node.restart()
        stage.cluster.wait_ready()
        stage.cluster.wait_in_sync(stage.topic)
    took_s = stage.wait_flow(20, "a rolling restart")
    stage.note(f"three restarts, flow {took_s:.2f} s after the last one")


def all_down(stage: Stage) -> None:
    """Kill -9 of everybody, for as long as one likes."""
    stage.cluster.kill_all()
    _outage(stage, stage.length_s(5, 90))


def two_down(stage: Stage) -> None:
    """The one that is left may not take anything: two replicas must be in sync."""
    for number in stage.dice.sample(sorted(stage.cluster.nodes), 2):
        stage.cluster.nodes[number].kill()
    _outage(stage, stage.length_s(5, 30))


def _outage(stage: Stage, seconds: float) -> None:
    time.sleep(seconds)  # the outage itself
    stage.cluster.heal()
    if stage.mixed:
        return
    with _Probe(stage) as probe:
        wait_until(lambda: probe.first_s, 60, "an acknowledgement for somebody else", interval_s=0.02)
        took_s = stage.wait_flow(20, "an outage", since=probe.acked)
    late_s = time.monotonic() - probe.first_s
    stage.note(f"down for {seconds:g} s, flow {took_s:.2f} s after a probe had its acknowledgements")
    assert late_s <= PROBE_S + SLACK_S
    assert stage.shipper.peak_rss_bytes() <= MEMORY_LIMIT_BYTES


class _Probe:
    """An independent producer with acks=all: when did every partition take something again?"""

    def __init__(self, stage: Stage) -> None:
        self.first_s = 0.0
        self.acked = stage.acked()
        self._stage = stage
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        settings = {"bootstrap.servers": self._stage.cluster.address, "acks": "all", "log_level": 0}
        while not self._over.is_set():
            done: set[int] = set()
            producer = Producer(settings | {"message.timeout.ms": 3000, "retry.backoff.ms": 20})

            def told(error: object, message: Message, done: set[int] = done) -> None:
                if error is None:
                    done.add(message.partition() or 0)

            for number in range(6):
                producer.produce(PROBE_TOPIC, b"probe", partition=number, on_delivery=told)
            producer.flush(4)
            if len(done) == 6:
                self.first_s = time.monotonic()
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


PROBE_TOPIC = "probe"


def preferred_election(stage: Stage) -> None:
    """A restarted node leads nothing; then the administrator gives it back what was its own."""
    preferred = stage.cluster.preferred(stage.topic)
    number = preferred[stage.dice.randrange(6)]
    stage.cluster.nodes[number].restart()
    stage.cluster.wait_ready()
    stage.cluster.wait_in_sync(stage.topic)
    wait_until(
        lambda: number not in set(stage.cluster.leaders(stage.topic).values()),
        20,
        f"node {number} leads nothing",
    )
    before = stage.cluster.leaders(stage.topic)
    stage.cluster.elect_preferred(stage.topic, range(6))
    wait_until(lambda: stage.cluster.leaders(stage.topic) == preferred, 20, "the preferred leaders lead")
    took_s = stage.wait_flow(20, "an election")
    moved = sum(before[one] != leader for one, leader in preferred.items())
    stage.note(f"{moved} leaders moved, flow {took_s:.2f} s later")
    assert moved
    assert took_s <= LEADER_MOVED_S + SLACK_S


def partitions_added(stage: Stage) -> None:
    """From 6 to 12, while lines flow."""
    stage.cluster.add_partitions(stage.topic, 12)
    took_s = stage.wait_flow(20, "new partitions")
    stage.note(f"12 partitions, flow within {took_s:.2f} s")
    time.sleep(stage.length_s(1, 5))  # for rotated files to find their places


def silent_broker(stage: Stage) -> None:
    """One broker accepts connections and requests, and never answers."""
    number = stage.leader()
    silence = Silent([stage.cluster.nodes[number].port])
    with stage.network.ruled(silence):
        time.sleep(stage.length_s(10, 40))  # the silence itself
    silence.end()
    took_s = stage.wait_flow(20, "a silent broker")
    stage.note(f"{silence.caught} requests without an answer, flow {took_s:.2f} s after it")
    assert silence.caught


def ragged_network(stage: Stage) -> None:
    """Connections are cut and delayed at random, also in the middle of an answer."""
    ragged = Ragged(stage.dice)
    with stage.network.ruled(ragged):
        time.sleep(stage.length_s(8, 60))  # the bad weather itself
        wait_until(lambda: {"half answer", "cut answer"} <= set(ragged.did), 60, "an answer was cut")
    took_s = stage.wait_flow(20, "a ragged network")
    stage.note(f"{dict(ragged.did)}, flow {took_s:.2f} s after it")


def connections_cut(stage: Stage) -> None:
    """All of them, again and again."""
    cuts = 0
    for _ in range(int(stage.length_s(5, 40))):
        wait_until(lambda: stage.network.open_links, 60, "there is a connection")
        cuts += stage.network.cut()
        time.sleep(stage.dice.uniform(0.1, 1))  # not a wait for anything
    took_s = stage.wait_flow(20, "cut connections")
    stage.note(f"{cuts} connections cut, flow {took_s:.2f} s after it")
    assert cuts


def address_moved(stage: Stage) -> None:
    """Each broker in turn is found at another address from one moment to the next."""
    took: list[float] = []
    # An agent that starts anew knows only what is in its INI.
    for port in stage.cluster.ports[stage.mixed :]:
        stage.network.move(port)
        took.append(stage.wait_flow(20, "a broker moved"))
    stage.note(f"flow {', '.join(f'{one:.2f}' for one in took)} s after each move")


def topic_denied(stage: Stage) -> None:
    """Nobody may write it for a while: positions stay, nothing is put aside, health says why."""
    stage.cluster.deny(stage.topic, "WRITE")
    stage.shipper.wait_for(
        lambda: stage.topic in stage.shipper.http("/healthz")[1], 30, "/healthz names the topic"
    )
    before: dict[str, float] = {}

    def still() -> bool:
        nonlocal before
        earlier, before = before, stage.acked()
        return earlier == before

    wait_until(still, 20, "every broker knows that it is denied", interval_s=1)
    time.sleep(stage.length_s(3, 60))  # it stays so
    put_lines(stage.other, "other", 100)
    stage.shipper.wait_for(
        lambda: stage.shipper.metrics().get(_acked_name("other")) == 100, 5, "other topics are not affected"
    )
    assert stage.acked() == before, "nothing was acknowledged while nobody could write"
    assert not stage.shipper.metric("logagent_dead_letter_records_total")
    stage.cluster.allow_all(stage.topic)
    took_s = stage.wait_flow(20, "it was allowed again")
    stage.note(f"denied, told, flow {took_s:.2f} s after it was allowed again")
    assert sentences(stage.shipper, "ERROR", stage.topic, "takes nothing")


Fault = Callable[[Stage], None]
EXACT: tuple[Fault, ...] = (
    leader_killed,
    leader_frozen,
    rolling_restart,
    all_down,
    two_down,
    preferred_election,
    partitions_added,
    silent_broker,
    ragged_network,
    connections_cut,
    address_moved,
    topic_denied,
)
"""Those after which every line is there exactly once. A topic that is deleted takes its lines with it."""

MIXED: tuple[Fault, ...] = (
    leader_killed,
    leader_frozen,
    two_down,
    preferred_election,
    silent_broker,
    ragged_network,
    connections_cut,
    address_moved,
)
"""Those that go together with a killed agent, in their short form."""
