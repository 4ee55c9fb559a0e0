# SPDX-License-Identifier: Apache-2.0
"""Writes down what is about to be sent, so that a later process can find out what became of it."""

from collections.abc import Callable, Sequence

import gevent

from logagent.ops.events import Events
from logagent.pipeline.batch import Segment
from logagent.pipeline.render_row import RENDER_ID_BYTES, RenderRow
from logagent.senders.partition import Partition
from logagent.spawn import in_thread
from logagent.state.intents import EarlierCut, IntentRecord, PartitionKey, SegmentNote
from logagent.state.journal import Degraded, Journal

REPAIR_EVERY_S = 10.0

_NO_RENDER = bytes(RENDER_ID_BYTES)


class Notebook:
    """The journal as the senders use it. While it cannot be written lines go out all the same, at least once."""

    def __init__(self, journal: Journal, keep_row: Callable[[RenderRow], None], events: Events) -> None:
        self._journal = journal
        self._keep_row = keep_row
        self._events = events
        self._keys: dict[tuple[str, int], PartitionKey] = {}
        self._rows: set[bytes] = {_NO_RENDER}

    @property
    def reasons(self) -> list[str]:
        """What is wrong, a sentence each."""
        degraded = self._journal.degraded
        return [f"lines may be sent twice after a crash: {degraded.reason}"] if degraded is not None else []

    def note(self, partition: Partition, cluster_id: str, partitions: int) -> None:
        """The batch of the partition is about to be sent to its place."""
        pending, batch = partition.pending, partition.batch
        if pending is None or batch is None:
            raise ValueError("nothing is about to be sent")
        notes = notes_of(batch.segments)
        for segment in batch.segments:
            if segment.render is not None:
                self._keep(segment.render.id, segment.render.row)
        record = IntentRecord(
            cluster_id=cluster_id,
            topic=partition.topic,
            partition=partition.number,
            partitions=max(partitions, partition.number + 1),
            producer_id=pending.slot.producer_id,
            epoch=pending.slot.epoch,
            base_sequence=pending.slot.base_sequence,
            max_timestamp_ms=pending.timestamp_ms,
            segments=notes,
            earlier_cuts=tuple(EarlierCut(cut.notes) for cut in partition.earlier_cuts),
        )
        written = self._journal.write(record)
        if isinstance(written, Degraded):
            self._events.journal_degraded(reason=written.reason)
        self._keys[partition.topic, partition.number] = record.key
        partition.noted(notes)

    def adopt(self, record: IntentRecord) -> None:
        """An open intent of an earlier process goes on here."""
        self._keys[record.topic, record.partition] = record.key

    def settled(self, partition: Partition, records: int) -> None:
        """The newest intent of the partition is settled; positions move in the same breath."""
        key = self._keys.get((partition.topic, partition.number))
        if key is not None:
            self._journal.settled(key, records)

    def release(self, partition: Partition) -> None:
        """The newest intent of the partition is given up."""
        key = self._keys.pop((partition.topic, partition.number), None)
        if key is not None:
            self._journal.release(key)

    def run(self) -> None:
        """The greenlet that tries to go on after a failure."""
        while True:
            gevent.sleep(REPAIR_EVERY_S)
            if self._journal.degraded is not None and in_thread(self._journal.repair):
                self._rows = {_NO_RENDER}
                self._events.journal_back()

    def _keep(self, render_id: bytes, row: RenderRow) -> None:
        if render_id not in self._rows:
            self._rows.add(render_id)
            self._keep_row(row)
            self._journal.render(render_id, row.document())


def notes_of(segments: Sequence[Segment]) -> tuple[SegmentNote, ...]:
    """What the journal keeps of them."""
    return tuple(map(_note_of, segments))


def _note_of(segment: Segment) -> SegmentNote:
    if segment.hashed_bytes < 0:
        segment.hash_source()
    source = segment.source
    return SegmentNote(
        source.service,
        source.identity,
        segment.start_offset,
        segment.end_offset,
        len(segment.values),
        _NO_RENDER if segment.render is None else segment.render.id,
        segment.source_crc,
        segment.hashed_bytes,
    )
