# SPDX-License-Identifier: Apache-2.0
import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logagent.cli import init, log_files
from logagent.config import ini
from tests.unit.kafka.servers import Broker, black_hole, metadata_body, refusing, serve

ROOT = Path(__file__).parents[3]
METADATA = 3
Logagent = Callable[..., Any]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory like /var/log, beside the working directory."""
    root = tmp_path / "log"
    for name, content in {
        "syslog": b"Jan 1 booted\n",
        "wtmp": b"\0\0",
        "btmp": b"\0",
        "lastlog": b"",
        "syslog.1": b"old\n",
        "nginx/access.log": b"GET /\n" * 400,
        "nginx/error.log": b"",
        "nginx/access.log.1": b"old\n",
        "nginx/access.log.2.gz": b"\x1f\x8b\x08",
        "journal/abc/system.journal": b"LPKSHHRH",
        "journal/abc/trap.log": b"not text\n",
        "app/.hidden.log": b"x\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return root


@pytest.fixture
def dead_kafka() -> Iterator[str]:
    with refusing() as address:
        yield str(address)


def entries(path: str | Path = "logagent.ini") -> list[tuple[str, str]]:
    return [(entry.service, entry.log_path) for entry in ini.load(Path(path)).entries]


def command(*args: object, unprivileged: bool = False) -> list[str]:
    words = [sys.executable, "-m", "logagent", *map(str, args)]
    # Root without capabilities owns the test's directories but obeys the permissions of files.
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    return [*drop, *words] if unprivileged and os.geteuid() == 0 else words


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "200", **more}


class Terminal:
    """A command on a pseudo-terminal; `answers` are given one by one as `: ` asks for them."""

    def __init__(self, *args: object, answers: tuple[str, ...] = (), **more: str) -> None:
        ours, theirs = os.openpty()
        self.out = b""
        with subprocess.Popen(
            command(*args), stdin=theirs, stdout=theirs, stderr=theirs, env=environ(**more)
        ) as child:
            os.close(theirs)
            try:
                self._talk(ours, list(answers))
            except BaseException:
                child.kill()
                raise
            os.close(ours)
        self.code = child.returncode

    def _talk(self, ours: int, left: list[str]) -> None:
        seen = 0
        while self._read(ours):
            if not left or not self.out.endswith(b": ") or len(self.out) <= seen:
                continue
            answer = left.pop(0)
            seen = len(self.out) + len(answer) + 2
            os.write(ours, answer.encode() + b"\n")

    def _read(self, ours: int) -> bool:
        try:
            data = os.read(ours, 65536)
        except OSError:
            # EIO is how a pseudo-terminal says that nobody has the other end any more.
            return False
        self.out += data
        return bool(data)


def test_what_is_written_loads_and_check_agrees(logagent: Logagent, host: Path, dead_kafka: str) -> None:
    ended = logagent("init", "--kafka", dead_kafka, "--root", host)
    assert ended.code == 0
    assert entries() == [("system", f"{host}/syslog"), ("nginx", f"{host}/nginx/*.log")]
    assert stat.S_IMODE(os.stat("logagent.ini").st_mode) == 0o644
    assert os.listdir() == ["logagent.ini"]
    assert logagent("check", "-c", "logagent.ini").code == 0
    for hidden in ("journal", "wtmp", "btmp", ".gz", ".1", "hidden"):
        assert hidden not in Path("logagent.ini").read_text().replace("127.0.0.1", "").replace(str(host), "")


def test_it_shows_the_proposal_and_says_the_next_commands(
    logagent: Logagent, host: Path, dead_kafka: str
) -> None:
    ended = logagent("init", "--kafka", dead_kafka, "--root", host, "--output", "my host.ini")
    rows = [line.split() for line in ended.out.splitlines()]
    assert ["nginx", f"{host}/nginx/*.log", "nginx_log", "2", "2.3", "KiB"] in rows
    assert ended.out.splitlines()[-3:] == [
        "Wrote my host.ini: 2 services. Look it over, then:",
        "  logagent check -c 'my host.ini'",
        "  logagent run -c 'my host.ini'",
    ]


def test_a_kafka_that_answers_is_told(logagent: Logagent, host: Path) -> None:
    broker = Broker()
    with serve(broker) as address:
        broker.bodies[METADATA] = metadata_body({1: address, 2: address})
        ended = logagent("init", "--kafka", address, "--root", host)
    assert (ended.code, ended.err) == (0, "")
    assert "Kafka answers: 2 brokers.\n" in ended.out


def test_a_kafka_that_does_not_answer_is_a_warning_in_time(logagent: Logagent, host: Path) -> None:
    with black_hole() as address:
        begun_s = time.monotonic()
        ended = logagent("init", "--kafka", address, "--root", host)
        assert time.monotonic() - begun_s < init.PROBE_S + 1
    assert ended.code == 0
    assert ended.err.startswith("warning: kafka_addr: no broker answers (")
    assert ended.err.count("\n") == 1
    assert str(ini.load(Path("logagent.ini")).kafka_addr[0]) == str(address)


def test_off_a_terminal_the_address_must_be_given(logagent: Logagent, host: Path) -> None:
    ended = logagent("init", "--root", host, "--yes")
    assert (ended.code, ended.out, os.listdir()) == (2, "", [])
    assert ended.err == (
        "--kafka: it is missing and there is no terminal to ask; expected --kafka HOST:PORT\n"
    )


@pytest.mark.parametrize("address", ["", "kafka:port", "http://kafka:9092", "a,,b", "a\x1b[31m:1"])
def test_a_wrong_address_is_one_sentence(logagent: Logagent, host: Path, address: str) -> None:
    ended = logagent("init", "--kafka", address, "--root", host)
    assert (ended.code, ended.err.count("\n"), os.listdir()) == (2, 1, [])
    assert ended.err.startswith("--kafka")
    assert "expected host:port" in ended.err
    assert "\x1b" not in ended.err


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link", "fifo"])
def test_nothing_that_exists_is_overwritten(
    logagent: Logagent, host: Path, dead_kafka: str, kind: str
) -> None:
    path = Path("logagent.ini")
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    ended = logagent("init", "--kafka", dead_kafka, "--root", host, "--yes")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("--output = 'logagent.ini': it exists and is left alone")
    assert os.listdir() == ["logagent.ini"]
    if kind == "file":
        assert path.read_text() == "mine"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("dangling", [True, False])
def test_a_file_that_appears_meanwhile_is_not_overwritten(
    logagent: Logagent, host: Path, monkeypatch: pytest.MonkeyPatch, dangling: bool, links: bool
) -> None:
    def appear(_addresses: object) -> None:
        if dangling:
            Path("logagent.ini").symlink_to("elsewhere")
        else:
            Path("logagent.ini").write_text("mine")

    monkeypatch.setattr(init, "_probe", appear)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    ended = logagent("init", "--kafka", "k:1", "--root", host)
    assert ended.code == 2
    assert "it exists and is left alone" in ended.err
    assert os.listdir() == ["logagent.ini"]
    assert dangling or Path("logagent.ini").read_text() == "mine"


def no_links(*_args: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_links_gets_the_file_too(
    logagent: Logagent, host: Path, dead_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    assert logagent("init", "--kafka", dead_kafka, "--root", host).code == 0
    assert len(entries()) == 2
    assert os.listdir() == ["logagent.ini"]


def test_a_directory_that_is_not_there_is_one_sentence(
    logagent: Logagent, host: Path, dead_kafka: str
) -> None:
    ended = logagent("init", "--kafka", dead_kafka, "--root", host, "--output", "none/logagent.ini")
    assert (ended.code, ended.err.count("\n")) == (2, 2)
    assert "--output = 'none/logagent.ini': it cannot be written: No such file or directory" in ended.err


def test_without_a_home_the_fault_names_the_new_file_and_nothing_is_written(
    logagent: Logagent, host: Path, dead_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    ended = logagent("init", "--kafka", dead_kafka, "--root", host)
    assert (ended.code, os.listdir()) == (2, [])
    assert "\nlogagent.ini: [agent] data_dir: expected a directory" in ended.err


def test_nothing_found_writes_an_example_and_says_so(
    logagent: Logagent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead_kafka: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = logagent("init", "--kafka", dead_kafka, "--root", tmp_path / "nothing")
    assert ended.code == 0
    assert f"No log file below {tmp_path}/nothing can be read; the file gets an example" in ended.out
    assert "Wrote logagent.ini: an example to fill in." in ended.out
    assert entries() == []
    assert "# [[app]]\n" in Path("logagent.ini").read_text()


def test_odd_names_and_odd_files_do_not_get_in_the_way(
    logagent: Logagent, host: Path, dead_kafka: str
) -> None:
    place = os.fsencode(host / "odd, place")
    os.mkdir(place)
    for name in (b"a, b.log", b"\xff.log", b"new\nline.log"):
        Path(os.fsdecode(place + b"/" + name)).write_text("x\n")
    os.mkfifo(place + b"/fifo.log")
    Path(os.fsdecode(place), "packed.log").write_bytes(b"\x1f\x8b\x08")
    Path(os.fsdecode(place), "binary.log").write_bytes(b"a\0b")
    Path(os.fsdecode(place), "passwd.log").symlink_to("/etc/passwd")
    Path(os.fsdecode(place), "dangling.log").symlink_to("nowhere")
    Path(os.fsdecode(place), "loop").symlink_to(host)
    assert logagent("init", "--kafka", dead_kafka, "--root", host).code == 0
    assert ("odd-place", f"{host}/odd, place/a, b.log") in entries()
    text = Path("logagent.ini").read_text()
    for sentence in (
        "\\xff.log: its name is not UTF-8, so the INI cannot name it",
        "new\\nline.log: its name has control characters or quotes",
        "fifo.log: it is a FIFO; only regular files are read",
        "packed.log: compressed; it is read only as the missing rest of a file known before",
        "binary.log: it is binary",
        "passwd.log: /etc is in denied_paths",
    ):
        assert f"#   {host}/odd, place/{sentence}" in text
    assert "dangling" not in text
    assert "loop" not in text


def test_a_link_to_a_file_that_is_found_anyway_is_not_proposed_twice(
    logagent: Logagent, host: Path, dead_kafka: str
) -> None:
    (host / "links").mkdir()
    (host / "links" / "nginx.log").symlink_to(host / "nginx" / "access.log")
    (host / "links" / "current.log").symlink_to(host / "nginx" / "access.log.1")
    assert logagent("init", "--kafka", dead_kafka, "--root", host).code == 0
    assert [service for service, _ in entries()] == ["system", "links", "nginx"]
    assert "# 1 file, " in Path("logagent.ini").read_text().partition("[[links]]")[2]


@pytest.mark.parametrize(("bound", "value"), [("MOST_NAMES", 3), ("DEEPEST", 0)])
def test_a_walk_that_is_cut_short_says_so(
    logagent: Logagent,
    host: Path,
    dead_kafka: str,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
) -> None:
    monkeypatch.setattr(log_files, bound, value)
    monkeypatch.setattr(log_files._Walk.__init__, "__defaults__", ())
    assert logagent("init", "--kafka", dead_kafka, "--root", host).code == 0
    said = {"MOST_NAMES": "after 3 names the rest was not looked at", "DEEPEST": "were not looked into"}
    assert said[bound] in Path("logagent.ini").read_text()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv to be no root")
def test_what_this_user_cannot_read_is_a_comment_with_the_way_out(host: Path, dead_kafka: str) -> None:
    (host / "nginx" / "secret.log").write_text("x\n")
    (host / "nginx" / "secret.log").chmod(0)
    (host / "closed").mkdir(mode=0)
    (host / "inner").mkdir()
    (host / "inner" / "a.log").write_text("x\n")
    (host / "inner").chmod(0o400)  # its names can be listed, nothing in it reached
    ended = subprocess.run(
        command("init", "--kafka", dead_kafka, "--root", host, unprivileged=True),
        capture_output=True,
        text=True,
        check=False,
        env=environ(),
        timeout=30,
    )
    for directory in ("closed", "inner"):
        (host / directory).chmod(0o700)
    assert ended.returncode == 0, ended.stderr
    assert "Found, but left out; the file lists each with its reason:" in ended.stdout
    text = Path("logagent.ini").read_text()
    assert f"#   {host}/nginx/secret.log: it cannot be opened: Permission denied; only " in text
    assert f"#   {host}/closed/: it cannot be listed: Permission denied; only " in text
    assert f"#   {host}/inner/a.log: it cannot be opened: Permission denied; run the agent" in text
    assert ("nginx", f"{host}/nginx/access.log") in entries()
    assert ("nginx", f"{host}/nginx/*.log") not in entries()


def test_a_group_that_may_read_is_the_advice(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host / "auth.log"
    path.write_text("x\n")
    path.chmod(0o640)
    status = os.stat(path)
    fields = list(status)
    fields[stat.ST_GID] = 4_000_000
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda _path: os.stat_result(fields))
        advice = log_files._advice(os.fsencode(path), PermissionError(errno.EACCES, "no"))
    assert advice == (
        "the group 4000000 may: `usermod -a -G 4000000 USER` for the agent's user, then init again"
    )


def test_on_a_terminal_it_asks_again_until_the_address_is_one_and_then_for_confirmation(
    host: Path, dead_kafka: str
) -> None:
    ended = Terminal("init", "--root", host, answers=("kafka:port", dead_kafka, "y"))
    assert ended.code == 0, ended.out
    assert b"'port' is not a port from 1 to 65535; expected host:port" in ended.out
    assert b"warning: kafka_addr: no broker answers" in ended.out
    assert b"Write logagent.ini? [Y/n]" in ended.out
    assert [str(address) for address in ini.load(Path("logagent.ini")).kafka_addr] == [dead_kafka]


def test_whoever_declines_gets_no_file(host: Path, dead_kafka: str) -> None:
    ended = Terminal("init", "--kafka", dead_kafka, "--root", host, answers=("n",))
    assert (ended.code, os.listdir()) == (1, []), ended.out
    assert b"Nothing was written." in ended.out


def test_ctrl_c_at_the_question_leaves_no_file(
    logagent: Logagent, host: Path, dead_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_question: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(init, "_on_terminal", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", interrupt)
    ended = logagent("init", "--kafka", dead_kafka, "--root", host)
    assert (ended.code, os.listdir()) == (130, [])


def test_yes_and_an_address_leave_nothing_to_ask(host: Path, dead_kafka: str) -> None:
    ended = Terminal("init", "--kafka", dead_kafka, "--yes", "--root", host)
    assert ended.code == 0
    assert b"?" not in ended.out


def test_no_color_means_no_escape_codes(host: Path, dead_kafka: str) -> None:
    args = ("init", "--root", host, "--output")
    plain = Terminal(*args, "plain.ini", answers=(dead_kafka, "y"), NO_COLOR="1")
    assert plain.code == 0
    assert b"\x1b" not in plain.out
    assert b"\x1b[" in Terminal(*args, "bold.ini", answers=(dead_kafka, "y"), NO_COLOR="").out
