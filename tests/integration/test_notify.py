# SPDX-License-Identifier: Apache-2.0
"""What systemd hears, through a socket as it makes one."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.agent import AgentProcess
from tests.support.waiting import wait_until

WATCHDOG_S = 0.5


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_ready_watchdog_reloading_and_stopping(
    agent: Callable[..., AgentProcess], tmp_path: Path, abstract: bool
) -> None:
    heard: list[dict[str, str]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"@logagent-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        listener.bind("\0" + name[1:] if abstract else name)
        listener.setblocking(False)

        def hears(key: str, value: str = "1", *, after: int = 0) -> bool:
            while True:
                try:
                    lines = listener.recv(4096).decode().splitlines()
                except BlockingIOError:
                    break
                heard.append(dict(line.split("=", 1) for line in lines))
            return any(message.get(key) == value for message in heard[after:])

        shipper = agent(
            kafka_addr="127.0.0.1:1",  # nobody is there: READY does not wait for Kafka
            services={"s": {"log_path": tmp_path / "a.log", "topic": "t"}},
            env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))},
        )
        shipper.wait_for(lambda: hears("READY"), what="READY=1")
        assert sum("READY" in message for message in heard) == 1
        ready = len(heard)
        shipper.wait_for(lambda: hears("WATCHDOG", after=ready), timeout_s=WATCHDOG_S + 1, what="WATCHDOG=1")
        shipper.wait_for(
            lambda: sum("WATCHDOG" in message for message in heard) >= 4 or hears("nothing"),
            timeout_s=4 * WATCHDOG_S,
            what="WATCHDOG=1 comes twice as often as systemd asks",
        )

        before_usec, at = time.monotonic_ns() // 1000, len(heard)
        shipper.hup()
        shipper.wait_for(lambda: hears("RELOADING", after=at), what="RELOADING=1")
        shipper.wait_for(lambda: hears("READY", after=at), what="READY=1 after the reload")
        words = [message for message in heard[at:] if "WATCHDOG" not in message]
        assert "RELOADING" in words[0]
        assert before_usec <= int(words[0]["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert "READY" in words[1]

        at = len(heard)
        shipper.stop()
        wait_until(lambda: hears("STOPPING", after=at), 1, "STOPPING=1")
