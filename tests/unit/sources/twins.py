# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what surrounds the files: a sender that remembers lines, events that remember facts, a whole bench."""

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gevent
from gevent.event import Event

from logagent.config.services import Entry
from logagent.kafka.record_batch import encode_header_block
from logagent.ops.events import Events
from logagent.pacing.limiter import Limiter
from logagent.pipeline.batch import Segment
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.outlet import Route
from logagent.sources.collector import Collector
from logagent.sources.collector_settings import CollectorSettings
from logagent.sources.feeder import Feeder
from logagent.sources.framing import Oversize
from logagent.sources.tailed_file import ServiceCounts, TailedFile
from logagent.sources.tailer import Tailer, TailSettings
from logagent.sources.turnstile import Turnstile
from logagent.spawn import Spawner
from logagent.state.changes import Changes, Mark, Position
from logagent.state.database import Database
from logagent.state.positions import PositionBook

PATIENCE_S = 5.0


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Let greenlets run until the condition holds; AssertionError if it does not come true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, (
            f"not within {PATIENCE_S:g} s: {what or inspect.getsource(condition)}"
        )
        gevent.sleep(0.001)


def settle(passes: int = 30) -> None:
    """Let greenlets run for a while, to see that something does not happen."""
    for _ in range(passes):
        gevent.sleep(0.001)


