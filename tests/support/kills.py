# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the agent at random moments, and at moments that a proxy chose; and what the next start found."""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.agent import AgentProcess
from tests.support.kafka_cluster import KafkaCluster
from tests.support.proxy import Network, Trap

AIMED = ("answer", "request", "late")
_RECOVERED = re.compile(r'^logagent_intents_recovered_total\{answer="(\w+)"\}$')
_ACKED = "logagent_lines_acked_total"
_FOUND = "was on its way when the agent ended last time"
_FLOW_S = 60.0


def answers_in(metrics: Mapping[str, float]) -> Counter[str]:
    """What one process found out about batches in doubt, by answer."""
    found = {one[1]: int(value) for name, value in metrics.items() if (one := _RECOVERED.match(name))}
    return +Counter(found)


@dataclass
class Seen:
    """Proof that it happened: by kind of kill, and by what a start found out about open intents."""

    kills: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)  # requests or answers that a trap held at a kill
    answers: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)  # lines of which a promise could not be kept
    left_open: int = 0  # kills after which the next start found an open intent
    broker_kills: int = 0

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    def __str__(self) -> str:
        parts = [f"{self.total} kills {dict(self.kills)}", f"{self.broker_kills} of brokers"]
        parts += [f"held {dict(self.held)}", f"{self.left_open} kills left open intents"]
        return "; ".join([*parts, f"answers {dict(self.answers)}", f"not kept {dict(self.other)}"])


class Kills:
    """Kills and starts one agent whose brokers stand behind ``network``."""

    def __init__(self, shipper: AgentProcess, network: Network, dice: random.Random) -> None:
        self.seen = Seen()
        self._shipper, self._network, self._dice = shipper, network, dice
        self._found = 0
        self._life: dict[str, float] = {}  # the metrics of this life of the agent, as last seen

    def wait_flow(self) -> None:
        """Lines are acknowledged in this life of the agent."""

        def flows() -> bool:
            self._look()
            return sum(value for name, value in self._life.items() if name.split("{")[0] == _ACKED) > 0

        self._shipper.wait_for(flows, _FLOW_S, "lines flow again")

    def strike(self, kind: str) -> None:
        """One kill and one start: "early" in the midst of starting, "random", or one of the aimed ones."""
        self.seen.kills[kind] += 1
        if kind in AIMED:
            self._aimed(kind)
            return
        if kind == "random":
            self.wait_flow()
        time.sleep(self._dice.uniform(0, 0.9))  # the random moment, not a wait for anything
        self._kill_and_start()

    def finish(self) -> None:
        """After the last one, before the agent is stopped: the counts of its last life."""
        self._look()
        self._count()

    def _aimed(self, kind: str) -> None:
        self.wait_flow()
        trap = Trap("answer" if kind == "answer" else "request")
        with self._network.ruled(trap):
            assert trap.caught.wait(20), f"nothing was caught\n{self._shipper.failure_report()}"
            time.sleep(self._dice.uniform(0, 0.05))
            self._look()
            if kind != "late":
                self._shipper.kill9()
        if kind == "late":
            # What is still on its way arrives at some moment after the restart.
            threading.Timer(self._dice.uniform(0, 2), trap.release).start()
            self._shipper.kill9()
        else:
            trap.drop()
        self._start()
        self.seen.held[kind] += trap.held

    def _kill_and_start(self) -> None:
        self._look()
        self._shipper.kill9()
        self._start()

    def _start(self) -> None:
        self._count()
        self._shipper.start()

    def _look(self) -> None:
        self._life = self._shipper.metrics() or self._life

    def _count(self) -> None:
        life, self._life = self._life, {}
        found_open = self._shipper.said().count(_FOUND)
        found_now, self._found = found_open - self._found, found_open
        answers = answers_in(life)
        self.seen.answers += answers
        for name, value in life.items():
            if name.startswith(("logagent_duplicates_possible_total", "logagent_unknown_bytes_total")):
                self.seen.other[name.removeprefix("logagent_")] += int(value)
        self.seen.other = +self.seen.other
        self.seen.left_open += bool(found_now and answers.total() > answers["settled"])


class BrokerKills:
    """Kills one broker of a cluster together with the agent; it comes back a little later."""

    def __init__(self, cluster: KafkaCluster, topic: str, dice: random.Random) -> None:
        self._cluster, self._topic, self._dice = cluster, topic, dice
        self._timer: threading.Timer | None = None
        self.count = 0

    def strike(self) -> None:
        """A leader, when the cluster is whole; it is up again within seconds."""
        self.heal()
        node = self._cluster.nodes[self._dice.choice(list(self._cluster.leaders(self._topic).values()))]
        node.kill()
        self.count += 1
        self._timer = threading.Timer(self._dice.uniform(0, 5), node.launch)
        self._timer.start()

    def heal(self) -> None:
        """Until every replica is in sync."""
        if self._timer is not None:
            self._timer.join()
            self._timer = None
        self._cluster.wait_ready()
        self._cluster.wait_in_sync(self._topic)
