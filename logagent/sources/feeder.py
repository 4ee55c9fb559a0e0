# SPDX-License-Identifier: Apache-2.0
"""Sees to it that files are read: those with a little in passing, those with a backlog by a greenlet each."""

import os
from collections.abc import Iterable

import gevent
from gevent.event import Event

from logagent.sources.tailed_file import TailedFile
from logagent.sources.tailer import Tailer
from logagent.spawn import Spawner

ROUND_S = 0.005
"""Pause between rounds: what a busy writer appends within it is read at once, and costs one read."""

LOOK_SLICE = 200


class Feeder:
    """A thousand files with a line now and then are read in rounds by one greenlet, which costs no switch and no stack
    per file. A file that has more than one read holds, or has to wait for something, becomes active: it gets a
    greenlet until it is idle again.
    """

    def __init__(self, tailer: Tailer, spawner: Spawner) -> None:
        self._tailer = tailer
        self._spawner = spawner
        self._dirty: dict[TailedFile, None] = {}
        self._wake = Event()
        tailer.deadlines.on_sooner = self._wake.set
        self._stopped = False

    def wake(self, file: TailedFile) -> None:
        """There may be something to read, or to be done, for the file."""
        file.dirty = True
        if not (file.tailing or file.closed or file.retired or self._stopped):
            self._dirty[file] = None
            self._wake.set()

    def run(self) -> None:
        """The greenlet of the rounds."""
        while True:
            self._wake.wait(timeout=self._tailer.deadlines.wait_s())
            self._wake.clear()
            for file in self._tailer.deadlines.passed():
                self.wake(file)
            files, self._dirty = self._dirty, {}
            for file in self._tailer.sip(files):
                if not (file.tailing or file.closed or file.retired or self._stopped):
                    file.tailing = True
                    file.greenlet = self._spawner.once(
                        f"tail {os.fsdecode(file.path)}", self._tailer.tail, file
                    )
            gevent.sleep(ROUND_S)

    def look(self, files: Iterable[TailedFile]) -> None:
        """Wake files that have grown or shrunk without anybody telling."""
        for number, file in enumerate(list(files), 1):
            if not file.tailing and not file.closed and file.size_bytes() != file.read_offset:
                self.wake(file)
            if number % LOOK_SLICE == 0:
                gevent.sleep(1e-6)

    def release(self, file: TailedFile) -> None:
        """Read the file no more; waits until nobody does."""
        self._dirty.pop(file, None)
        if file.greenlet is not None and file.greenlet is not gevent.getcurrent():
            file.greenlet.kill()

    def stop(self, files: Iterable[TailedFile]) -> None:
        """Read nothing more."""
        self._stopped = True
        self._dirty.clear()
        gevent.killall([file.greenlet for file in files if file.greenlet is not None])
