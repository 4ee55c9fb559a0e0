# SPDX-License-Identifier: Apache-2.0
"""Records that Kafka refuses for good go to the dead-letter file, however long that takes; only then files move on."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import gevent
from gevent.lock import BoundedSemaphore

from logagent.backoff import Backoff
from logagent.clock import WallClock
from logagent.ops.events import Events
from logagent.pipeline.batch import Segment
from logagent.senders import dead_letter
from logagent.spawn import Spawner, in_thread

AGAIN = Backoff(first_s=1.0, limit_s=30.0)
ROOM_AGAIN_S = 2.0
"""How long after a command made room in a full file a service goes on, at most."""

OWN_REFUSAL = -1
"""Stands in the dead-letter file for the number of a broker's error where no broker was asked."""


class Graveyard:
    """Writes dead letters; `failure` says why they cannot be written, empty while they can.

    When the file is full a service waits until there is room for what was refused of it, or its letters are dropped.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_done: Callable[[Sequence[Segment]], None],
        spawner: Spawner,
        events: Events,
        wall: WallClock,
        limit_bytes: int | None = None,
        when_full: Literal["block", "drop"] = "block",
    ) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._when_full = when_full
        self._on_done = on_done
        self._spawner = spawner
        self._events = events
        self._wall = wall
        # A command may have the file for a while: then one thread of the pool waits for it, not all.
        self._writing = BoundedSemaphore(1)
        self._letters: dict[str, deque[Callable[[], None]]] = {}
        self._waiting: set[str] = set()
        self.failure = ""

    def blocked(self, service: str) -> str:
        """Why nothing more of the service may be taken; empty if it may."""
        return self._full() if service in self._waiting else self.failure

    @property
    def reasons(self) -> list[str]:
        """Why refused records cannot be put aside, for health and status."""
        waiting = ", ".join(sorted(self._waiting))
        full = [f"{self._full()}; its services wait: {waiting}"] if waiting else []
        return [self.failure, *full] if self.failure else full

    def _full(self) -> str:
        return f"{self._path} has reached dead_letter_max_bytes = {self._limit_bytes}"

    def bury(self, segment: Segment, topic: str, code: int, reason: str, line_bytes: int | None) -> None:
        """Have the one record of a segment written. `line_bytes`: of which it is only the beginning."""
        service = segment.source.service
        letter = partial(self._bury, segment, topic, code, reason, line_bytes)
        waiting = self._letters.get(service)
        if waiting is not None:
            waiting.append(letter)
            return
        self._letters[service] = deque([letter])
        self._spawner.once("dead-letter", self._work, service)

    def _work(self, service: str) -> None:
        """The letters of a service, one after the other and in their order."""
        letters = self._letters[service]
        try:
            while letters:
                letters.popleft()()
        finally:
            del self._letters[service]
        if service in self._waiting:
            self._waiting.discard(service)
            self._events.dead_letter_room(service=service)

    def _bury(self, segment: Segment, topic: str, code: int, reason: str, line_bytes: int | None) -> None:
        record = dead_letter.DeadRecord(
            time_s=self._wall(),
            service=segment.source.service,
            topic=topic,
            path=segment.source.label,
            offset=segment.start_offset if segment.starts is None else segment.starts[0],
            value=segment.values[0],
            reason=reason,
            code=code,
            line_bytes=line_bytes,
            key=segment.key,
            header_block=None if segment.headers is None else segment.headers[0],
        )
        buried = self._write(record)
        if buried:
            self._events.record_dead_lettered(
                service=record.service,
                topic=topic,
                path=record.path,
                offset=record.offset,
                code=code,
                reason=reason,
            )
        else:
            self._events.record_dropped(
                service=record.service,
                topic=topic,
                path=record.path,
                offset=record.offset,
                bytes_=segment.end_offset - segment.start_offset,
                code=code,
                reason=reason,
            )
        self._on_done((segment,))

    def _write(self, record: dead_letter.DeadRecord) -> bool:
        """Return when the record is on disk, or False when there is no room and it is not to wait for it."""
        if self._written(record):
            return True
        if self._when_full == "drop":
            return False
        self._waiting.add(record.service)
        while not self._written(record):
            self._events.dead_letter_full(
                service=record.service, path=os.fsencode(self._path), limit_bytes=self._limit_bytes or 0
            )
            gevent.sleep(ROOM_AGAIN_S)
        return True

    def _written(self, record: dead_letter.DeadRecord) -> bool:
        """Whether the file had room; returns when it could be written to."""
        attempt = 0
        while True:
            try:
                written = self._append(record)
            except OSError as error:
                self.failure = f"{self._path} cannot be written: {error.strerror}"
                self._events.dead_letter_failed(path=os.fsencode(self._path), error=str(error))
                gevent.sleep(AGAIN.delay_s(attempt))
                attempt += 1
                continue
            self.failure = ""
            self._events.dead_letter_back(path=os.fsencode(self._path))
            return written

    def _append(self, record: dead_letter.DeadRecord) -> bool:
        with self._writing:
            return in_thread(dead_letter.append, self._path, record, self._limit_bytes)
