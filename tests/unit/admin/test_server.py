# SPDX-License-Identifier: Apache-2.0
"""The real server, in a child process, asked over real sockets."""

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from logagent.admin.client import fetch_status
from logagent.errors import AgentNotRunning, LogagentError

SERVING = Path(__file__).with_name("serving.py")
ROOT = Path(__file__).parents[3]


class Served:
    def __init__(self, data_dir: Path, host: str = "127.0.0.1", port: int = 0, descriptors: int = 0) -> None:
        self.data_dir = data_dir
        limit = ["prlimit", f"--nofile={descriptors}"] if descriptors else []
        self.process = subprocess.Popen(
            [*limit, sys.executable, SERVING, data_dir, host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self.faults = self.process.stdout.readline()
        if not self.faults:
            pytest.fail(self.process.communicate()[1])

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = (self.data_dir / "admin.addr").read_text().rstrip("\n").rpartition(":")
        return host.strip("[]"), int(port)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> str:
        """What it wrote to standard error."""
        out, err = self.process.communicate(timeout=20)
        assert out == "stopped\n"
        assert self.process.returncode == 0
        return err


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*args: object, **options: object) -> Served:
        started.append(Served(*args, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for served in started:
        served.process.kill()
        served.process.communicate()


def answer_to(served: Served, request: bytes) -> bytes:
    with served.connect() as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_all_pages_are_served_on_tcp_and_status_on_the_unix_socket(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(tmp_path)
    assert served.faults == "faults: []\n"
    assert served.get("/metrics")[1].startswith(b"# HELP logagent_")
    assert served.get("/healthz")[0] == 200
    assert served.get("/readyz") == (503, b'{"ok": false, "reasons": ["no configuration yet"]}\n')
    assert served.get("/other")[0] == 404
    assert served.get("/metrics", "HEAD") == (200, b"")
    assert fetch_status(tmp_path)["schema"] == 1
    assert served.stop().count("Answering on ") == 2


def test_the_socket_is_for_its_owner_only_and_everything_is_removed_at_the_stop(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(tmp_path)
    assert stat.S_IMODE((tmp_path / "admin.sock").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["admin.addr", "admin.sock"]
    served.stop()
    assert os.listdir(tmp_path) == []


def test_the_socket_and_the_address_of_a_killed_agent_are_replaced(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    killed = serve(tmp_path)
    old_address = killed.address
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    with pytest.raises(AgentNotRunning):
        fetch_status(tmp_path)
    served = serve(tmp_path)
    assert fetch_status(tmp_path)["schema"] == 1
    assert served.address != old_address


@pytest.mark.parametrize("path_bytes", [107, 108, 2000])
def test_a_data_dir_may_have_a_long_name(
    serve: Callable[..., Served], tmp_path: Path, path_bytes: int
) -> None:
    data_dir = tmp_path
    while len(os.fsencode(data_dir / "admin.sock")) < path_bytes:
        missing = path_bytes - len(os.fsencode(data_dir / "admin.sock")) - 1
        # Nothing is left to add for a slash alone, so the last part is made one longer.
        data_dir = data_dir / ("d" * min(200, max(1, missing)))
    data_dir.mkdir(parents=True)
    served = serve(data_dir)
    assert served.faults == "faults: []\n"
    assert fetch_status(data_dir)["schema"] == 1
    served.stop()
    assert os.listdir(data_dir) == []


def test_a_door_that_cannot_be_opened_is_told_and_the_other_one_works(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = serve(tmp_path, port=taken.getsockname()[1])
        assert "Address already in use" in served.faults
        assert fetch_status(tmp_path)["schema"] == 1
        assert not (tmp_path / "admin.addr").exists()
        err = served.stop()
    assert "The agent goes on without it." in err
    assert "Traceback" not in err


def test_what_is_no_socket_is_left_in_its_place(serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "admin.sock").write_text("precious")
    served = serve(tmp_path)
    assert "something that is no socket is in its place" in served.faults
    assert served.get("/healthz")[0] == 200
    served.stop()
    assert (tmp_path / "admin.sock").read_text() == "precious"


def test_ipv6_stands_in_brackets(serve: Callable[..., Served], tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    served = serve(tmp_path, host="::1")
    assert (tmp_path / "admin.addr").read_text().startswith("[::1]:")
    assert served.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 414 "),
        (b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 20000 + b"\r\n\r\n", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 150 + b"\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n", b"HTTP/1.1 413 "),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", b"HTTP/1.1 413 "),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / SPDY/9\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/x.y\r\n\r\n", b"HTTP/1.1 400 "),
    ],
)
def test_bad_requests_are_refused_without_a_word_in_the_log(
    serve: Callable[..., Served], tmp_path: Path, request_bytes: bytes, expected: bytes
) -> None:
    served = serve(tmp_path)
    assert answer_to(served, request_bytes).startswith(expected)
    assert served.get("/healthz")[0] == 200
    lines = served.stop().splitlines()
    assert all("Answering on" in line for line in lines), lines


def test_slow_clients_are_shown_out_and_do_not_stop_the_others(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(tmp_path)
    idle = served.descriptors()
    slow = [served.connect() for _ in range(40)]
    for sock in slow:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nA: ")
    assert served.descriptors() <= idle + 16
    # The Unix socket has its own places.
    begin_s = time.monotonic()
    assert fetch_status(tmp_path)["schema"] == 1
    assert time.monotonic() - begin_s < 2
    # On TCP the queue moves on as the silent ones time out, sixteen at a time.
    assert served.get("/healthz")[0] == 200
    for sock in slow:
        sock.close()
    lines = served.stop().splitlines()
    assert all("Answering on" in line for line in lines), lines


def test_a_client_that_sends_a_byte_now_and_then_is_shown_out(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(tmp_path)
    begin_s = time.monotonic()
    with served.connect() as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nA: ")
        sock.settimeout(0.25)
        while time.monotonic() - begin_s < 20:
            try:
                sock.sendall(b"x")
                assert sock.recv(1) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 1 < time.monotonic() - begin_s < 10
    lines = served.stop().splitlines()
    assert all("Answering on" in line for line in lines), lines


def test_a_client_that_does_not_read_its_answer_is_shown_out(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    (tmp_path / "big").touch()
    served = serve(tmp_path)
    with served.connect() as sock:
        sock.sendall(b"GET /status HTTP/1.1\r\n\r\n")
        assert sock.recv(1, socket.MSG_PEEK) == b"H"
        while_open = served.descriptors()
        deadline_s = time.monotonic() + 15
        while served.descriptors() >= while_open and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert served.descriptors() < while_open
    lines = served.stop().splitlines()
    assert all("Answering on" in line for line in lines), lines


def test_no_descriptors_left_is_told_once_and_passes(serve: Callable[..., Served], tmp_path: Path) -> None:
    probe = serve(tmp_path)
    in_use = probe.descriptors()
    probe.stop()
    served = serve(tmp_path, descriptors=in_use + 3)
    waiting = [served.connect() for _ in range(8)]
    for sock in waiting:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nA: ")
    time.sleep(2.5)
    for sock in waiting:
        sock.close()
    assert served.get("/healthz")[0] == 200
    err = served.stop()
    assert err.count("was not accepted: Too many open files") == 1
    assert "Traceback" not in err


def test_no_agent_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(AgentNotRunning):
        fetch_status(tmp_path / "missing")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "admin.sock"))
        mute.listen()
        with pytest.raises(LogagentError, match=r"did not answer within 0\.2 s") as caught:
            fetch_status(tmp_path, timeout_s=0.2)
        assert not isinstance(caught.value, AgentNotRunning)
    with pytest.raises(AgentNotRunning):
        fetch_status(tmp_path)
