# SPDX-License-Identifier: Apache-2.0
"""The agent as an operator runs it: an INI file, a process, its status and its metrics."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support import ROOT
from tests.support.processes import Child, tail
from tests.support.waiting import wait_until

Options = Mapping[str, object]
_SAMPLE = re.compile(r"^(\w+(?:\{.*\})?) (\S+)$", re.MULTILINE)
_CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def ini_text(top: Options, services: Mapping[str, Options], **sections: Options) -> str:
    """An INI of the agent: plain keys, sections, and one ``[[name]]`` per service."""
    parts = [_keys(top)]
    parts += [f"[{name}]\n{_keys(options)}" for name, options in sections.items() if options]
    parts.append("[services]\n")
    parts += [f"[[{name}]]\n{_keys(options)}" for name, options in services.items()]
    return "\n".join(parts)


def _keys(options: Options) -> str:
    return "".join(f"{key} = {value}\n" for key, value in options.items())


class AgentProcess:
    """One data directory and one INI; start(), kill9() and start() again as often as the test likes."""

    module = "logagent"
    """What Python runs."""

    def __init__(
        self,
        directory: Path,
        *,
        kafka_addr: str,
        services: Mapping[str, Options],
        top: Options | None = None,
        agent: Options | None = None,
        etcd: Options | None = None,
        kafka: Options | None = None,
        files: Options | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``top``: keys outside of sections; ``agent``, ``etcd``, ``kafka``, ``files``: those of the sections."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data_dir = directory / "data"
        self.ini = directory / "logagent.ini"
        self.stdout, self.stderr = directory / "agent.out", directory / "agent.err"
        self.starts = 0
        self._env = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(env or {})
        self._top: Options = {"kafka_addr": kafka_addr} | dict(top or {})
        self._sections: dict[str, Options] = {
            "agent": {"data_dir": self.data_dir, "admin_addr": "127.0.0.1:0"} | dict(agent or {}),
            "etcd": etcd or {},
            "kafka": kafka or {},
            "files": files or {},
        }
        self._child: Child | None = None
        self.write_ini(services)

    def write_ini(
        self, services: Mapping[str, Options], *, top: Options | None = None, **sections: Options
    ) -> None:
        """Replace the services, and the keys given; hup() makes a running agent read it."""
        self._top = {**self._top, **(top or {})}
        for name, options in sections.items():
            self._sections[name] = {**self._sections.get(name, {}), **options}
        self.ini.write_text(ini_text(self._top, services, **self._sections))

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> "AgentProcess":
        assert not self.running, "the agent runs already"
        (self.data_dir / "admin.addr").unlink(missing_ok=True)
        argv = [sys.executable, "-m", self.module, "run", "-c", str(self.ini)]
        self._child = Child(argv, stdout=self.stdout, stderr=self.stderr, env=self._env, cwd=self.directory)
        self.starts += 1
        return self

    @property
    def child(self) -> Child:
        assert self._child is not None, "the agent was never started"
        return self._child

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        return self.child.pid

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.child.signal(signal.SIGTERM)

    def hup(self) -> None:
        self.child.signal(signal.SIGHUP)

    def wait_exit(self, timeout_s: float = 20) -> int:
        """The exit code."""
        return self.child.wait(timeout_s)

    def stop(self, expect_exit: int = 0, timeout_s: float = 20) -> None:
        """SIGTERM, and the exit code must be ``expect_exit``."""
        self.terminate()
        code = self.wait_exit(timeout_s)
        assert code == expect_exit, (
            f"The agent ended with {code}, not {expect_exit}.\n{self.failure_report()}"
        )

    def kill9(self) -> None:
        self.child.kill()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()

    def wait_for(
        self, condition: Callable[[], Any], timeout_s: float = 20, what: str = "the condition holds"
    ) -> Any:
        """The first true value of ``condition``; fails at once when the agent has ended."""

        def ended_or_true() -> Any:
            assert self.running, f"The agent ended with {self.child.exit_code()} before {what}."
            return condition()

        try:
            return wait_until(ended_or_true, timeout_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.failure_report()}") from None

    def wait_ready(self, timeout_s: float = 20) -> None:
        """/readyz answers 200."""
        self.wait_for(lambda: self.http("/readyz")[0] == 200, timeout_s, "/readyz says ready")

    def wait_acked(self, timeout_s: float = 60) -> None:
        """Every known file is acknowledged to its end."""

        def idle() -> bool:
            files = self.fetch_status()["files"]
            return bool(files) and all(file["lag_bytes"] == 0 for file in files)

        self.wait_for(idle, timeout_s, "every file is acknowledged to its end")

    # -- what it says --------------------------------------------------------------------------------------------

    def http(self, path: str) -> tuple[int, str]:
        """(status, body) over admin_addr; (0, reason) while it cannot be asked."""
        try:
            address = (self.data_dir / "admin.addr").read_text().strip()
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def fetch_status(self) -> dict[str, Any]:
        """/status over admin_addr; without files and services while it cannot be asked."""
        code, body = self.http("/status")
        return (
            dict(json.loads(body))
            if code == 200
            else {"files": [], "services": [], "brokers": [], "state": ""}
        )

    def run_cli(self, *argv: str, timeout_s: float = 20) -> "subprocess.CompletedProcess[str]":
        """``logagent ARGV``, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "logagent", *argv],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **self._env},
            cwd=self.directory,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """``logagent status --json``."""
        done = self.run_cli("status", "-c", str(self.ini), "--json")
        assert done.stdout, f"logagent status ended with {done.returncode}: {done.stderr}"
        return dict(json.loads(done.stdout))

    def metrics(self) -> dict[str, float]:
        """{'logagent_lines_read_total{service="a"}': 5.0, ...}; empty while it cannot be asked."""
        code, body = self.http("/metrics")
        return {name: float(value) for name, value in _SAMPLE.findall(body)} if code == 200 else {}

    def metric(self, name: str) -> float:
        """The sum over all label values of one metric; 0 when there is none."""
        return sum(value for key, value in self.metrics().items() if key.split("{")[0] == name)

    def said(self) -> str:
        """Standard output and standard error so far."""
        return "\n".join(
            path.read_text(errors="replace") for path in (self.stdout, self.stderr) if path.exists()
        )

    def rss_bytes(self) -> int:
        return self._proc_status_kib("VmRSS") * 1024

    def peak_rss_bytes(self) -> int:
        return self._proc_status_kib("VmHWM") * 1024

    def _proc_status_kib(self, key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found, f"no {key} in /proc/{self.pid}/status"
        return int(found[1])

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S

    def open_fds(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def failure_report(self) -> str:
        state = (
            "running"
            if self.running
            else f"ended with {self._child.exit_code() if self._child else 'no start'}"
        )
        return (
            f"agent in {self.directory} ({state}, {self.starts} starts)\n--- {self.ini.name}\n{self.ini.read_text()}"
            f"--- end of stdout\n{tail(self.stdout, 30)}\n--- end of stderr\n{tail(self.stderr, 60)}"
        )
