# SPDX-License-Identifier: Apache-2.0
"""Facts about the agent itself: its life, its configuration, its greenlets, its admin doors."""

import re
from collections.abc import Sequence
from logging import ERROR, INFO, WARNING
from pathlib import Path

from logagent.ops.facts import Extra, FactTeller, fact


class AgentEvents(FactTeller):
    """The part of Events about the agent."""

    @fact("agent", INFO, "logagent %(version)s started as host %(host_id)s; its state lies in %(data_dir)s.")
    def agent_started(self, *, version: str, host_id: str, data_dir: Path | str) -> Extra: ...

    @fact(
        "agent",
        WARNING,
        "%(data_dir)s was last used on another machine; here the host is %(host_id)s. If an agent there still ships"
        " the same files, their lines come twice. What was on its way is asked about before it is sent.",
    )
    def data_dir_moved(self, *, data_dir: Path | str, host_id: str) -> Extra: ...

    @fact("agent", INFO, "Stopping: %(reason)s. What was read is sent first.")
    def agent_stopping(self, *, reason: str) -> Extra: ...

    @fact("agent", INFO, "Stopped. %(rest)s")
    def agent_stopped(self, *, unacked_bytes: int) -> Extra:
        if unacked_bytes == 0:
            return {"rest": "Everything that was read is acknowledged."}
        return {
            "rest": f"{unacked_bytes} bytes were read and not acknowledged; the next start reads them again."
        }

    @fact(
        "agent",
        WARNING,
        "Leaving at once on the second signal. The next start sends what was not acknowledged.",
    )
    def second_signal(self) -> Extra: ...

    @fact(
        "agent",
        INFO,
        "The configuration was read again."
        " Entries started: %(started)s; changed: %(changed)s; stopped: %(stopped)s.",
    )
    def reload_applied(
        self, *, started: int | Sequence[str], changed: int | Sequence[str], stopped: int | Sequence[str]
    ) -> Extra: ...

    @fact(
        "agent",
        ERROR,
        "The configuration was read again and refused: %(reason)s. The old one stays in force.",
    )
    def reload_refused(self, *, reason: str) -> Extra: ...

    @fact("agent", WARNING, "Changed, but only a restart of the agent applies it: %(keys)s.")
    def restart_needed(self, *, keys: Sequence[str]) -> Extra: ...

    @fact("agent", WARNING, "%(text)s")
    def config_warning(self, *, text: str) -> Extra: ...

    @fact(
        "agent",
        ERROR,
        "%(name)s failed: %(error)s. %(next)s",
        "logagent_greenlet_failures_total",
        with_traceback=True,
    )
    def greenlet_failed(self, *, name: str, error: BaseException | str, restart_in_s: float | None) -> Extra:
        # Names carry paths ("tailer /var/log/x"); a label per path would never end.
        self._metrics.greenlet_failures.labels(re.split(r"[^\w.-]", name, maxsplit=1)[0]).inc()
        if restart_in_s is None:
            return {"next": "It is not restarted."}
        return {"next": f"It is restarted in {restart_in_s:.1f} s."}

    @fact("admin", INFO, "Answering on %(address)s.")
    def admin_listening(self, *, address: str) -> Extra: ...

    @fact("admin", ERROR, "Cannot answer on %(address)s: %(error)s. The agent goes on without it.")
    def admin_failed(self, *, address: str, error: BaseException | str) -> Extra: ...

    @fact(
        "admin",
        WARNING,
        "A connection to %(address)s was not accepted: %(error)s. The next attempt is in a second.",
        subject=("address",),
    )
    def admin_accept_failed(self, *, address: str, error: BaseException | str) -> Extra: ...

    @fact(
        "admin",
        ERROR,
        "Answering a request for %(path)s failed: %(error)s. The client got an error 500.",
        subject=("path",),
        with_traceback=True,
    )
    def admin_request_failed(self, *, path: str, error: BaseException | str) -> Extra: ...

    @fact("agent", WARNING, "Telling systemd failed: %(error)s. It may take the agent for dead.", subject=())
    def systemd_failed(self, *, error: BaseException | str) -> Extra: ...
