# SPDX-License-Identifier: Apache-2.0
"""The state while the agent runs: opened, saved, copied every hour, closed; and what is wrong with it."""

from pathlib import Path

import gevent

from logagent.clock import WallClock
from logagent.errors import StateError
from logagent.ops.events import Events
from logagent.spawn import Spawner, in_thread
from logagent.state.keeper import Keeper
from logagent.state.positions import PositionBook, SaveMarks

COPY_EVERY_S = 3600.0


class StateCare:
    """Owns the book of positions and what it is written into. `full_sync`: what is saved outlives a power cut."""

    def __init__(
        self,
        directory: Path,
        events: Events,
        wall: WallClock,
        *,
        journal: SaveMarks | None = None,
        full_sync: bool = False,
    ) -> None:
        self._events = events
        self.greenlets: list[gevent.Greenlet] = []
        self._keeper = keeper = Keeper(directory, wall, full_sync=full_sync)
        positions = keeper.open()
        if keeper.recovery is not None:
            found, keeper.recovery = keeper.recovery, None
            events.state_recovered(error=found.error, kept_as=found.kept_as, source=found.source)
        if keeper.trouble:
            events.positions_failed(error=keeper.trouble)
        self.book = PositionBook(
            positions,
            keeper.save,
            events,
            load_marks=keeper.load_marks,
            load_renders=keeper.load_renders,
            journal=journal,
            journal_sequence=keeper.journal_sequence,
            incomplete=keeper.lost,
            failure=keeper.trouble,
            wall=wall,
        )

    def start(self, spawner: Spawner) -> None:
        """Save what changes, and keep a copy."""
        self.greenlets = [
            spawner.forever("positions", self.book.run),
            spawner.forever("state-copy", self._keep_copy),
        ]

    def stop(self) -> bool:
        """Save, copy and close; False when positions could not be saved."""
        gevent.killall(self.greenlets)
        saved = self.book.save()
        self._copy()
        self._keeper.close()
        return saved

    def reasons(self) -> list[str]:
        """What is wrong with the state, a sentence each."""
        fault = self._keeper.fault
        damaged = [f"the state was found damaged (until the next start): {fault}"] if fault else []
        return [*damaged, self.book.failure] if self.book.failure else damaged

    def _keep_copy(self) -> None:
        while True:
            self._copy()
            gevent.sleep(COPY_EVERY_S)

    def _copy(self) -> None:
        try:
            with self.book.saving:  # one connection, one thread at a time
                in_thread(self._keeper.back_up)
        except StateError as error:
            self._events.state_copy_failed(error=error)
        else:
            self._events.state_copied()
