# SPDX-License-Identifier: Apache-2.0
"""What lies at log paths in real life: each bad thing costs a sentence, everything else arrives."""

import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.proofs import entry_states, prove, put_lines, sentences
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.missing import skip_or_fail

_NOBODY = 65534
_CAPABILITIES = "-dac_override,-dac_read_search"

ODD_NAMES = [
    b"two words.log",
    b"new\nline.log",
    b"tab\tand\x1b[31mred.log",
    b"not \xff\xfe UTF-8.log",
    "ünïcödé ☃.log".encode(),
    b"$(touch pwned);`id`&|<>'\"*?[a]{b}~!#%s.log",
    b"-rf.log",
    b"n" * 251 + b".log",
]


@pytest.fixture
def as_ordinary_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Agents started from here on cannot read what others have forbidden, even when the tests run as root."""
    if os.geteuid() != 0:
        return
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        skip_or_fail("setpriv (util-linux) is missing: root can read every file")
    python = tmp_path / "python"
    options = [f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}", "--"]
    python.write_text(f'#!/bin/sh\nexec {shlex.join([setpriv, *options, sys.executable])} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def _forbid(path: Path) -> None:
    """0600, and somebody else's."""
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, _NOBODY, _NOBODY)
    else:
        path.chmod(0)


def test_files_with_odd_names_arrive_exactly(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    logs = tmp_path / "odd names, all of them"
    logs.mkdir()
    early, late = ODD_NAMES[:4], ODD_NAMES[4:]
    written = [put_lines(bytes(logs) + b"/" + name, f"f{n}", 300) for n, name in enumerate(early)]
    glob = str(logs).replace(",", "\\,") + "/*.log"
    shipper = agent(kafka_addr=kafka_39.address, services={"odd": {"log_path": glob, "topic": topic}})
    shipper.wait_acked()
    written += [put_lines(bytes(logs) + b"/" + name, f"f{n}", 300) for n, name in enumerate(late, len(early))]
    shipper.wait_for(
        lambda: shipper.metric("logagent_lines_acked_total") == 300 * len(ODD_NAMES),
        what="all is acknowledged",
    )
    files = shipper.fetch_status()["files"]
    assert len(files) == len(ODD_NAMES)
    assert all(str(file["path"]).isprintable() for file in files)
    table = shipper.run_cli("status", "-c", str(shipper.ini))
    assert table.returncode == 0
    assert "\x1b" not in table.stdout + shipper.said()
    shipper.stop()
    shipper.start()  # and every one of them is known again
    shipper.wait_acked()
    assert shipper.metric("logagent_lines_read_total") == 0
    assert not (logs / "pwned").exists()

    prove(kafka_39, topic, tmp_path, written, min_lines=300 * len(ODD_NAMES))


@pytest.mark.usefixtures("as_ordinary_user")
def test_what_is_no_readable_log_file_is_refused_in_a_sentence_and_the_rest_goes_on(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    good, secret = logs / "good.log", logs / "secret.log"
    os.mkfifo(logs / "fifo.log")
    (logs / "directory.log").mkdir()
    (logs / "shadow.log").symlink_to("/etc/shadow")
    (logs / "nowhere.log").symlink_to(logs / "not there")
    (logs / "loop.log").symlink_to(logs / "loop.log")
    (logs / "zero.log").symlink_to("/dev/zero")
    hidden = put_lines(secret, "secret", 300)
    _forbid(secret)
    written = put_lines(good, "good", 300)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(logs / "socket.log"))
        shipper = agent(
            kafka_addr=kafka_39.address,
            services={
                "all": {"log_path": logs / "*.log", "topic": topic},
                "fifo": {"log_path": logs / "fifo.log", "topic": topic},
            },
            files={"rescan_s": 1},
        )
        shipper.wait_acked()
        reasons = {
            "fifo.log": "it is a FIFO",
            "directory.log": "it is a directory",
            "socket.log": "it is a socket",
            "shadow.log": "/etc",
            "zero.log": "device",
            "loop.log": "symbolic links",
            "secret.log": "Permission denied",
        }
        for name, reason in reasons.items():
            told = sentences(shipper, "ERROR", "Service all", f"{logs / name}: ", reason)
            assert len(told) == 1, f"{name}: {shipper.said()}"
        alone = entry_states(shipper)[str(logs / "fifo.log")]
        assert alone["state"] == "refused"
        assert "it is a FIFO" in str(alone["reason"])
        assert entry_states(shipper)[str(logs / "*.log")]["state"] == "partly refused"
        assert shipper.http("/healthz")[0] == 200, "a refused file is the file's matter, not the agent's"

        secret.chmod(0o644)
        shipper.wait_for(
            lambda: shipper.metric("logagent_lines_acked_total") == 600, what="the readable file arrives"
        )
        assert len(sentences(shipper, f"{secret} can be read again")) == 1
        more = put_lines(good, "good", 300, first=300)
        shipper.wait_acked()
        assert sentences(shipper, "nowhere.log", "ERROR") == []
        put_lines(logs / "not there", "there", 300)  # the dangling link leads somewhere now
        shipper.wait_for(
            lambda: shipper.metric("logagent_lines_acked_total") == 1200, what="the link's target arrives"
        )
        shipper.stop()

    del written, more
    ledger = [hidden, *(type(hidden)(label, 0, last) for label, last in (("good", 599), ("there", 299)))]
    prove(kafka_39, topic, tmp_path, ledger, min_lines=1200)
