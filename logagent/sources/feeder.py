# SPDX-License-Identifier: Apache-2.0
"""Sees to it that files are read: those with a little in passing, those with a backlog by a greenlet each."""

import os
from collections import deque
from collections.abc import Iterable

import gevent
from gevent.event import Event

from logagent.clock import MonotonicClock, monotonic
from logagent.sources.tailed_file import TailedFile
from logagent.sources.tailer import Tailer
from logagent.spawn import Spawner

ROUND_S = 0.005
"""Pause between rounds: what a busy writer appends within it is read at once, and costs one read."""

READS_PER_S = 2_500
"""So many small reads a second are enough: the more files are written all the time, the more each one gathers."""

MAX_GATHER_S = 0.4
"""But no file gathers for longer than this."""

LOOK_SLICE = 200


class Feeder:
    """A thousand files with a line now and then are read in rounds by one greenlet, which costs no switch and no stack
    per file. A file that has more than one read holds, or has to wait for something, becomes active: it gets a
    greenlet until it is idle again.

    Time is cut into periods. A file is read at once when it is written for the first time in a period; what else is
    written to it is gathered until the next one begins. A period is as long as its reads may take at `READS_PER_S`:
    some milliseconds with a few files.
    """

    def __init__(self, tailer: Tailer, spawner: Spawner, clock: MonotonicClock = monotonic) -> None:
        self._tailer = tailer
        self._spawner = spawner
        self._clock = clock
        self._due: dict[TailedFile, None] = {}
        self._gathering: dict[TailedFile, None] = {}
        self._read: set[TailedFile] = set()
        """In this period."""

        self._period_s = clock()
        self._wake = Event()
        tailer.deadlines.on_sooner = self._wake.set
        self._stopped = False

    def wake(self, file: TailedFile) -> None:
        """There may be something to read, or to be done, for the file: now."""
        file.dirty = True
        if not (file.tailing or file.closed or file.retired or self._stopped):
            self._due[file] = None
            self._wake.set()

    def written(self, file: TailedFile) -> None:
        """The file was written to."""
        if file not in self._read:
            self.wake(file)
            return
        file.dirty = True
        if not (file.tailing or file.closed or file.retired or self._stopped):
            if not self._gathering:
                self._wake.set()  # the greenlet waits for something, and not so long any more
            self._gathering[file] = None

    def run(self) -> None:
        """The greenlet of the rounds."""
        while True:
            self._wake.wait(timeout=self._wait_s())
            self._wake.clear()
            for file in self._tailer.deadlines.passed():
                self.wake(file)
            files = self._next_round()
            if not files:
                continue
            try:
                self._tailer.sip(files, self._activate)
            finally:
                if files:  # an unforeseen failure left them over
                    self._due |= dict.fromkeys(files)
                    self._wake.set()
            gevent.sleep(ROUND_S)

    def look(self, files: Iterable[TailedFile]) -> None:
        """Wake files that have grown or shrunk without anybody telling."""
        for number, file in enumerate(list(files), 1):
            if not (file.tailing or file.closed) and _end(file) != file.read_offset:
                self.wake(file)
            if number % LOOK_SLICE == 0:
                gevent.sleep(1e-6)

    def release(self, file: TailedFile) -> None:
        """Read the file no more; waits until nobody does."""
        self._due.pop(file, None)
        self._gathering.pop(file, None)
        self._read.discard(file)
        if file.greenlet is not None and file.greenlet is not gevent.getcurrent():
            file.greenlet.kill()

    def stop(self, files: Iterable[TailedFile]) -> None:
        """Read nothing more."""
        self._stopped = True
        self._due.clear()
        self._gathering.clear()
        gevent.killall([file.greenlet for file in files if file.greenlet is not None])

    def _activate(self, file: TailedFile) -> None:
        """The file gets a greenlet of its own."""
        if not (file.tailing or file.closed or file.retired or self._stopped):
            file.tailing = True
            file.greenlet = self._spawner.once(f"tail {os.fsdecode(file.path)}", self._tailer.tail, file)

    def _wait_s(self) -> float | None:
        """Until when nothing has to be done; None: until something happens."""
        wait_s = self._tailer.deadlines.wait_s()
        if not self._gathering:
            return wait_s
        gather_s = max(0.0, self._period_end_s - self._clock())
        return gather_s if wait_s is None else min(gather_s, wait_s)

    @property
    def _period_end_s(self) -> float:
        return self._period_s + min(MAX_GATHER_S, max(ROUND_S, len(self._read) / READS_PER_S))

    def _next_round(self) -> deque[TailedFile]:
        """What is to be read now."""
        now_s = self._clock()
        if now_s >= self._period_end_s:
            self._period_s = now_s
            self._read.clear()
            self._due |= self._gathering
            self._gathering.clear()
        files, self._due = self._due, {}
        self._read.update(files)
        return deque(files)


def _end(file: TailedFile) -> int:
    """How long the file is, for a quarter of what a whole status costs; -1 if it does not say."""
    try:
        return os.lseek(file.descriptor, 0, os.SEEK_END)
    except OSError:
        return -1  # whoever reads it tells
