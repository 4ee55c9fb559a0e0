# SPDX-License-Identifier: Apache-2.0
"""Agents that are killed at any moment, with lines in any state: each line arrives once, in order."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from logagent.pipeline.batch import Segment
from logagent.pipeline.render_row import RenderRow
from logagent.state.database import Database
from logagent.state.intents import IntentRecord, SegmentNote
from tests.unit.sources.test_rebuilding import note_of
from tests.unit.sources.twins import Bench, until

LABELS = 3
LINE = re.compile(rb"x\d\.log-\d+")
FORMS = (
    {},
    {"multiline_start": "[a-z]", "multiline_timeout_s": 0.01},
    {"format": "json"},
)  # fmt: skip


class World:
    """Files, what was written to them, and what Kafka has of it."""

    def __init__(self, directory: Path, random: Random, make_bench: Callable[..., Bench]) -> None:
        self.directory = directory
        self.random = random
        self.make_bench = make_bench
        self.form = random.choice(FORMS)
        self.copytruncate = random.random() < 0.5
        self.saved_once = False
        self.written: dict[str, list[bytes]] = {f"{n}.log": [] for n in range(LABELS)}
        self.arrived: dict[str, list[bytes]] = {f"{n}.log": [] for n in range(LABELS)}
        self.database: Database | None = None
        self.settled: list[SegmentNote] = []
        self.open: list[IntentRecord] = []
        self.rows: dict[bytes, RenderRow] = {}
        self.rotations = 0
        self.bench: Bench | None = None

    def write(self) -> None:
        for name, lines in self.written.items():
            if self.random.random() < 0.7:
                batch = [b"%s-%d" % (name.encode(), len(lines) + n) for n in range(self.random.randint(1, 4))]
                batch = [b"x" + line for line in batch]
                ends = [self.random.choice([b"\n", b"\n", b"\r\n", b"\n\n"]) for _ in batch]
                with (self.directory / name).open("ab") as file:
                    file.write(b"".join(line + end for line, end in zip(batch, ends, strict=True)))
                self.written[name] = lines + batch

    def rotate(self) -> None:
        name = self.random.choice(list(self.written))
        path = self.directory / name
        if self.copytruncate and not self._save():
            return  # what was emptied before any of its positions was saved is not known again in a copy
        if path.exists():
            self.rotations += 1
            other = path.with_name(f"{name}.{self.rotations}")
            if self.copytruncate:
                other.write_bytes(path.read_bytes())
                os.truncate(path, 0)
                self._until_noticed()
            else:
                path.rename(other)
                path.touch()

    def start(self) -> None:
        self.database = Database(self.directory / "state.db")
        self.bench = bench = self.make_bench(database=self.database, rotate_wait_s=1000.0)
        bench.outlet.holding = True
        recall = bench.collector.recall
        recall.settle(self.settled, self.rows)
        recall.hold(self.open, self.rows)
        bench.read(self.directory / "?.log", **self.form)
        recall.scan_over()
        built = []
        for record in self.random.sample(self.open, len(self.open)):
            made = recall.build(record, self.rows)
            assert not made.vanished
            assert len(made.reached) in (0, len(record.segments))
            built += made.segments
        for segment in built:  # what Kafka has of these it had before
            segment.done = True
            segment.source.acks.advance()
            segment.source.acked(len(segment.values))
        self.settled += [note for record in self.open for note in record.segments]
        self.open = []

    def run(self) -> None:
        """Some of what is read is acknowledged, some of that saved."""
        assert self.bench is not None
        self._until_read()
        if not self.saved_once:
            self.saved_once = self._save()
        if self.random.random() < 0.5:
            self._arrive(self.random.randint(0, 5))
            self._save()
        self._arrive(self.random.randint(0, 5))

    def _until_noticed(self) -> None:
        assert self.bench is not None
        files = self.bench.collector.files
        until(lambda: all(file.size_bytes() >= file.read_offset for file in files.values()))

    def _until_read(self) -> None:
        assert self.bench is not None
        until(lambda: self._lines(self.written) == self._lines(self.arrived) + self._on_the_way())
        self.bench.until_idle()

    def _save(self) -> bool:
        """As it happens within a second."""
        if self.bench is None or not self.bench.running:
            return False
        self._until_read()
        assert self.bench.book.save()
        self.settled.clear()
        return True

    @staticmethod
    def _lines(of: dict[str, list[bytes]]) -> int:
        return sum(map(len, of.values()))

    def _on_the_way(self) -> int:
        assert self.bench is not None
        return sum(len(LINE.findall(b" ".join(segment.values))) for segment in self.bench.outlet.open)

    def _arrive(self, count: int) -> None:
        """The oldest segments of some files are acknowledged."""
        assert self.bench is not None
        for _ in range(count):
            segment = self._oldest(self.random.choice(list(self.written)))
            if segment is not None:
                self._note(segment)
                self.settled.append(note_of(segment))
                self._take(segment)
                self.bench.outlet.acknowledge([segment])

    def _oldest(self, name: str) -> Segment | None:
        assert self.bench is not None
        mine = (one for one in self.bench.outlet.open if os.path.basename(one.source.label) == name.encode())
        return next(mine, None)

    def _note(self, segment: Segment) -> None:
        assert segment.render is not None
        self.rows[segment.render.id] = segment.render.row

    def _take(self, segment: Segment) -> None:
        self.arrived[os.path.basename(segment.source.label).decode()] += LINE.findall(
            b" ".join(segment.values)
        )

    def kill(self) -> None:
        """In flight is, per label, a batch of some of the oldest segments."""
        assert self.bench is not None
        assert self.database is not None
        for number, name in enumerate(self.written):
            notes = []
            for _ in range(self.random.randint(0, 3)):
                segment = self._oldest(name)
                if segment is None:
                    break
                self._note(segment)
                notes.append(note_of(segment))
                self._take(segment)
                self.bench.outlet.open.remove(segment)
            if notes:
                self.open.append(IntentRecord("c", "t", number, LABELS, 7, 0, 0, 1, tuple(notes)))
        self.bench.kill()
        self.database.close()


@pytest.mark.parametrize("seed", range(25))
def test_each_line_arrives_once_and_in_order(
    make_bench: Callable[..., Bench], tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    world = World(tmp_path, random, make_bench)
    for _ in range(6):
        if random.random() < 0.5:
            world.write()
        if world.bench is not None and random.random() < 0.3:
            world.rotate()  # a generation of a path that nobody ever read from is not looked for
        world.start()
        for _ in range(random.randint(1, 4)):
            world.write()
            if random.random() < 0.3:
                world.rotate()
            world.run()
        world.kill()
    world.start()
    world.run()
    while any(world._oldest(name) for name in world.written):
        world._arrive(5)

    assert world.arrived == world.written
