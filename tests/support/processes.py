# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive the test run: those of the demo, with what only tests do to them."""

import signal
from pathlib import Path

from logagent.demo import processes
from logagent.demo.processes import live, reaper_pid, tail
from tests.support.waiting import wait_until

__all__ = ["Child", "live", "reaper_pid", "tail"]


class Child(processes.Child):
    """One child in a session of its own; output goes to files."""

    def freeze(self, timeout_s: float = 10) -> None:
        """SIGSTOP; on a busy machine the other threads run on until the first one takes the signal."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: set(self._thread_states()) == {"T"}, timeout_s, f"{self.argv[0]} stands still")

    def _thread_states(self) -> list[str]:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]

    def wait(self, timeout_s: float) -> int:
        """The exit code; AssertionError when it still runs after ``timeout_s``."""
        code = self.exit_within(timeout_s)
        assert code is not None, f"Still running after {timeout_s:g} s: {' '.join(self.argv)[:200]}."
        return code
