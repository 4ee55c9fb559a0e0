# SPDX-License-Identifier: Apache-2.0
"""A real sender in front of a cluster in memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from logagent.backoff import Backoff
from logagent.pipeline.batch import Segment
from logagent.pipeline.outlet import Route
from logagent.senders import directory, graveyard, leaders, native_sender, partition, producer
from logagent.senders.native_sender import NativeSender
from logagent.senders.notebook import Notebook
from logagent.senders.partition import Partition
from logagent.senders.settings import SenderSettings
from logagent.spawn import Spawner
from logagent.state.intents import SegmentNote
from logagent.state.journal import Journal
from tests.unit.pipeline.sources import Source
from tests.unit.senders.twins import FakeCluster
from tests.unit.sources.twins import Told, until


class Rig:
    """The sender, its cluster, and a clock that can be put forward."""

    def __init__(self, cluster: FakeCluster, **settings: Any) -> None:
        self.cluster = cluster
        self.told = Told()
        self.failures: list[tuple[str, BaseException]] = []
        self.skipped_s = 0.0
        chosen = {
            "thread_num": 2,
            "linger_s": 0.001,
            "batch_bytes": 1_000_000,
            "partitioner": "file",
            "budget_bytes": 10_000_000,
        } | settings
        self.dead_letter: Path = chosen["dead_letter"]
        work_turn = chosen.pop("work_turn", nullcontext)
        self.journal: Journal | None = chosen.pop("journal", None)
        self.delivered: list[SegmentNote] = []
        self.unknown: list[SegmentNote] = []
        self.rows: dict[bytes, bytes] = {}
        notebook = None
        if self.journal is not None:
            notebook = Notebook(self.journal, self.rows.__setitem__, self.told)  # type: ignore[arg-type]
        self.sender = NativeSender(
            SenderSettings(**chosen),  # type: ignore[arg-type]
            cluster,  # type: ignore[arg-type]
            spawner=Spawner(lambda name, error, _: self.failures.append((name, error))),
            events=self.told,  # type: ignore[arg-type]
            clock=self.clock,
            wall=lambda: 1_700_000_000.0 + self.skipped_s,
            work_turn=work_turn,
            notebook=notebook,
            on_delivered=self.delivered.append,
            on_unknown=self.unknown.append,
        )
        self.sender.start()

    def clock(self) -> float:
        return time.monotonic() + self.skipped_s

    def skip(self, seconds: float) -> None:
        self.skipped_s += seconds

    def partition(self, number: int = 0, topic: str = "logs") -> Partition:
        return self.sender._lanes.all[topic, number].partition

    def offer(self, source: Source, *lines: bytes, route: Route | None = None) -> Segment | None:
        """Put lines as a tailer does: only when there is room; None when there is not."""
        route = route or Route("logs", 0)
        if not self.sender.has_room(route):
            return None
        segment = Segment(
            source,
            source.acks.end_offset,
            source.acks.end_offset + sum(map(len, lines)) + len(lines),
            lines,
        )
        self.sender.put(route, segment)
        return segment

    def put(self, source: Source, *lines: bytes, route: Route | None = None) -> Segment:
        """Wait for room and put."""
        route = route or Route("logs", 0)
        assert self.sender.wait_room(route, 3.0) == ""
        segment = self.offer(source, *lines, route=route)
        assert segment is not None
        return segment

    def until_acked(self, *sources: Source) -> None:
        until(lambda: not any(source.acks.pending for source in sources), "acknowledged")


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs with short pauses; in the end they are stopped, and no greenlet may have failed."""
    short = Backoff(first_s=0.002, limit_s=0.01)
    for module, name in [
        (partition, "RETRY"),
        (partition, "PARK"),
        (directory, "AGAIN"),
        (leaders, "PROBE"),
        (producer, "AGAIN"),
        (graveyard, "AGAIN"),
    ]:
        monkeypatch.setattr(module, name, short)
    monkeypatch.setattr(directory, "BETWEEN_S", 0.001)
    monkeypatch.setattr(native_sender, "STALL_CHECK_S", 0.005)
    made: list[Rig] = []

    def make(cluster: FakeCluster | None = None, **settings: Any) -> Rig:
        made.append(
            Rig(cluster or FakeCluster(), **{"dead_letter": tmp_path / "dead-letter.jsonl", **settings})
        )
        return made[-1]

    yield make
    for rig in made:
        rig.sender.stop()
    assert [failure for rig in made for failure in rig.failures] == []
    assert [rig.cluster.open_connections for rig in made if rig.cluster.open_connections] == []


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()
