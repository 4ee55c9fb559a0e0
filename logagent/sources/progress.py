# SPDX-License-Identifier: Apache-2.0
"""Watches that files are read: one that has bytes which nobody reads, for no reason that is known, is opened again."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.sources.tailed_file import TailedFile

STALL_S = 60.0
KILL_S = 1.0
KNOWN_WAITS = frozenset({"waiting", "failing"})
"""States in which whoever reads a file has said what for; he looks again by himself."""


@dataclass(frozen=True, slots=True)
class Look:
    """A file at one time."""

    at_s: float
    scanned_offset: int
    size_bytes: int
    waits: bool


def stalled_since(before_s: float | None, before: Look | None, now: Look) -> float | None:
    """Since when nobody reads a file that could be read, if it was so since `before_s` when it was looked at before.

    None: it was read, has nothing more, or waits. Pure.
    """
    if now.waits or now.size_bytes <= now.scanned_offset:
        return None
    if before is None or before_s is None or before.scanned_offset != now.scanned_offset:
        return now.at_s
    return before_s


class Progress:
    """`files()` are all that are read; `wake` sees to it that one is read."""

    def __init__(
        self,
        files: Callable[[], list[TailedFile]],
        wake: Callable[[TailedFile], None],
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self._files = files
        self._wake = wake
        self._events = events
        self._clock = clock
        self._suspects: dict[TailedFile, tuple[float, Look]] = {}

    def look(self) -> None:
        """Called now and then; files that were not read for `STALL_S` are opened again."""
        suspects, self._suspects = self._suspects, {}
        for file in self._files():
            nothing = not file.tailing and file.seen_bytes <= file.scanned_offset
            if file.closed or file.retired or file.held or nothing:
                continue
            since_s, before = suspects.get(file, (None, None))
            now = Look(self._clock(), file.scanned_offset, file.size_bytes(), self._waits(file))
            since_s = stalled_since(since_s, before, now)
            if since_s is None:
                continue
            if now.at_s - since_s < STALL_S:
                self._suspects[file] = since_s, now
                continue
            self._events.file_stalled(
                service=file.service,
                path=file.label,
                unread_bytes=now.size_bytes - now.scanned_offset,
                stalled_s=now.at_s - since_s,
            )
            self._open_again(file)

    @staticmethod
    def _waits(file: TailedFile) -> bool:
        return file.tailing and file.state in KNOWN_WAITS

    def _open_again(self, file: TailedFile) -> None:
        reading = file.greenlet
        if reading is not None:
            reading.kill(timeout=KILL_S)
            if not reading.dead or file.closed:
                return  # a thread may still read from the descriptor
        try:
            # Not by its path: it may have no name any more, or another file has it.
            descriptor = os.open(
                f"/proc/self/fd/{file.descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError as error:
            self._events.read_failed(service=file.service, path=file.label, error=str(error))
        else:
            os.close(file.descriptor)
            file.descriptor = descriptor
        file.tailing = False
        file.read_as(file.lines)
        file.lines.advanced()
        self._wake(file)
