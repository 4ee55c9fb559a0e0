# SPDX-License-Identifier: Apache-2.0
"""Builds every part, in the order of a line's journey, and connects them; starts, reloads and stops them."""

import os
import signal
from collections.abc import Callable
from functools import partial

import gevent
from gevent.event import Event

from logagent import __version__, agent_limits, clock
from logagent.admin.server import AdminServer
from logagent.agent_etcd import EtcdLink
from logagent.agent_recovery import Recovery
from logagent.agent_view import AgentView
from logagent.config import ini
from logagent.config.services import Entry
from logagent.config.settings import Settings, changed_restart_keys, reloaded
from logagent.control.reconciler import NOTHING, Plan, plan
from logagent.errors import ConfigError
from logagent.kafka.connections import Cluster
from logagent.kafka.record_batch import encode_header_block
from logagent.ops import log
from logagent.ops.events import Events
from logagent.ops.metrics import Metrics
from logagent.ops.shown import shown
from logagent.ops.systemd import Notifier
from logagent.pacing.limiter import Limiter
from logagent.senders.native_sender import NativeSender
from logagent.senders.settings import SenderSettings
from logagent.sources.collector import Collector
from logagent.sources.collector_settings import CollectorSettings
from logagent.sources.deleted import Bounds
from logagent.sources.expiry import Expiry
from logagent.sources.feeder import Feeder
from logagent.sources.tailed_file import ServiceCounts, TailedFile
from logagent.sources.tailer import Tailer, TailSettings
from logagent.sources.turnstile import Turnstile
from logagent.spawn import Spawner
from logagent.state.care import StateCare
from logagent.state.data_dir import DataDir
from logagent.state.machine import moved_here

KAFKA_TIMEOUT_S = 3.0
DRAIN_LOOK_S = 0.02


def run(settings: Settings, say: Callable[[str], None]) -> int:
    """Run the agent until it is told to stop; returns its exit code. `say` tells a person at the terminal."""
    agent_limits.raise_descriptor_limit()
    data_dir = DataDir(settings.agent.data_dir)
    try:
        handle = log.configure(
            settings.level, settings.log, settings.agent.log_format, ini=str(settings.ini_path)
        )
        agent = Agent(settings, data_dir, handle, say)
        return agent.run()
    finally:
        data_dir.release()


