# SPDX-License-Identifier: Apache-2.0
"""What the rules of recovery decide about: a batch in its place in the sequence; and what they decide. Pure values.

Every action says what it moves: `finding` is the label `answer` of intents_recovered_total, `doubt` the label `reason`
of duplicates_possible_total.
"""

import enum
from dataclasses import dataclass

from logagent.kafka.record_batch import SEQUENCE_MASK, next_sequence

_LAST_EPOCH = 0x7FFF
_HALF = (SEQUENCE_MASK + 1) // 2


class Doubt(enum.Enum):
    """Why lines may be in the log a second time."""

    OLD = "old"
    """Sent again so late that the broker may have forgotten the first time."""

    FORGOTTEN = "forgotten"
    """The broker knew the producer id once and does not any more."""

    UNASKED = "unasked"
    """It was cut anew, or given a new id, and nobody could be asked whether it had arrived."""

    SHARED = "shared"
    """Its lines go into a batch of the next epoch; an earlier cut with them may have come in before."""

    REFUSED = "refused"
    """The broker refuses its place in the sequence for good, and an earlier attempt may have come in."""

    JOURNAL = "journal"
    """The log holds batches whose intents the journal lost; their lines are read again."""

    GIVEN_UP = "given_up"
    """Nobody could tell within intent_give_up_s."""

    TOPIC_GONE = "topic_gone"
    """Its partition does not exist any more; its lines go to another one."""


class Finding(enum.Enum):
    """What was found about an open intent."""

    SETTLED = "settled"
    """Positions had reached its end."""

    DELIVERED = "delivered"
    NOT_DELIVERED = "not_delivered"
    ABSENT = "absent"
    """The broker does not know the producer id: never had it, or forgot it."""

    UNASKED = "unasked"
    OVERTAKEN = "overtaken"
    """Later batches are in the log."""

    CLUSTER_LOST = "cluster_lost"
    """Acknowledged batches are missing (broker_lost_acknowledged_total, loud)."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a producer's sequence of one partition."""

    producer_id: int
    epoch: int
    base_sequence: int

    def last_sequence(self, records: int) -> int:
        """The sequence of the last of so many records here."""
        return next_sequence(self.base_sequence, records - 1)

    def records_until(self, last_sequence: int) -> int:
        """How many records from here on end with this sequence; negative when it lies before; sequences wrap."""
        records = (last_sequence + 1 - self.base_sequence) & SEQUENCE_MASK
        return records - SEQUENCE_MASK - 1 if records >= _HALF else records

    def next_epoch(self) -> "Slot | None":
        """The first place of the next epoch, which shuts out whatever is still on its way to this one."""
        return Slot(self.producer_id, self.epoch + 1, 0) if self.epoch < _LAST_EPOCH else None


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch in its slot. Brokers tell cuts apart by the number of records only.

    `earlier`: the numbers of records of other cuts that were sent to the same slot. `sent`: an attempt with this cut
    may have reached a broker. `refused`: the code that made us ask, and `refusals` how often it came.
    """

    slot: Slot
    records: int
    timestamp_ms: int
    earlier: tuple[int, ...] = ()
    sent: bool = False
    refused: int = 0
    refusals: int = 0

    @property
    def ambiguous(self) -> bool:
        """Whether anything was sent to this slot."""
        return self.sent or bool(self.earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Settle(_Counted):
    """The cut with so many records is in the log for good: its positions move, its slot is used up.

    Lines of the batch that were not in it go next; those that cannot be read any more are counted unknown now.
    """

    records: int
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class Resend(_Counted):
    """The same lines in the same slot, built by the stored render. The number of records is what it was."""

    pending: Pending
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class SendAnew(_Counted):
    """The first `pending.records` lines that can still be read, in the same slot; its intent is written first."""

    pending: Pending
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class Ask(_Counted):
    """Ask the leader (DescribeProducers) after so long; nothing of the partition leaves before."""

    pending: Pending
    after_s: float
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class WaitForReplicas(_Counted):
    """Ask every in-sync replica whether it has the cut with so many records, until all do."""

    pending: Pending
    records: int
    after_s: float
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class NewEpoch(_Counted):
    """The next lines go to this slot; until that batch is acknowledged, nothing goes under another id.

    Its intent takes the place of the old one. Lines that cannot be read any more are unknown once it is acknowledged.
    """

    slot: Slot
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class NewId(_Counted):
    """Close the connection, take a new producer id, send what can be read under it from sequence 0."""

    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class SendLost(_Counted):
    """So many acknowledged records that the cluster lost go to `first_sequence` again; then ask about `pending`."""

    pending: Pending
    first_sequence: int
    records: int
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter(_Counted):
    """The one record of the batch is refused for good.

    `next_slot` None: its slot is free for the next batch, and positions move. Otherwise attempts may yet come in there:
    the next lines go to `next_slot` as for NewEpoch, and positions move once that batch is acknowledged.
    """

    next_slot: Slot | None = None
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class Release(_Counted):
    """Forget the intent: lines that can be read are read again, the others are counted unknown."""

    doubt: Doubt | None = None


Action = (
    Settle | Resend | SendAnew | Ask | WaitForReplicas | NewEpoch | NewId | SendLost | DeadLetter | Release
)
