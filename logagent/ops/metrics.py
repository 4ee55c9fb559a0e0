# SPDX-License-Identifier: Apache-2.0
"""Every metric of the agent, in a registry of its own. The only module that knows prometheus_client."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, Summary
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from logagent import __version__
from logagent.ops.shown import printable

# A time stamp per counter would double the page and nobody asked for it.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here

COLLECTED = {
    "logagent_files_open": "Log files that are open now.",
    "logagent_file_lag_bytes": "Bytes on disk that Kafka has not acknowledged yet, all files of the service.",
    "logagent_deleted_held_bytes": "Bytes on disk of deleted files that are not all delivered, at the last sweep.",
    "logagent_inflight_bytes": "Bytes that were read and are not acknowledged yet.",
    "logagent_last_ack_age_seconds": "Seconds since Kafka last acknowledged anything.",
    "logagent_state": "1 for the state that the agent is in, 0 for the others.",
}
"""Gauges that are computed only when somebody asks, with their help text."""

BATCH_SECONDS_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class GaugeSample(NamedTuple):
    """One value of a gauge: `name` with its prefix, the same label names in every sample of that name."""

    name: str
    labels: dict[str, str]
    value: float


class ServiceCounters:
    """What moves with every chunk of a service: plain numbers, turned into metrics when somebody asks."""

    __slots__ = ("bytes_acked", "bytes_read", "lines_acked", "lines_read", "rate_limit_wait_seconds")

    def __init__(self) -> None:
        self.lines_read = self.bytes_read = self.lines_acked = self.bytes_acked = 0
        self.rate_limit_wait_seconds = 0.0


SERVICE_COUNTERS = {
    "lines_read": "Lines read from files.",
    "bytes_read": "Bytes read from files.",
    "lines_acked": "Lines that Kafka acknowledged.",
    "bytes_acked": "Bytes of files that Kafka acknowledged.",
    "rate_limit_wait_seconds": "Seconds spent waiting for send_rate.",
}
"""The attributes of `ServiceCounters`, each a counter with the label `service`, and their help texts."""


class Metrics:
    """The metrics of one agent. `ops/events` moves them; nobody else does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._callbacks: list[Callable[[], Iterable[GaugeSample]]] = []
        self._services: dict[str, ServiceCounters] = {}
        self._add_files()
        self._add_kafka()
        self._add_delivery()
        self._add_etcd()
        self._add_agent()
        self.registry.register(_Services(self._services))
        self.registry.register(_Callbacks(self._callbacks))
        ProcessCollector(registry=self.registry)

    def on_collect(self, callback: Callable[[], Iterable[GaugeSample]]) -> None:
        """`callback` is called for every scrape; it must be quick and must not block."""
        self._callbacks.append(callback)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format 0.0.4."""
        return prometheus_client.generate_latest(self.registry)

    def service(self, name: str) -> ServiceCounters:
        """The hot counters of a service: prometheus_client's own take a lock for each step."""
        counters = self._services.get(name)
        if counters is None:
            counters = self._services[name] = ServiceCounters()
        return counters

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"logagent_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"logagent_{name}", help_text, labels, registry=self.registry)

    def _summary(self, name: str, help_text: str) -> Summary:
        return Summary(f"logagent_{name}", help_text, registry=self.registry)

    def _add_files(self) -> None:
        self.lines_cut = self._counter("lines_cut", "Lines cut because of max_line_bytes.", "service")
        self.cut_bytes = self._counter("cut_bytes", "Bytes that cut lines lost.", "service")
        self.hole_bytes = self._counter(
            "hole_bytes", "Zero bytes that were skipped because nobody wrote them.", "service"
        )
        self.files_refused = self._counter(
            "files_refused", "Attempts to open a file that were refused.", "service"
        )
        self.rotations = self._counter("rotations", "Files that were rotated away.", "service")
        self.truncations = self._counter(
            "truncations", "Files that became shorter than what was read.", "service"
        )
        self.stalls = self._counter(
            "stalls", "Times that nobody read a file for no known reason, and it was opened again.", "service"
        )
        self.shrunk_after_crash_bytes = self._counter(
            "shrunk_after_crash_bytes",
            "Bytes between the position of a file that lost its end in a power cut and where it is read again.",
            "service",
        )
        self.lost_bytes = self._counter("lost_bytes", "Bytes that never reached Kafka.", "service", "reason")
        self.inotify_overflow = self._counter(
            "inotify_overflow", "Overflows of the kernel's queue of file events."
        )
        self.scan_seconds = self._summary("scan_seconds", "Seconds per sweep over all directories.")

    def _add_kafka(self) -> None:
        self.kafka_retries = self._counter(
            "kafka_retries", "Batches sent again, by Kafka's error code.", "code"
        )
        self.kafka_broker_up = self._gauge("kafka_broker_up", "1 if the broker answers, 0 if not.", "broker")
        self.kafka_batches = self._counter("kafka_batches", "Batches that Kafka acknowledged.")
        self.kafka_batch_seconds = Histogram(
            "logagent_kafka_batch_seconds",
            "Seconds from the first send of a batch to its acknowledgement.",
            registry=self.registry,
            buckets=BATCH_SECONDS_BUCKETS,
        )
        self.producer_ids_renewed = self._counter(
            "producer_ids_renewed", "Producer ids that had to be replaced."
        )
        self.dead_letter_records = self._counter(
            "dead_letter_records",
            "Records that Kafka refused for good; they lie in the dead-letter file.",
            "service",
            "reason",
        )

    def _add_delivery(self) -> None:
        self.intents_recovered = self._counter(
            "intents_recovered",
            "Batches whose fate was in doubt, and what was found out about them.",
            "answer",
        )
        self.duplicates_possible = self._counter(
            "duplicates_possible", "Records that may be in Kafka twice, by the reason why.", "reason"
        )
        self.unknown_bytes = self._counter(
            "unknown_bytes",
            "Bytes of files that were sent and are gone, and nobody can tell whether they arrived.",
            "service",
        )
        self.broker_lost_acknowledged = self._counter(
            "broker_lost_acknowledged", "Times that the cluster had lost what it had acknowledged."
        )
        self.dead_letter_dropped = self._counter(
            "dead_letter_dropped",
            "Records that Kafka refused for good and that are lost, because the dead-letter file was full.",
            "service",
        )

    def _add_etcd(self) -> None:
        self.etcd_up = self._gauge("etcd_up", "1 if a member of Etcd is followed, 0 if none answers.")
        self.etcd_last_contact = self._gauge(
            "etcd_last_contact_timestamp_seconds",
            "When Etcd was last heard of, seconds since 1970.",
        )
        self.etcd_config_revision = self._gauge(
            "etcd_config_revision", "Revision of the newest of our keys in force."
        )
        self.etcd_lists = self._counter("etcd_lists", "Times our keys were listed.")
        self.etcd_watches = self._counter("etcd_watches", "Watches that were opened.")
        self.etcd_resyncs = self._counter(
            "etcd_resyncs", "Watches that ended, and what they ended of.", "reason"
        )
        self.etcd_config_rejected = self._counter(
            "etcd_config_rejected", "Values in Etcd that were refused, whole or in part."
        )
        self.etcd_cache_used = self._counter(
            "etcd_cache_used", "Starts from the cache on disk because Etcd did not answer."
        )

    def _add_agent(self) -> None:
        self.positions_write_seconds = self._summary(
            "positions_write_seconds", "Seconds per write of positions."
        )
        self.positions_last_success = self._gauge(
            "positions_last_success_timestamp_seconds",
            "When positions were last written, seconds since 1970.",
        )
        self.state_recovered = self._counter(
            "state_recovered", "Times that a damaged state had to be replaced by its copy or an empty one."
        )
        self.greenlet_failures = self._counter("greenlet_failures", "Greenlets that failed.", "name")
        self.events = self._counter(
            "events", "Facts that have no metric of their own, see docs/events.md.", "event"
        )
        Info("logagent_build", "The version that runs.", registry=self.registry).info(
            {"version": __version__}
        )


class _Callbacks(Collector):
    """Turns what the callbacks yield into gauges, at the time of the scrape."""

    def __init__(self, callbacks: list[Callable[[], Iterable[GaugeSample]]]) -> None:
        self._callbacks = callbacks

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for callback in self._callbacks:
            for name, labels, value in callback():
                family = families.get(name)
                if family is None:
                    family = families[name] = GaugeMetricFamily(
                        name, COLLECTED.get(name, ""), labels=list(labels)
                    )
                family.add_metric([printable(label) for label in labels.values()], value)
        yield from families.values()


class _Services(Collector):
    """Turns the numbers of the services into counters, at the time of the scrape."""

    def __init__(self, services: Mapping[str, ServiceCounters]) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        for attribute, help_text in SERVICE_COUNTERS.items():
            family = CounterMetricFamily(f"logagent_{attribute}", help_text, labels=["service"])
            for name, counters in self._services.items():
                family.add_metric([printable(name)], getattr(counters, attribute))
            yield family
