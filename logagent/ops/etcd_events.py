# SPDX-License-Identifier: Apache-2.0
"""Facts about Etcd: who answers, what it says, what of it is refused, and what the agent tells it."""

from collections.abc import Sequence
from logging import DEBUG, ERROR, INFO, WARNING

from logagent.ops.facts import Extra, FactTeller, fact
from logagent.ops.log import TRACE


class EtcdEvents(FactTeller):
    """The part of Events about Etcd."""

    @fact("etcd", INFO, "Etcd serves %(api)s at %(member)s; that is remembered.")
    def etcd_api_detected(self, *, member: str, api: str) -> Extra: ...

    @fact("etcd", WARNING, "%(text)s")
    def etcd_warning(self, *, text: str) -> Extra: ...

    @fact(
        "etcd",
        INFO,
        "Following Etcd at %(member)s (%(api)s) from revision %(revision)s.",
        "logagent_etcd_up",
    )
    def etcd_connected(self, *, member: str, api: str, revision: int) -> Extra:
        self._metrics.etcd_up.set(1)
        return None

    @fact(
        "etcd",
        WARNING,
        "Etcd is not to be had at %(reason)s. The services in force stay; another member is asked next.",
        subject=("member",),
    )
    def etcd_unreachable(self, *, member: str, reason: str) -> Extra:
        """`reason` begins with the address, as the errors of stores do."""
        self._metrics.etcd_up.set(0)
        return None

    @fact("etcd", INFO, "Etcd at %(member)s answers again.", subject=("member",), ends=("etcd_unreachable",))
    def etcd_back(self, *, member: str) -> Extra: ...

    @fact(
        "etcd",
        DEBUG,
        "Etcd at %(member)s listed our keys at revision %(revision)s.",
        "logagent_etcd_lists_total",
        "logagent_etcd_last_contact_timestamp_seconds",
    )
    def etcd_listed(self, *, member: str, revision: int) -> Extra:
        self._metrics.etcd_lists.inc()
        self._metrics.etcd_last_contact.set(self._wall())
        return None

    @fact(
        "etcd",
        DEBUG,
        "Watching our keys at %(member)s after revision %(revision)s.",
        "logagent_etcd_watches_total",
    )
    def etcd_watching(self, *, member: str, revision: int) -> Extra:
        self._metrics.etcd_watches.inc()
        return None

    @fact(
        "etcd",
        TRACE,
        "Etcd at %(member)s told of %(changes)s changes.",
        "logagent_etcd_last_contact_timestamp_seconds",
    )
    def etcd_heard(self, *, member: str, changes: int) -> Extra:
        self._metrics.etcd_last_contact.set(self._wall())
        return None

    @fact(
        "etcd",
        DEBUG,
        "The watch at %(member)s is over: %(reason)s. Our keys are listed again.",
        "logagent_etcd_resyncs_total",
    )
    def etcd_resync(self, *, member: str, kind: str, reason: str) -> Extra:
        """`kind` is one of a few words, for the metric."""
        self._metrics.etcd_resyncs.labels(kind).inc()
        return None

    @fact(
        "etcd",
        INFO,
        "The services in Etcd are those of revision %(revision)s now, from %(keys)s.",
        "logagent_etcd_config_revision",
    )
    def etcd_config_changed(self, *, revision: int, keys: Sequence[str]) -> Extra:
        self._metrics.etcd_config_revision.set(revision)
        return None

    @fact(
        "etcd",
        INFO,
        "The change in Etcd is applied."
        " Entries started: %(started)s; changed: %(changed)s; stopped: %(stopped)s.",
    )
    def etcd_applied(self, *, started: int, changed: int, stopped: int) -> Extra: ...

    @fact(
        "etcd",
        ERROR,
        "A value in Etcd is refused: %(reason)s. What was in force before stays.",
        "logagent_etcd_config_rejected_total",
    )
    def etcd_document_rejected(self, *, key: str, reason: str) -> Extra:
        """`reason` begins with the key, as a Fault does."""
        self._metrics.etcd_config_rejected.inc()
        return None

    @fact(
        "etcd",
        ERROR,
        "Entries in Etcd are refused: %(faults)s. Their last good versions stay; the other entries are in force.",
        "logagent_etcd_config_rejected_total",
    )
    def etcd_entries_rejected(self, *, key: str, faults: Sequence[str]) -> Extra:
        self._metrics.etcd_config_rejected.inc()
        return None

    @fact(
        "etcd",
        ERROR,
        "Etcd holds no services any more, and that looks like an accident: %(reason)s. The last ones stay in force"
        " until there are new ones; accept_empty = yes would stop everything.",
        subject=(),
    )
    def etcd_suspicious_empty(self, *, reason: str) -> Extra: ...

    @fact("etcd", INFO, "Etcd is believed again.", subject=(), ends=("etcd_suspicious_empty",))
    def etcd_empty_over(self) -> Extra: ...

    @fact(
        "etcd",
        WARNING,
        "Etcd at %(member)s is behind what was seen before: %(reason)s. It is not believed, another member is asked.",
        subject=("member",),
    )
    def etcd_stale_member(self, *, member: str, reason: str) -> Extra: ...

    @fact(
        "etcd",
        WARNING,
        "Every member of Etcd is behind what was seen before: %(reason)s."
        " It is taken for a cluster restored from a backup, and followed.",
    )
    def etcd_restored(self, *, reason: str) -> Extra: ...

    @fact(
        "etcd",
        WARNING,
        "Etcd does not answer: the services of %(age_s).0f s ago are taken from the cache on disk.",
        "logagent_etcd_cache_used_total",
    )
    def etcd_cache_used(self, *, age_s: float) -> Extra:
        self._metrics.etcd_cache_used.inc()
        return None

    @fact(
        "etcd", WARNING, "The cache of Etcd's services is not used: %(reason)s. It is written anew in time."
    )
    def etcd_cache_unusable(self, *, reason: str) -> Extra: ...

    @fact(
        "etcd",
        WARNING,
        "The cache of Etcd's services cannot be written: %(error)s. A start without Etcd would use an older one.",
        subject=(),
    )
    def etcd_cache_failed(self, *, error: BaseException | str) -> Extra: ...

    @fact(
        "etcd",
        INFO,
        "The cache of Etcd's services can be written again.",
        subject=(),
        ends=("etcd_cache_failed",),
    )
    def etcd_cache_back(self) -> Extra: ...

    @fact(
        "etcd",
        WARNING,
        "The agent's state cannot be published in Etcd: %(reason)s. Lines travel as before; it is tried again.",
        subject=(),
    )
    def status_publish_failed(self, *, reason: str) -> Extra: ...

    @fact(
        "etcd",
        INFO,
        "The agent's state is published in Etcd again.",
        subject=(),
        ends=("status_publish_failed",),
    )
    def status_publish_back(self) -> Extra: ...
