# SPDX-License-Identifier: Apache-2.0
"""Facts about exactly once: notes of batches, what became of them, and records that were refused for good."""

from logging import ERROR, INFO, WARNING
from pathlib import Path

from logagent.ops.facts import Extra, FactTeller, fact
from logagent.ops.shown import printable

_ANSWERS = {
    "settled": "its positions were saved already",
    "delivered": "it had arrived",
    "not_delivered": "it had not arrived, and is sent now",
    "absent": "the broker does not know its producer id, so it is sent now",
    "unasked": "nobody can be asked about it, so it is sent again in its old place",
    "overtaken": "later batches have arrived, of which nothing is noted",
    "cluster_lost": "batches before it that were acknowledged are missing",
}


class DeliveryEvents(FactTeller):
    """The part of Events about batches whose fate was in doubt, and dead letters."""

    @fact(
        "journal",
        ERROR,
        "Batches cannot be noted before they are sent: %(reason)s. Lines go on; after a crash some may come twice."
        " It is tried again.",
        subject=(),
    )
    def journal_degraded(self, *, reason: str) -> Extra: ...

    @fact(
        "journal",
        INFO,
        "Batches are noted again before they are sent.",
        subject=(),
        ends=("journal_degraded",),
    )
    def journal_back(self) -> Extra: ...

    @fact(
        "journal",
        WARNING,
        "Bytes %(start)s to %(end)s of %(file)s are not to be used: %(reason)s. If they noted a batch that was on its"
        " way, its lines may come twice.",
    )
    def journal_refused(self, *, file: Path | str, start: int, end: int, reason: str) -> Extra: ...

    @fact(
        "journal",
        INFO,
        "Partition %(topic)s/%(partition)s: a batch of %(records)s records was on its way when the agent ended last"
        " time. What became of it is found out before other lines go there.",
    )
    def intent_found(self, *, topic: str, partition: int, records: int) -> Extra: ...

    @fact(
        "journal",
        INFO,
        "Partition %(topic)s/%(partition)s: of the batch of %(records)s records in doubt it is found that %(found)s.",
        "logagent_intents_recovered_total",
    )
    def intent_answer(self, *, topic: str, partition: int, records: int, answer: str) -> Extra:
        self._metrics.intents_recovered.labels(printable(answer)).inc()
        return {"found": _ANSWERS.get(answer, answer)}

    @fact(
        "journal",
        WARNING,
        "Partition %(topic)s/%(partition)s: %(records)s records may be there twice (%(reason)s).",
        "logagent_duplicates_possible_total",
        subject=("topic", "partition", "reason"),
    )
    def duplicates_possible(self, *, topic: str, partition: int, records: int, reason: str) -> Extra:
        """`reason` is one of a few short texts: it becomes a label."""
        self._metrics.duplicates_possible.labels(printable(reason)).inc(records)
        return None

    @fact(
        "journal",
        ERROR,
        "Service %(service)s: bytes %(start)s to %(end)s of the file %(identity)s were sent, and nobody can tell"
        " whether they arrived; they are not in a file any more.",
        "logagent_unknown_bytes_total",
    )
    def intent_unknown(self, *, service: str, identity: str, start: int, end: int) -> Extra:
        self._metrics.unknown_bytes.labels(printable(service)).inc(end - start)
        return None

    @fact(
        "kafka",
        ERROR,
        "Partition %(topic)s/%(partition)s: the cluster has lost batches that it had acknowledged."
        " They are not sent again; what follows goes under a new producer id.",
        "logagent_broker_lost_acknowledged_total",
    )
    def acknowledged_lost(self, *, topic: str, partition: int) -> Extra:
        self._metrics.broker_lost_acknowledged.inc()
        return None

    @fact(
        "kafka",
        ERROR,
        "The dead-letter file %(path)s is full (dead_letter_max_bytes = %(limit_bytes)s). Service %(service)s waits."
        " Look with `logagent dead-letter list`; `resend` or `drop` make room.",
        subject=("service",),
    )
    def dead_letter_full(self, *, service: str, path: bytes | str, limit_bytes: int) -> Extra: ...

    @fact(
        "kafka",
        INFO,
        "The dead-letter file has room again. Service %(service)s goes on.",
        subject=("service",),
        ends=("dead_letter_full",),
    )
    def dead_letter_room(self, *, service: str) -> Extra: ...

    @fact(
        "kafka",
        ERROR,
        "Service %(service)s: Kafka refused the line at byte %(offset)s of %(path)s for topic %(topic)s:"
        " %(reason)s (code %(code)s). It is lost, because the dead-letter file is full.",
        "logagent_dead_letter_dropped_total",
        "logagent_lost_bytes_total",
        subject=("service", "path", "code"),
    )
    def record_dropped(
        self, *, service: str, topic: str, path: bytes, offset: int, bytes_: int, code: int | str, reason: str
    ) -> Extra:
        self._metrics.dead_letter_dropped.labels(printable(service)).inc()
        self._metrics.lost_bytes.labels(printable(service), "dead_letter_full").inc(bytes_)
        return None
