# SPDX-License-Identifier: Apache-2.0
"""What processes use, read from /proc."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SETTLE_STEP_S = 0.25


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU time of a process, all its threads, or of the machine."""

    user_s: float
    sys_s: float

    @property
    def total_s(self) -> float:
        return self.user_s + self.sys_s

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(self.user_s - earlier.user_s, self.sys_s - earlier.sys_s)


def cpu_of(pid: int) -> Cpu:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cpu(int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S)


def machine_cpu() -> Cpu:
    """Both cores and everybody; time stolen by a hypervisor is not in it."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return Cpu((user + nice) / _TICKS_PER_S, (system + irq + softirq) / _TICKS_PER_S)


def memory_mib(pid: int, key: str) -> float:
    """VmRSS (now) or VmHWM (peak)."""
    found = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"no {key} in /proc/{pid}/status")
    return int(found[1]) / 1024


def written_bytes(pid: int) -> int:
    """What the process made the file systems write, since it started; that includes 8 MiB for a new journal."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["write_bytes"])


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def settle(pid: int, *, at_least_s: float = 1.0, timeout_s: float = 30.0) -> Cpu:
    """Wait until the process does next to nothing; what it has used by then."""
    started = time.monotonic()
    before = cpu_of(pid)
    while True:
        time.sleep(_SETTLE_STEP_S)
        now = cpu_of(pid)
        quiet = now.total_s - before.total_s <= 1 / _TICKS_PER_S
        age_s = time.monotonic() - started
        if (quiet and age_s >= at_least_s) or age_s >= timeout_s:
            return now
        before = now


class Span:
    """CPU of one process, of the broker and of everybody else between two moments."""

    def __init__(self, pid: int, broker_pid: int) -> None:
        self._pids = pid, broker_pid
        self.load_1min = os.getloadavg()[0]
        self._began = self._look()

    def _look(self) -> tuple[float, Cpu, Cpu, Cpu]:
        return time.monotonic(), cpu_of(self._pids[0]), cpu_of(self._pids[1]), machine_cpu()

    def end(self) -> dict[str, float]:
        """Seconds and cores since the beginning, by name; `others` includes this bench and its poller."""
        began, ended = self._began, self._look()
        wall_s = ended[0] - began[0]
        own, broker, machine = ended[1] - began[1], ended[2] - began[2], ended[3] - began[3]
        return {
            "wall_s": wall_s,
            "user_s": own.user_s,
            "sys_s": own.sys_s,
            "broker_cpu_s": broker.total_s,
            "others_cores": max(0.0, machine.total_s - own.total_s - broker.total_s) / wall_s,
            "load_1min": self.load_1min,
        }
