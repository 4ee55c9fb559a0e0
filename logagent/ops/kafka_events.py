# SPDX-License-Identifier: Apache-2.0
"""Facts about brokers, topics, batches and positions."""

from logging import DEBUG, ERROR, INFO, WARNING

from logagent.ops.facts import Extra, FactTeller, fact
from logagent.ops.log import TRACE
from logagent.ops.shown import printable


class KafkaEvents(FactTeller):
    """The part of Events about Kafka and positions."""

    @fact(
        "kafka",
        WARNING,
        "Nobody tells who leads the partitions: %(reason)s. Lines wait; it is tried again.",
        subject=(),
    )
    def metadata_failed(self, *, reason: str) -> Extra: ...

    @fact(
        "kafka",
        INFO,
        "The cluster tells again who leads the partitions.",
        subject=(),
        ends=("metadata_failed",),
    )
    def metadata_back(self) -> Extra: ...

    @fact(
        "kafka",
        WARNING,
        "Broker %(address)s: %(reason)s. What it leads waits; it is tried again.",
        "logagent_kafka_broker_up",
        subject=("address",),
    )
    def broker_failed(self, *, address: str, reason: str) -> Extra:
        self._metrics.kafka_broker_up.labels(printable(address)).set(0)
        return None

    @fact(
        "kafka",
        INFO,
        "Broker %(address)s works again.",
        "logagent_kafka_broker_up",
        subject=("address",),
        ends=("broker_failed",),
    )
    def broker_back(self, *, address: str) -> Extra:
        """May be told of every broker that answers: without a failure before it only sets the metric."""
        self._metrics.kafka_broker_up.labels(printable(address)).set(1)
        return None

    @fact(
        "kafka",
        TRACE,
        "Topic %(topic)s: %(records)s records, %(bytes_)s bytes acknowledged after %(seconds).3f s.",
        "logagent_kafka_batches_total",
        "logagent_kafka_batch_seconds",
    )
    def batch_sent(self, *, topic: str, records: int, bytes_: int, seconds: float) -> Extra:
        self._metrics.kafka_batches.inc()
        self._metrics.kafka_batch_seconds.observe(seconds)
        return None

    @fact(
        "kafka",
        WARNING,
        "Partition %(topic)s/%(partition)s did not take a batch: %(reason)s (code %(code)s)."
        " It is sent again in %(wait_s).2f s.",
        "logagent_kafka_retries_total",
        subject=("topic", "partition"),
    )
    def batch_retried(
        self, *, topic: str, partition: int, code: int | str, reason: str, wait_s: float
    ) -> Extra:
        self._metrics.kafka_retries.labels(printable(str(code))).inc()
        return None

    @fact(
        "kafka",
        WARNING,
        "Partition %(topic)s/%(partition)s: a batch of %(records)s records is too large for the broker."
        " It is sent in two halves.",
        subject=("topic", "partition"),
    )
    def batch_split(self, *, topic: str, partition: int, records: int) -> Extra: ...

    @fact(
        "kafka",
        WARNING,
        "Partition %(topic)s/%(partition)s: the broker refused the time stamp of a batch."
        " It is sent with the time now.",
        subject=("topic", "partition"),
    )
    def batch_restamped(self, *, topic: str, partition: int) -> Extra: ...

    @fact(
        "kafka",
        ERROR,
        "Topic %(topic)s takes nothing: %(reason)s (code %(code)s). Its lines wait; it is tried again.",
        subject=("topic",),
    )
    def topic_parked(self, *, topic: str, code: int | str, reason: str) -> Extra: ...

    @fact("kafka", INFO, "Topic %(topic)s takes lines again.", subject=("topic",), ends=("topic_parked",))
    def topic_back(self, *, topic: str) -> Extra: ...

    @fact(
        "kafka",
        WARNING,
        "Partition %(topic)s/%(partition)s: the broker does not go on with our producer id (code %(code)s)."
        " A new one is used; lines may be doubled.",
        "logagent_producer_ids_renewed_total",
        subject=("topic", "partition"),
    )
    def producer_id_renewed(self, *, topic: str, partition: int, code: int | str) -> Extra:
        self._metrics.producer_ids_renewed.inc()
        return None

    @fact(
        "kafka",
        ERROR,
        "Service %(service)s: Kafka refused the line at byte %(offset)s of %(path)s for topic %(topic)s:"
        " %(reason)s (code %(code)s). It lies in the dead-letter file.",
        "logagent_dead_letter_records_total",
        subject=("service", "path", "code"),
    )
    def record_dead_lettered(
        self, *, service: str, topic: str, path: bytes, offset: int, code: int | str, reason: str
    ) -> Extra:
        """`reason` is one of a few short texts: it becomes a label."""
        self._metrics.dead_letter_records.labels(printable(service), printable(reason)).inc()
        return None

    @fact(
        "kafka",
        ERROR,
        "The dead-letter file %(path)s cannot be written: %(error)s."
        " Refused lines hold up their files until it can.",
        subject=("path",),
    )
    def dead_letter_failed(self, *, path: bytes | str, error: BaseException | str) -> Extra: ...

    @fact(
        "kafka",
        INFO,
        "The dead-letter file %(path)s can be written again.",
        subject=("path",),
        ends=("dead_letter_failed",),
    )
    def dead_letter_back(self, *, path: bytes | str) -> Extra: ...

    @fact(
        "state",
        DEBUG,
        "Saved %(rows)s positions in %(seconds).3f s.",
        "logagent_positions_write_seconds",
        "logagent_positions_last_success_timestamp_seconds",
    )
    def positions_saved(self, *, rows: int, seconds: float) -> Extra:
        self._metrics.positions_write_seconds.observe(seconds)
        self._metrics.positions_last_success.set(self._wall())
        return None

    @fact(
        "state",
        ERROR,
        "Positions cannot be saved: %(error)s. Lines go on; after a crash they would be sent again."
        " It is tried again.",
        subject=(),
    )
    def positions_failed(self, *, error: BaseException | str) -> Extra: ...

    @fact("state", INFO, "Positions are saved again.", subject=(), ends=("positions_failed",))
    def positions_back(self) -> Extra: ...

    @fact(
        "state",
        ERROR,
        "The state was damaged: %(error)s. It is kept as %(kept_as)s; positions come from %(source)s."
        " Lines may be sent again; none is lost.",
        "logagent_state_recovered_total",
    )
    def state_recovered(self, *, error: str, kept_as: str, source: str) -> Extra:
        self._metrics.state_recovered.inc()
        return None

    @fact(
        "state",
        WARNING,
        "The copy of the state could not be written: %(error)s. The next attempt is in an hour at most.",
        subject=(),
    )
    def state_copy_failed(self, *, error: BaseException | str) -> Extra: ...

    @fact("state", INFO, "The copy of the state is written again.", subject=(), ends=("state_copy_failed",))
    def state_copied(self) -> Extra: ...

    @fact("state", INFO, "Forgot the positions of %(files)s files that are gone for more than %(days)s days.")
    def positions_expired(self, *, files: int, days: float) -> Extra: ...
