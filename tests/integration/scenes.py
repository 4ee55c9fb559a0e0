# SPDX-License-Identifier: Apache-2.0
"""An agent that is killed while a batch is on its way, at the moment that the test wants, and what came of it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.integration.proofs import put_lines, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.checker import Report, check
from tests.support.consumer import consume
from tests.support.kafka import KafkaNode
from tests.support.kafka_cluster import KafkaCluster
from tests.support.kills import answers_in
from tests.support.lines import Written
from tests.support.proxy import Network, Trap
from tests.support.waiting import wait_until

DUPLICATES = "logagent_duplicates_possible_total"
UNKNOWN = "logagent_unknown_bytes_total"
LOST_BY_CLUSTER = "logagent_broker_lost_acknowledged_total"
_NOT_KEPT = (DUPLICATES, UNKNOWN, LOST_BY_CLUSTER)
_READ = "logagent_lines_read_total"


class Scene:
    """One agent, its broker behind a network, and the lines that were written.

    A service reads PLACE/SERVICE/*.log into the one partition of its topic; a file is named after the label of its
    lines.
    """

    def __init__(
        self,
        shipper: AgentProcess,
        node: KafkaNode | KafkaCluster,
        network: Network,
        place: Path,
        topics: Mapping[str, str],
    ) -> None:
        """``topics`` by service."""
        self.shipper, self.node, self.network, self.topics = shipper, node, network, topics
        self.written: dict[str, dict[str, Written]] = {service: {} for service in topics}
        self._place = place

    @property
    def topic(self) -> str:
        """Where there is just one."""
        (topic,) = self.topics.values()
        return topic

    def path(self, label: str, service: str = "s") -> Path:
        return self._place / service / f"{label}.log"

    def write(self, path: Path, lines: int) -> int:
        """Append lines; the size of the file then."""
        label, known = path.name.partition(".")[0], self.written[path.parent.name]
        before = known.get(label)
        first = before.last + 1 if before else 0
        more = put_lines(path, label, lines, first=first)
        known[label] = Written(label, before.first if before else 0, more.last)
        return path.stat().st_size

    def settle(self, *paths: Path) -> None:
        """Everything is acknowledged, and the positions are on disk."""
        self.shipper.wait_acked()
        sizes = {bytes(path): path.stat().st_size for path in paths}
        wait_until(lambda: sizes.items() <= stored_offsets(self.shipper).items(), 10, "positions are saved")

    def kill_on_the_way(
        self, of: str, lines: Mapping[Path, int], *, late: bool = False, together: bool = False
    ) -> Trap:
        """Kill -9 while the batches with these lines are at the broker, unanswered (``of="answer"``), or not yet there.

        ``together``: lines of several files of a service shall be in one batch. ``late``: what is held may still
        arrive; the caller releases it.
        """
        first = Trap("answer")
        if together:  # lines meet behind a batch that is held up
            with self.network.ruled(first):
                for path in lines:
                    self.write(path, 1)
                assert first.caught.wait(20), self.shipper.failure_report()
                self._write_all(lines)
        trap = Trap(of)
        topics = {self.topics[path.parent.name] for path in lines}
        with self.network.ruled(trap):
            first.release()
            if not together:
                self._write_all(lines)
            wait_until(lambda: trap.holds(topics), 20, f"all was sent\n{self.shipper.failure_report()}")
            self.shipper.kill9()
        if not late:
            trap.drop()
        return trap

    def _write_all(self, lines: Mapping[Path, int]) -> None:
        before = self.shipper.metric(_READ)
        for path, count in lines.items():
            self.write(path, count)
        wanted = before + sum(lines.values())
        self.shipper.wait_for(lambda: self.shipper.metric(_READ) >= wanted, 20, "all is read")

    def start(self) -> None:
        self.shipper.start()
        self.shipper.wait_ready()

    def wait_recovered(self, count: int = 1) -> Counter[str]:
        """What was found out about open intents in this life of the agent, by answer."""
        self.shipper.wait_for(
            lambda: answers_in(self.shipper.metrics()).total() >= count, 30, "the open intents are settled"
        )
        return answers_in(self.shipper.metrics())

    def not_kept(self) -> dict[str, float]:
        """What this life of the agent says that it could not promise."""
        found = self.shipper.metrics()
        return {name: value for name, value in found.items() if name.startswith(_NOT_KEPT) and value}

    def stop(self) -> dict[str, float]:
        """In order, when everything is acknowledged; what it said that it could not promise."""
        self.shipper.wait_acked()
        said = self.not_kept()
        self.shipper.stop()
        return said

    def report(self, service: str = "s", *, missing: int = 0) -> Report:
        """What an independent reader finds in the topic of a service; ``missing``: so many will not come."""
        ledger = list(self.written[service].values())
        lines = sum(one.count for one in ledger) - missing
        topic = self.topics[service]
        records = consume(self.node.address, topic, self._place, expect=lines, quiet_s=0.3, timeout_s=30)
        return check(ledger, records, faults=1)

    def prove(self, *, min_lines: int = 1) -> None:
        """Every line exactly once, in order, and nothing said that a promise could not be kept."""
        said = self.stop()
        for service in self.topics:
            self.report(service).require_exact(min_lines=min_lines, min_faults=1)
        assert not said, str(said)