class Agent:
    """Owns all parts; nothing finds another part but through here."""

    def __init__(
        self, settings: Settings, data_dir: DataDir, handle: log.LogHandle, say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self._say = say
        self._log = handle
        self._metrics = Metrics()
        self._events = events = Events(self._metrics)
        self._spawner = Spawner(
            lambda name, error, restart_in_s: events.greenlet_failed(
                name=name, error=error, restart_in_s=restart_in_s
            )
        )
        self._wake, self._stop_asked = Event(), Event()
        self._signals: list[int] = []
        self._entries: tuple[Entry, ...] = ()
        self._steered = False
        self._limiters: dict[str, Limiter] = {}
        self._counts: dict[str, ServiceCounts] = {}
        self._notifier = Notifier(os.environ, on_failure=lambda error: events.systemd_failed(error=error))

        host_id = data_dir.host_id(settings.agent.host_id)
        if moved_here(data_dir.path):
            events.data_dir_moved(data_dir=data_dir.path, host_id=host_id)
        self._recovery = Recovery(settings, data_dir.path, events)
        self._state = StateCare(
            data_dir.path,
            events,
            clock.wall,
            journal=self._recovery.journal,
            full_sync=settings.agent.state_sync == "full",
        )
        turnstile = Turnstile(clock.monotonic)
        self._sender = self._build_sender(data_dir, turnstile)
        tailer = Tailer(
            self._tail_settings(),
            self._sender,
            turnstile,
            limiter_of=self._limiter_of,
            on_truncated=self._truncated,
            may_read=lambda file: self._collector.may_read(file),
            on_finished=self._finished,
            events=events,
            clock=clock.monotonic,
            wall=clock.wall,
        )
        self._tailer = tailer
        self._collector = self._build_collector(host_id, Feeder(tailer, self._spawner))
        self._view = AgentView(host_id, self._collector, self._sender, self._state, self._counts)
        self._etcd = self._build_etcd(host_id) if settings.etcd_addr else None
        self._view.etcd = self._etcd
        self._expiry = Expiry(
            self._state.book,
            open_ids=lambda: {(file.service, file.identity) for file in self._collector.files.values()},
            days=lambda: self.settings.files.forget_after_days,
            events=events,
            wall=clock.wall,
        )
        self._metrics.on_collect(self._view.gauges)
        self._admin = self._build_admin(data_dir)

    # -- building -----------------------------------------------------------------------------------------------------

    def _build_sender(self, data_dir: DataDir, turnstile: Turnstile) -> NativeSender:
        return NativeSender(
            self._sender_settings(data_dir),
            Cluster(self.settings.kafka_addr, "logagent", KAFKA_TIMEOUT_S, self._spawner),
            spawner=self._spawner,
            events=self._events,
            clock=clock.monotonic,
            wall=clock.wall,
            work_turn=turnstile.turn,
            notebook=self._recovery.notebook(self._state.book),
            on_delivered=lambda note: self._collector.recall.advance(note),
            on_unknown=lambda note: self._collector.recall.release([note]),
        )

    def _sender_settings(self, data_dir: DataDir) -> SenderSettings:
        budget_bytes = agent_limits.budget_bytes(self.settings, agent_limits.rss_bytes())
        return SenderSettings.of(self.settings, data_dir.path, budget_bytes)

    def _collector_settings(self, host_id: str) -> CollectorSettings:
        files = self.settings.files
        return CollectorSettings(
            host_id,
            files.start_at,
            files.rescan_s,
            self.settings.path_rules.refusal,
            max_files=agent_limits.max_files(files.max_open),
            polled=files.poll,
            copy_wait_s=files.copy_wait_s,
            deleted=Bounds(files.hold_deleted_bytes, files.hold_deleted_min_free),
            limits=self._tail_settings().limits,
            scratch=self.settings.agent.data_dir,
        )

    def _tail_settings(self) -> TailSettings:
        files = self.settings.files
        return TailSettings(files.max_line_bytes, files.rotate_wait_s, files.oversize)

    def _build_collector(self, host_id: str, feeder: Feeder) -> Collector:
        return Collector(
            self._collector_settings(host_id),
            self._state.book,
            feeder,
            counts_of=lambda service: self._counts.setdefault(service, ServiceCounts()),
            encode_headers=encode_header_block,
            spawner=self._spawner,
            events=self._events,
            clock=clock.monotonic,
        )

    def _build_admin(self, data_dir: DataDir) -> AdminServer:
        return AdminServer(
            status=self._view.document,
            health=self._view.reasons,
            ready=self._view.not_ready,
            metrics=self._metrics.exposition,
            socket_path=data_dir.path / "admin.sock",
            tcp_addr=self.settings.agent.admin_addr,
            addr_file=data_dir.path / "admin.addr",
            spawn=self._spawner,
            events=self._events,
            explain=self._view.explain,
        )

    def _build_etcd(self, host_id: str) -> EtcdLink:
        return EtcdLink(
            self.settings,
            host_id,
            current=lambda: self.settings,
            on_change=self._on_steering,
            status=self._view.identity,
            summary=self._view.summary,
            spawner=self._spawner,
            events=self._events,
        )

    def _limiter_of(self, service: str) -> Limiter:
        return self._limiters[service]

    def _set_rates(self) -> None:
        for entry in self._entries:
            limiter = self._limiters.get(entry.service)
            if limiter is None:
                tell = partial(self._rate_limited, entry.service)
                self._limiters[entry.service] = Limiter(entry.send_rate_lines_per_s, on_wait=tell)
            else:
                limiter.retune(entry.send_rate_lines_per_s)

    def _truncated(self, file: TailedFile, size_bytes: int) -> None:
        self._collector.truncated(file, size_bytes)

    def _finished(self, file: TailedFile) -> None:
        self._collector.finished(file)

    def _rate_limited(self, service: str, wait_s: float) -> None:
        self._events.rate_limited(service=service, wait_s=wait_s)

    # -- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Start everything, serve until a signal says stop, drain."""
        self._start()
        try:
            self._serve()
        finally:
            self._stop()
        return 0

    def _start(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            gevent.signal_handler(number, self._on_signal, number)
        self._events.agent_started(
            version=__version__, host_id=self._view.host_id, data_dir=self.settings.agent.data_dir
        )
        for text in self.settings.warnings:
            self._events.config_warning(text=text)
        self._state.start(self._spawner)
        self._recovery.prepare(self._state.book, self._collector.recall, self._sender)
        self._sender.start()
        self._collector.start()
        self._spawner.forever("positions-expiry", self._expiry.run)
        if self._etcd is not None:
            self._etcd.start()
        self._spawner.once("recovery", self._recovery.run, self._collector.recall, self._sender)
        self._apply_entries()
        self._recovery.first_scan_over(self._collector.recall)
        self._admin.start()
        self._view.admin_faults = self._admin.faults
        if self._notifier.watchdog_s is not None:
            self._spawner.forever("watchdog", self._ping, self._notifier.watchdog_s)
        self._view.phase = "running"
        self._notifier.ready(f"reading {len(self._collector.files)} files")
        for sentence in self._view.introduction(self.settings, self._admin.tcp_address):
            self._say(sentence)

    def _serve(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._signals:
                number = self._signals.pop(0)
                if number == signal.SIGHUP:
                    self._reload()
                else:
                    self._events.agent_stopping(reason=signal.Signals(number).name)
                    return
            if self._steered:
                self._follow()

    def _on_signal(self, number: int) -> None:
        if number != signal.SIGHUP and self._view.phase == "stopping":
            self._events.second_signal()
            os._exit(1)
        self._signals.append(number)
        if number != signal.SIGHUP:
            if self._view.phase == "running":
                self._view.phase = "stopping"
            self._stop_asked.set()
            if self._etcd is not None:
                self._etcd.hurry()
        self._wake.set()

    def _stop(self) -> None:
        """Intake, then what is on its way, then the outlets; bounded by shutdown_timeout_s."""
        self._view.phase = "stopping"
        self._notifier.stopping()
        deadline_s = clock.monotonic() + self.settings.agent.shutdown_timeout_s
        if self._etcd is not None:
            self._etcd.leave()
        self._collector.stop()
        self._sender.flush()
        while not self._sender.empty and clock.monotonic() < deadline_s:
            gevent.sleep(DRAIN_LOOK_S)
        self._sender.stop()
        if self._etcd is not None:
            self._etcd.stop(deadline_s - clock.monotonic())
        saved = self._state.stop()
        self._admin.stop()
        for file, lost_bytes in self._view.deleted_bytes():
            reason = "deleted while it waited"
            self._events.bytes_lost(
                service=file.service, path=file.label, lost_bytes=lost_bytes, reason=reason
            )
            self._say(f"lost {lost_bytes} bytes of {shown(file.label)}: it was deleted before they were sent")
        if not saved:
            self._say(f"positions could not be saved, lines will come again: {self._state.book.failure}")
        unacked_bytes = self._view.unacked_bytes()
        self._recovery.finish(clean=saved and self._sender.empty and not unacked_bytes)
        self._events.agent_stopped(unacked_bytes=unacked_bytes)
        rest = (
            f"; {unacked_bytes} bytes were not acknowledged and will be read again" if unacked_bytes else ""
        )
        self._say(f"stopped{rest}")
        self._log.close()

    def _ping(self, every_s: float) -> None:
        while True:
            self._notifier.watchdog()
            gevent.sleep(every_s)

    # -- reload -------------------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Read the INI again: entries and rates change in place; a faulty one changes nothing."""
        self._notifier.reloading()
        self._log.reopen()
        try:
            wanted = ini.load(self.settings.ini_path)
        except ConfigError as error:
            self._view.reload_fault = "; ".join(map(str, error.faults))
            self._events.reload_refused(reason=self._view.reload_fault)
            self._say(f"the changed configuration is refused: {self._view.reload_fault}")
        else:
            self._view.reload_fault = ""
            self._apply(wanted)
        self._notifier.ready()

    def _apply(self, wanted: Settings) -> None:
        restart_keys = changed_restart_keys(self.settings, wanted)
        if restart_keys:
            self._events.restart_needed(keys=restart_keys)
            self._say(f"needs a restart to take effect: {', '.join(restart_keys)}")
        self._log.set_level(wanted.level)
        # Keys that need a restart keep their old values, so that the next reload says the same again.
        self.settings = reloaded(self.settings, wanted)
        self._collector.reload(self._collector_settings(self._view.host_id))
        self._tailer.settings = self._tail_settings()
        changes = self._apply_entries()
        if self._etcd is not None:
            self._etcd.reloaded()
        self._events.reload_applied(
            started=len(changes.start), changed=len(changes.change), stopped=len(changes.stop)
        )
        self._say(f"reloaded: {_told(changes)}")

    # -- entries ------------------------------------------------------------------------------------------------------

    def _on_steering(self) -> None:
        """Called in the supervisor's greenlet; the main one applies, one change at a time."""
        self._steered = True
        self._wake.set()

    def _follow(self) -> None:
        """Etcd says something else now."""
        changes = self._apply_entries()
        if changes != NOTHING:
            self._events.etcd_applied(
                started=len(changes.start), changed=len(changes.change), stopped=len(changes.stop)
            )
            self._say(f"Etcd changed: {_told(changes)}")

    def _apply_entries(self) -> Plan:
        """Make what runs what the INI and Etcd say; what they say alike is not touched."""
        self._steered = False
        wanted = self.settings.entries if self._etcd is None else self._etcd.wanted(self.settings)
        changes = plan(self._entries, wanted)
        self._entries = wanted
        self._set_rates()
        self._collector.stop_entries(entry.id for entry in changes.stop)
        for entry in changes.change:
            self._collector.change_entry(entry)
        # Whoever wants it to stop does not wait until everything is found.
        starting = self._spawner.once("files-start", self._collector.start_entries, changes.start)
        gevent.wait([starting, self._stop_asked], count=1)
        self._sender.keep_topics({entry.topic for entry in wanted})
        if self._etcd is not None:
            self._etcd.applied()
        return changes


def _told(changes: Plan) -> str:
    return f"{len(changes.start)} new, {len(changes.change)} changed, {len(changes.stop)} removed"