class Told:
    """Takes every event that `Events` has, with just its arguments, and remembers it."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        signature = inspect.signature(getattr(Events, name))

        def tell(**fields: Any) -> None:
            signature.bind(self, **fields)
            self.facts.append((name, fields))

        return tell

    def of(self, name: str) -> list[dict[str, Any]]:
        """The arguments of every telling of one fact."""
        return [fields for told, fields in self.facts if told == name]


class MemoryOutlet:
    """`pipeline.outlet.Outlet`: acknowledges at once, or when told to."""

    def __init__(self) -> None:
        self.holding = False
        self.reason = ""
        self._puts: list[tuple[Route, Segment]] = []
        self.open: list[Segment] = []
        self.buried: list[tuple[int, bytes, int]] = []
        """(offset, the beginning, length) of each line that went to the dead-letter file."""

        self.closed_routes: list[Route] = []
        """For these there is no room."""

        self._room = Event()

    # -- what tests say ---------------------------------------------------------------------------------------------

    def block(self, reason: str = "no room") -> None:
        self.reason = reason
        self._room.clear()

    def unblock(self) -> None:
        self.reason = ""
        self._room.set()

    def acknowledge(self, segments: Iterable[Segment] | None = None) -> None:
        """Everything, or just these."""
        for segment in list(self.open if segments is None else segments):
            self.open.remove(segment)
            segment.done = True
            segment.source.acks.advance()
            segment.source.acked(len(segment.values))

    def take_back(self, count: int) -> None:
        """Give up the newest segments that may be given up, as if their partition failed."""
        for segment in self.open[: -count - 1 : -1]:
            if segment.source.readable_again and segment.source.acks.take_back(segment):
                self.open.remove(segment)
                self._puts = [put for put in self._puts if put[1] is not segment]
                segment.source.rewind(segment.start_offset)

    def acknowledged(self) -> list[bytes]:
        """Lines that have arrived for certain; of the others a crash may have lost any."""
        return [value for _, segment in self._puts if segment.done for value in segment.values]

    def behind_positions(self) -> list[bytes]:
        """Lines that a next agent would read again: something before them is not acknowledged."""
        return [
            value
            for _, segment in self._puts
            if segment.start_offset >= segment.source.acks.acked_offset
            for value in segment.values
        ]

    @property
    def delivered(self) -> list[tuple[str, bytes, int, bytes]]:
        """(service, label, offset, value) of every line that was put and not given up, in that order."""
        return [
            (segment.source.service, segment.source.label, start, value)
            for _, segment in self._puts
            for start, value in zip(_line_starts(segment), segment.values, strict=True)
        ]

    @property
    def topics(self) -> list[str]:
        """The topic of each line."""
        return [route.topic for route, segment in self._puts for _ in segment.values]

    def lines(self, label: Any = None, service: str | None = None) -> list[bytes]:
        """The values that were put, of one file or of all."""
        wanted = None if label is None else bytes(label)
        return [
            value
            for of_service, of_label, _, value in self.delivered
            if wanted in (None, of_label) and service in (None, of_service)
        ]

    # -- Outlet -----------------------------------------------------------------------------------------------------

    def wait_room(self, route: Route, timeout_s: float) -> str:
        if route in self.closed_routes:
            gevent.sleep(0.001)
        elif self.reason:
            self._room.wait(timeout_s)
        return self.reason or ("no room" if route in self.closed_routes else "")

    def has_room(self, route: Route) -> bool:
        return not self.reason and route not in self.closed_routes

    def put(self, route: Route, segment: Segment) -> None:
        assert not self.reason, "put without room"
        segment.source.acks.add(segment)
        self._puts.append((route, segment))
        if segment.done:
            segment.source.acked(0)
            return
        self.open.append(segment)
        if not self.holding:
            self.acknowledge()

    def bury(self, route: Route, segment: Segment, reason: str, line_bytes: int) -> None:
        segment.source.acks.add(segment)
        self.buried.append((segment.line_start(0), segment.values[0], line_bytes))
        self.open.append(segment)
        if not self.holding:
            self.acknowledge()


def _line_starts(segment: Segment) -> Sequence[int]:
    return Chunk(segment.start_offset, segment.end_offset, segment.values, segment.starts).line_starts()


class Bench:
    """The real collector and tailer between real files and a `MemoryOutlet`."""

    def __init__(
        self,
        positions: Iterable[Position] = (),
        *,
        start_at: str = "beginning",
        rotate_wait_s: float = 10.0,
        max_line_bytes: int = 1_000_000,
        oversize: Oversize = "cut",
        rescan_s: float = 1000.0,
        refusal: Callable[[str], str | None] = lambda _path: None,
        outlet: MemoryOutlet | None = None,
        database: Database | None = None,
    ) -> None:
        self.skipped_s = 0.0
        self.told = Told()
        self.failures: list[tuple[str, BaseException]] = []
        self.outlet = outlet or MemoryOutlet()
        self.limiters: dict[str, Limiter] = {}
        self.counts: dict[str, ServiceCounts] = {}
        self.saved: dict[tuple[str, str], Position] = {p.id: p for p in positions}
        self.marks: dict[tuple[str, str], list[Mark]] = {}
        spawner = Spawner(lambda name, error, _: self.failures.append((name, error)))
        self.database = database
        self.book = PositionBook(
            list(positions) if database is None else database.load_positions(),
            self._save if database is None else database.save,
            self.told,  # type: ignore[arg-type]
            load_marks=self._load_marks if database is None else database.load_marks,
        )
        self.tailer = Tailer(
            TailSettings(max_line_bytes, rotate_wait_s, oversize),
            self.outlet,
            Turnstile(time.monotonic),
            limiter_of=lambda service: self.limiters.setdefault(service, Limiter(None)),
            on_truncated=lambda file, size_bytes: self.collector.truncated(file, size_bytes),
            may_read=lambda file: self.collector.may_read(file),
            on_finished=lambda file: self.collector.finished(file),
            events=self.told,  # type: ignore[arg-type]
            clock=self.clock,
            wall=time.time,
        )
        self.collector = Collector(
            CollectorSettings("host", start_at, rescan_s, refusal),
            self.book,
            Feeder(self.tailer, spawner),
            counts_of=lambda service: self.counts.setdefault(service, ServiceCounts()),
            encode_headers=encode_header_block,
            spawner=spawner,
            events=self.told,  # type: ignore[arg-type]
            clock=self.clock,
        )
        self.collector.start()
        self.running = True

    def clock(self) -> float:
        return time.monotonic() + self.skipped_s

    def skip(self, seconds: float) -> None:
        """Time passes for everything that asks for it."""
        self.skipped_s += seconds

    def _load_marks(self, service: str, identity: str) -> list[Mark]:
        return self.marks.get((service, identity), [])

    def _save(self, changes: Changes) -> None:
        for file_id in changes.forgotten:
            self.saved.pop(file_id, None)
            self.marks.pop(file_id, None)
        for file_id in changes.unmarked:
            self.marks.pop(file_id, None)
        self.saved |= changes.positions
        for file_id, marks in changes.marks.items():
            self.marks.setdefault(file_id, []).extend(marks)

    def read(self, log_path: Any, service: str = "web", **fields: Any) -> Entry:
        """Start an entry."""
        entry = Entry(service, str(log_path), fields.pop("topic", "logs"), **fields)
        self.collector.start_entry(entry)
        return entry

    def until_lines(self, *expected: bytes, label: Any = None, service: str | None = None) -> None:
        """Wait for as many lines; they are just these, in this order."""
        until(
            lambda: len(self.outlet.lines(label, service)) >= len(expected),
            f"{expected} came, only {self.outlet.lines(label, service)} did",
        )
        assert self.outlet.lines(label, service) == list(expected)

    def file(self, label: Any, service: str = "web") -> TailedFile:
        """The newest file of a label."""
        return [f for f in self.collector.files.values() if (f.service, f.label) == (service, bytes(label))][
            -1
        ]

    def until_idle(self) -> None:
        """Everything that is there has been read."""
        until(
            lambda: (
                not any(f.tailing or f.dirty for f in self.collector.files.values() if f.left_path_s is None)
            ),
            "idle",
        )

    def stop(self) -> list[Position]:
        """As the agent stops; what is on disk then."""
        if self.running:
            self.collector.stop()
            self.book.save()
            self.kill()
        return list(self.saved.values())

    def kill(self) -> None:
        """As the agent ends when it is killed: what was not saved is not."""
        self.running = False
        self.collector.stop()
        for file in list(self.collector.files.values()):
            file.close()
