# SPDX-License-Identifier: Apache-2.0
"""Tells systemd how the agent is: sd_notify, datagrams to $NOTIFY_SOCKET. Does nothing without systemd."""

import os
import socket
import time
from collections.abc import Callable, Mapping

SEND_TIMEOUT_S = 1.0


class Notifier:
    """Speaks for one process; every method is silent where systemd does not listen.

    `watchdog_s` is how often to call `watchdog()`: half of what systemd allows, None if it does not ask.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        pid: int | None = None,
        on_failure: Callable[[OSError], None] | None = None,
    ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._on_failure = on_failure
        self.watchdog_s = _watchdog_s(environ, os.getpid() if pid is None else pid) if address else None

    def ready(self, status: str = "") -> None:
        """The agent is up, or back from a reload."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """A reload begins; systemd waits for the next `ready()`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("", text)

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        if status:
            # A newline would start the next assignment.
            state = f"{state}\nSTATUS={' '.join(status.split())}".lstrip("\n")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(SEND_TIMEOUT_S)
                sock.connect(self._address)
                sock.sendall(state.encode(errors="backslashreplace"))
        except OSError as error:
            if self._on_failure is not None:
                self._on_failure(error)


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    usec = environ.get("WATCHDOG_USEC", "")
    # WATCHDOG_PID keeps a child that inherited the environment from answering for its parent.
    if (
        not (usec.isascii() and usec.isdigit())
        or int(usec) == 0
        or environ.get("WATCHDOG_PID", str(pid)) != str(pid)
    ):
        return None
    return int(usec) / 1e6 / 2
