# SPDX-License-Identifier: Apache-2.0
"""A batch that an earlier process may have sent, with what can be built of it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from logagent.pipeline.batch import Batch, Segment, Source
from logagent.recovery import rules
from logagent.recovery.actions import Action, Pending, Slot
from logagent.senders.cuts import Cut, Piece
from logagent.senders.partition import Partition
from logagent.state.intents import EarlierCut, IntentRecord, SegmentNote


@dataclass(frozen=True, slots=True)
class LeftOver:
    """`segments`: of the batch, those that can be built; `beyond`: lines that only earlier cuts held; `vanished`: what
    cannot be built. `sources`: the files, by service and identity as notes have them. `reached`: the durable positions
    say that all of it was acknowledged.
    """

    record: IntentRecord
    segments: Sequence[Segment] = ()
    beyond: Sequence[Segment] = ()
    vanished: Sequence[SegmentNote] = ()
    sources: Mapping[tuple[str, str], Source] = field(default_factory=dict)
    reached: bool = False

    def hand_over(self, partition: Partition, now_s: float) -> Action:
        """Give it to its partition; what is to be done about it first."""
        record = self.record
        slot = Slot(record.producer_id, record.epoch, record.base_sequence)
        counts = tuple(cut.records for cut in record.earlier_cuts)
        pending = Pending(slot, record.records, record.max_timestamp_ms, counts, sent=True)
        batches = [Batch(self.segments, record.max_timestamp_ms)]
        if self.beyond:
            batches.append(Batch(self.beyond, record.max_timestamp_ms))
        partition.adopt(
            pending, record.segments, list(map(self._cut, record.earlier_cuts)), batches, self.vanished, now_s
        )
        partition.cluster_id = record.cluster_id
        return rules.at_start(pending, reached=self.reached)

    def _cut(self, cut: EarlierCut) -> Cut:
        pieces = (
            Piece(self.sources[note.service, note.identity], note.start_offset, note.end_offset)
            for note in cut.segments
            if (note.service, note.identity) in self.sources
        )
        return Cut(cut.records, cut.segments, tuple(pieces))
