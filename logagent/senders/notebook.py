# SPDX-License-Identifier: Apache-2.0
"""Writes down what is about to be sent, so that a later process can find out what became of it."""

from collections.abc import Callable, Sequence

import gevent

from logagent.ops.events import Events
from logagent.pipeline.batch import Segment
from logagent.pipeline.render_row import RENDER_ID_BYTES
from logagent.senders.partition import Partition
from logagent.spawn import in_thread
from logagent.state import intents
from logagent.state.intents import IntentRecord, PartitionKey
from logagent.state.journal import Degraded, Journal

REPAIR_EVERY_S = 10.0
HEADS_KEPT = 50_000

_NO_RENDER = bytes(RENDER_ID_BYTES)


class Notebook:
    """The journal as the senders use it. While it cannot be written lines go out all the same, at least once."""

    def __init__(self, journal: Journal, keep_row: Callable[[bytes, bytes], None], events: Events) -> None:
        self._journal = journal
        self._keep_row = keep_row
        self._events = events
        self._keys: dict[tuple[str, int], PartitionKey] = {}
        self._heads: dict[bytes, tuple[str, bytes]] = {}
        """By render, of which there is one for each path and form: the identity of the file, and its encoded head."""

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
        key = self._keys.get((partition.topic, partition.number))
        if key is None or key.cluster_id != cluster_id:
            key = PartitionKey(cluster_id, partition.topic, partition.number)
            self._keys[partition.topic, partition.number] = key
        slot = pending.slot
        place = intents.encode_place(
            key,
            max(partitions, partition.number + 1),
            slot.producer_id,
            slot.epoch,
            slot.base_sequence,
            pending.timestamp_ms,
        )
        cuts = [self._parts(batch.segments)]
        cuts += (intents.parts_of(cut.notes) for cut in partition.earlier_cuts)
        written = self._journal.write_payload(key, place + intents.encode_cuts(cuts))
        if isinstance(written, Degraded):
            self._events.journal_degraded(reason=written.reason)
        partition.noted()

    def _parts(self, segments: Sequence[Segment]) -> list[bytes]:
        """The hot path: some hundred nanoseconds for each segment of a quiet file."""
        heads, encode_range = self._heads, intents.encode_range
        parts = []
        for segment in segments:
            render = segment.render
            head = heads.get(render.id) if render is not None else None
            if head is None or head[0] is not segment.source.identity:
                head = self._head(segment)
            if segment.hashed_bytes < 0:
                segment.hash_source()
            parts.append(head[1])
            parts.append(
                encode_range(
                    segment.start_offset,
                    segment.end_offset,
                    segment.hashed_bytes,
                    len(segment.values),
                    segment.source_crc,
                )
            )
        return parts

    def _head(self, segment: Segment) -> tuple[str, bytes]:
        """What is the same for all segments of a file; the settings by which it is rendered are kept for later."""
        source, render = segment.source, segment.render
        if render is None:
            return source.identity, intents.encode_head(source.service, source.identity, _NO_RENDER)
        if render.id not in self._heads:
            document = render.row.document()
            self._keep_row(render.id, document)
            self._journal.render(render.id, document)
            if len(self._heads) >= HEADS_KEPT:
                self._heads.clear()
        head = source.identity, intents.encode_head(source.service, source.identity, render.id)
        self._heads[render.id] = head
        return head

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
                self._heads.clear()
                self._events.journal_back()
