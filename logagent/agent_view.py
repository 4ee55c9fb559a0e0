# SPDX-License-Identifier: Apache-2.0
"""What the agent tells about itself: the /status document, why it is not well, and the gauges. Changes nothing."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from logagent import __version__
from logagent.agent_etcd import EtcdLink
from logagent.config.settings import Settings
from logagent.ops.metrics import GaugeSample
from logagent.ops.shown import shown
from logagent.senders.native_sender import NativeSender
from logagent.sources import explain
from logagent.sources.collector import Collector
from logagent.sources.tailed_file import ServiceCounts, TailedFile
from logagent.sources.watches import EntryFiles
from logagent.spawn import in_thread
from logagent.state.care import StateCare

SCHEMA = 1
STATES = ("starting", "running", "degraded", "stopping")


@dataclass(slots=True)
class AgentView:
    """Looks at the parts when asked."""

    host_id: str
    collector: Collector
    sender: NativeSender
    care: StateCare
    counts: dict[str, ServiceCounts]
    started_s: float = field(default_factory=time.monotonic)
    phase: str = "starting"
    reload_fault: str = ""
    admin_faults: list[str] = field(default_factory=list)
    etcd: EtcdLink | None = None

    def reasons(self) -> list[str]:
        """Why the agent is not well, a sentence each; empty when it is."""
        reasons = self.sender.reasons.all()
        reasons += self.care.reasons()
        reasons += self.collector.reasons()
        if self.reload_fault:
            reasons.append(
                f"the changed configuration is refused, the old one is in force: {self.reload_fault}"
            )
        if self.etcd is not None:
            reasons += self.etcd.reasons()
        return reasons + self.admin_faults

    def not_ready(self) -> list[str]:
        """Why the agent does not do its work yet, or not any more."""
        return [] if self.phase == "running" else [f"the agent is {self.phase}"]

    def state(self) -> str:
        """One of `STATES`."""
        return "degraded" if self.phase == "running" and self.reasons() else self.phase

    def document(self) -> dict[str, Any]:
        """The /status document, schema 1."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "host_id": self.host_id,
            "state": self.state(),
            "reasons": self.reasons(),
            "uptime_s": round(time.monotonic() - self.started_s, 1),
            "pid": os.getpid(),
            "services": self._services(),
            "files": [_file(file) for file in self._files()],
            "brokers": self._brokers(),
            "etcd": None if self.etcd is None else self.etcd.document(),
        }

    def identity(self) -> dict[str, Any]:
        """Who this agent is: what changes only with its start."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "host_id": self.host_id,
            "pid": os.getpid(),
            "started_at_s": round(time.time() - (time.monotonic() - self.started_s)),
        }

    def summary(self) -> dict[str, Any]:
        """How the agent does, small: health, sums, and the files that are furthest behind."""
        files = sorted(self._files(), key=_lag_bytes, reverse=True)
        return {
            "schema": SCHEMA,
            "state": self.state(),
            "reasons": [reason[:200] for reason in self.reasons()[:3]],
            "uptime_s": round(time.monotonic() - self.started_s),
            "files": len(files),
            "lag_bytes": sum(map(_lag_bytes, files)),
            "lines_read": sum(counts.lines_read for counts in self.counts.values()),
            "lines_acked": sum(counts.lines_acked for counts in self.counts.values()),
            "worst_files": [
                {"path": shown(file.path), "lag_bytes": _lag_bytes(file)}
                for file in files[:5]
                if _lag_bytes(file)
            ],
        }

    def explain(self, path: bytes) -> dict[str, Any]:
        """The /explain document: why a file is read, or is not."""
        place = in_thread(explain.look, path, self.collector.settings.refusal)
        running = list(self.collector.entries.values())
        return explain.explain(place, [state.entry for state in running], self.care.book.all(), running)

    def introduction(self, settings: Settings, tcp_address: str | None) -> Iterator[str]:
        """What a person at the terminal wants to know first."""
        yield f"logagent {__version__} on host {self.host_id}, configuration {settings.ini_path}"
        for state in self.collector.entries.values():
            entry = state.entry
            rate = entry.send_rate_lines_per_s
            pace = "unlimited" if rate is None else f"at most {rate:g} lines/s"
            yield f"reads {entry.log_path} (service {entry.service}, topic {entry.topic}, {pace})"
            for path, reason in state.refused.items():
                yield f"does not read {shown(path)}: {reason}"
            if not state.refused and not state.files:
                yield f"waits for {entry.log_path}: no such file yet"
        if self.etcd is not None:
            yield f"follows Etcd at {', '.join(map(str, settings.etcd_addr))} ({self.etcd.steering.state})"
        yield f"sends to Kafka at {', '.join(map(str, settings.kafka_addr))}"
        yield f"keeps positions in {settings.agent.data_dir}"
        if tcp_address:
            yield f"answers on http://{tcp_address}/status and with `logagent status`"

    def gauges(self) -> Iterator[GaugeSample]:
        """Values that are worked out only when somebody asks."""
        files = self._files()
        yield GaugeSample("logagent_files_open", {}, len(files))
        yield GaugeSample("logagent_deleted_held_bytes", {}, self.collector.deleted.held_bytes)
        yield GaugeSample("logagent_inflight_bytes", {}, self.sender.memory_bytes)
        lags = dict.fromkeys(self.counts, 0)
        for file in files:
            lags[file.service] = lags.get(file.service, 0) + _lag_bytes(file)
        for service, lag_bytes in lags.items():
            yield GaugeSample("logagent_file_lag_bytes", {"service": service}, lag_bytes)
        now = self.state()
        for state in STATES:
            yield GaugeSample("logagent_state", {"state": state}, float(state == now))

    def deleted_bytes(self) -> Iterator[tuple[TailedFile, int]]:
        """Files that are deleted and not all acknowledged, with how many bytes go when they are closed."""
        for file in self._files():
            if not file.closed and file.links() == 0 and _lag_bytes(file):
                yield file, _lag_bytes(file)

    def unacked_bytes(self) -> int:
        """Bytes that were read and are not acknowledged."""
        return sum(file.acks.end_offset - file.acks.acked_offset for file in self._files())

    def _files(self) -> list[TailedFile]:
        return sorted(self.collector.files.values(), key=lambda file: (file.service, file.label))

    def _services(self) -> list[dict[str, Any]]:
        entries: dict[str, list[EntryFiles]] = {}
        for state in self.collector.entries.values():
            entries.setdefault(state.entry.service, []).append(state)
        return [self._service(service, states) for service, states in sorted(entries.items())]

    def _service(self, service: str, states: list[EntryFiles]) -> dict[str, Any]:
        counts = self.counts.get(service, ServiceCounts())
        return {
            "service": service,
            "send_rate_lines_per_s": states[0].entry.send_rate_lines_per_s,
            "lines_read": counts.lines_read,
            "lines_acked": counts.lines_acked,
            "entries": [self._entry(state) for state in states],
        }

    def _entry(self, state: EntryFiles) -> dict[str, Any]:
        entry = state.entry
        files = len(state.files)
        if state.refused:
            path, reason = next(iter(state.refused.items()))
            condition, why = "refused" if not files else "partly refused", f"{shown(path)}: {reason}"
        elif files:
            condition, why = "reading", ""
        else:
            condition, why = "waiting", "no file is there yet"
        return {
            "log_path": entry.log_path,
            "topic": entry.topic,
            "source": entry.source,
            "files": files,
            "state": condition,
            "reason": why,
        }

    def _brokers(self) -> list[dict[str, Any]]:
        leaders = self.sender.leaders
        return [
            {
                "id": node_id,
                "address": str(address),
                "state": "up" if leaders.usable(node_id) else "down",
                "reason": leaders.trouble(node_id),
            }
            for node_id, address in sorted(self.sender.directory.brokers.items())
        ]


def _lag_bytes(file: TailedFile) -> int:
    return max(0, file.size_bytes() - file.acks.acked_offset)


def _file(file: TailedFile) -> dict[str, Any]:
    return {
        "service": file.service,
        "path": shown(file.path),
        "size_bytes": file.size_bytes(),
        "acked_offset_bytes": file.acks.acked_offset,
        "lag_bytes": _lag_bytes(file),
        "state": file.state,
        "reason": file.reason,
    }
