# SPDX-License-Identifier: Apache-2.0
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from logagent.ops.systemd import Notifier


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def received(listener: socket.socket) -> str:
    return listener.recv(4096).decode()


def test_every_state_is_one_datagram(listener: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": listener.getsockname()})
    notifier.ready("reads 3 files")
    assert received(listener) == "READY=1\nSTATUS=reads 3 files"
    notifier.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", received(listener))
    notifier.watchdog()
    assert received(listener) == "WATCHDOG=1"
    notifier.status("a\nREADY=1")
    assert received(listener) == "STATUS=a READY=1"
    notifier.stopping()
    assert received(listener) == "STOPPING=1"


def test_an_abstract_address_begins_with_a_nul_byte() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")  # the kernel picks an abstract name
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + sock.getsockname()[1:].decode()}).ready()
        assert received(sock) == "READY=1"


def test_without_systemd_nothing_is_sent_and_no_watchdog_is_asked_for() -> None:
    failures: list[OSError] = []
    notifier = Notifier({"WATCHDOG_USEC": "1000000"}, on_failure=failures.append)
    notifier.ready()
    notifier.watchdog()
    assert failures == []
    assert notifier.watchdog_s is None


def test_a_systemd_that_is_gone_is_reported_and_does_not_raise(tmp_path: Path) -> None:
    failures: list[OSError] = []
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, on_failure=failures.append).ready()
    assert [type(error) for error in failures] == [FileNotFoundError]


@pytest.mark.parametrize(
    ("environ", "expected_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(environ: dict[str, str], expected_s: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **environ}, pid=42).watchdog_s == expected_s
