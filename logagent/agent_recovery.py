# SPDX-License-Identifier: Apache-2.0
"""What an earlier process left on its way to Kafka: found out and finished, before its files are read on."""

import os
from collections.abc import Mapping
from pathlib import Path

import gevent

from logagent.config.settings import Settings
from logagent.config.switches import without_recovery
from logagent.ops.events import Events
from logagent.pipeline.render_row import RenderRow
from logagent.senders.left_over import LeftOver
from logagent.senders.native_sender import NativeSender
from logagent.senders.notebook import Notebook
from logagent.sources.recall import Recall, rows_of
from logagent.state.intents import IntentRecord, SegmentNote
from logagent.state.journal import NAMES, Journal
from logagent.state.positions import PositionBook

FILES_WAIT_S = 15.0
"""So long entries may take to come from Etcd; what is not found by then counts as gone."""

LOOK_S = 0.05


class Recovery:
    """The journal of intents and what is found in it. With at_least_once there is none."""

    def __init__(self, settings: Settings, directory: Path, events: Events) -> None:
        self._events = events
        self._from_etcd = bool(settings.etcd_addr)
        self._open: tuple[IntentRecord, ...] = ()
        self._settled: tuple[SegmentNote, ...] = ()
        self._rows: Mapping[bytes, RenderRow] = {}
        self.journal: Journal | None = None
        if settings.kafka.delivery == "at_least_once":
            for name in NAMES:
                # What stands there would be out of date when somebody believes it again.
                (directory / name).unlink(missing_ok=True)
            return
        self.journal = journal = Journal(directory, sync=settings.agent.state_sync)
        if not without_recovery(os.environ):
            self._open, self._settled = journal.found.open, journal.found.settled
        for refused in journal.found.refused:
            events.journal_refused(
                file=refused.file, start=refused.start, end=refused.end, reason=refused.reason
            )
        if journal.degraded is not None:
            events.journal_degraded(reason=journal.degraded.reason)

    def notebook(self, book: PositionBook) -> Notebook | None:
        """For the senders."""
        return None if self.journal is None else Notebook(self.journal, book.render, self._events)

    def prepare(self, book: PositionBook, recall: Recall, sender: NativeSender) -> None:
        """Before any file is opened: positions of what was settled; nothing of what is open is read or overtaken."""
        if self.journal is None:
            return
        for row_id, document in self.journal.found.renders.items():
            book.render(row_id, document)
        self._rows = rows_of(book.renders(), self.journal.found.renders)
        self.journal.go_on_after(book.journal_sequence)
        if self._settled:
            self._settled = self.journal.found.settled_after(book.journal_sequence)
        recall.settle(self._settled, self._rows)
        recall.hold(self._open, self._rows)
        for record in self._open:
            sender.hold(record)

    def finish(self, *, clean: bool) -> None:
        """The agent stops; `clean`: all that it read is acknowledged and saved."""
        if self.journal is not None and clean:
            self.journal.finish()
        if self.journal is not None:
            self.journal.close()

    def run(self, recall: Recall, sender: NativeSender) -> None:
        """The greenlet that hands each batch over as soon as its files are there."""
        waiting = list(self._open)
        waited_s = 0.0
        while waiting:
            for record in [one for one in waiting if recall.ready(one)]:
                waiting.remove(record)
                self._hand_over(record, recall, sender)
            gevent.sleep(LOOK_S)
            waited_s += LOOK_S
            if waited_s >= FILES_WAIT_S:
                recall.scan_over()

    def first_scan_over(self, recall: Recall) -> None:
        """All files of the first entries were looked for; more entries may come from Etcd."""
        if not self._from_etcd:
            recall.scan_over()

    def _hand_over(self, record: IntentRecord, recall: Recall, sender: NativeSender) -> None:
        built = recall.build(record, self._rows)
        sender.adopt(
            LeftOver(
                record,
                segments=built.segments,
                beyond=built.beyond,
                vanished=(*built.vanished, *built.vanished_beyond),
                sources=built.sources,
                reached=bool(built.reached) and not built.segments and not built.vanished,
            )
        )
