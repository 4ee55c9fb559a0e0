# SPDX-License-Identifier: Apache-2.0
"""The demo as a newcomer starts it: in a pipe, on a terminal, interrupted, killed, and with a fault in it."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.kafka import KafkaNode
from tests.support.waiting import wait_until

EXACT = re.compile(
    r"^([\d,]+) lines written, \1 in Kafka, (\d+) rotations: lost 0, duplicated 0\.$", re.MULTILINE
)
TRACEBACK = "Traceback"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """TMPDIR of the demo. Afterwards nothing runs in it."""
    yield tmp_path
    wait_until(lambda: not running_in(tmp_path), 5, "the demo left no process")


def running_in(directory: Path) -> list[str]:
    """Command lines of the processes that name ``directory`` or work in it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(directory) in line or os.readlink(process / "cwd").startswith(str(directory)):
                found.append(line)
        except OSError:  # it has just ended, or belongs to somebody else
            continue
    return found


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(home), "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}


def argv(*options: str) -> list[str]:
    return [sys.executable, "-m", "logagent", "demo", *options]


def demo(home: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv(*options),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(home),
        cwd=ROOT,
        check=False,
    )


def test_a_demo_without_a_terminal_counts_exactly_and_cleans_up(home: Path) -> None:
    done = demo(home, "--seconds", "20")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "\x1b" not in done.stdout
    found = EXACT.search(done.stdout)
    assert found, done.stdout
    assert int(found[1].replace(",", "")) > 10_000
    assert int(found[2]) >= 3
    assert "in-memory test broker of librdkafka, not a real Kafka" in done.stdout
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("drop", r": 1 lines are missing: \d+\."), ("double", r": 1 lines came twice: \d+\.")],
)
def test_a_record_too_few_or_too_many_is_named_and_fails(home: Path, fault: str, sentence: str) -> None:
    kept = home / "kept"
    done = demo(home, "--seconds", "1", "--inject", fault, "--keep", str(kept))

    assert done.returncode == 1
    assert re.search(sentence, done.stdout), done.stdout
    assert TRACEBACK not in done.stdout + done.stderr
    assert "[[test_service]]" in (kept / "logagent.ini").read_text()


class Terminal:
    """The demo on a pseudo-terminal."""

    def __init__(self, home: Path, columns: int, *options: str) -> None:
        self.screen, tty = os.openpty()
        self.resize(columns, 30)
        self.process = subprocess.Popen(
            argv(*options), stdin=tty, stdout=tty, stderr=tty, env=environment(home), cwd=ROOT
        )
        os.close(tty)
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words: str, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while words not in self.text:
            assert time.monotonic() < deadline, f"no {words!r} in {self.text[-3000:]}"
            self.read()

    def read(self) -> bool:
        if select.select([self.screen], [], [], 0.1)[0]:
            try:
                self.text += os.read(self.screen, 65536).decode()
            except OSError:  # the other side is closed
                return False
        return True

    def read_to_end(self, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self.text[-3000:]}"
            self.read()
        while self.read() and select.select([self.screen], [], [], 0)[0]:
            continue
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    made = Terminal(home, 100)
    yield made
    made.close()


def test_ctrl_c_ends_the_screen_within_two_seconds_with_the_count(home: Path, terminal: Terminal) -> None:
    terminal.read_until("acknowledged by Kafka")
    terminal.resize(40, 20)
    terminal.read_until("srv.androi…")  # the narrow layout
    interrupted = time.monotonic()
    terminal.process.send_signal(signal.SIGINT)

    code = terminal.read_to_end(10)

    assert time.monotonic() - interrupted < 2
    assert code == 0
    assert re.search(r"lines written, [\d,]+ in Kafka, .* lost 0, duplicated 0\.", terminal.text), (
        terminal.text[-500:]
    )
    assert TRACEBACK not in terminal.text
    assert list(home.iterdir()) == []


def test_a_demo_that_is_killed_leaves_no_process(home: Path, terminal: Terminal) -> None:
    terminal.read_until("acknowledged by Kafka")
    assert len(running_in(home)) >= 4

    terminal.process.kill()

    wait_until(lambda: not running_in(home), 5, "the children ended")


def test_a_real_broker_gets_a_topic_of_its_own(home: Path, kafka_39: KafkaNode) -> None:
    done = demo(home, "--seconds", "2", "--kafka", kafka_39.address)

    assert done.returncode == 0, done.stdout + done.stderr
    assert EXACT.search(done.stdout), done.stdout
    assert re.search(r"^The topic logagent_demo_\w+ stays at ", done.stdout, re.MULTILINE)


def test_a_broker_that_does_not_answer_is_one_sentence(home: Path) -> None:
    done = demo(home, "--kafka", "127.0.0.1:1")

    assert done.returncode == 1
    assert done.stderr.startswith("No Kafka answers at 127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1
