# SPDX-License-Identifier: Apache-2.0
"""At the end of a run: tasks, seconds and bytes copied per host."""

import time
from collections import defaultdict
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: fleet
    type: aggregate
    short_description: tells per host how many tasks ran, how long they took, and how many bytes were copied
    description: Skipped tasks do not count; bytes are those of files that changed.
"""


class Host:
    """What one host cost."""

    def __init__(self) -> None:
        self.tasks = 0
        self.seconds = 0.0
        self.copied_bytes = 0


class CallbackModule(CallbackBase):
    """Ansible finds it by this name."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "fleet"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._hosts: dict[str, Host] = defaultdict(Host)
        self._started: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._started[host.get_name(), task._uuid] = time.monotonic()

    def _count(self, result: Any) -> None:
        host = self._hosts[result._host.get_name()]
        host.tasks += 1
        started = self._started.pop((result._host.get_name(), result._task._uuid), None)
        host.seconds += 0 if started is None else time.monotonic() - started
        value = result._result
        copied = result._task.action.endswith(("copy", "template")) and not result._task.args.get(
            "remote_src"
        )
        if copied and value.get("changed"):
            host.copied_bytes += int(value.get("size", 0))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for name, host in sorted(self._hosts.items()):
            text = (
                f"{name}: {host.tasks} tasks, {host.seconds:.1f} s, {host.copied_bytes / 1e6:.1f} MB copied"
            )
            self._display.display(text)
