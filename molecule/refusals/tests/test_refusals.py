# SPDX-License-Identifier: Apache-2.0
"""What is wrong is said in a sentence, and the agent that runs is neither touched nor restarted."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

testinfra_hosts = ["ansible://agent1"]

SEEN = """
systemctl show --value --property MainPID,NRestarts logagent
sha256sum /etc/logagent/logagent.ini /etc/systemd/system/logagent.service
readlink /opt/logagent/current /opt/logagent/good
ls -A /opt/logagent /opt/logagent/releases
"""


@pytest.fixture
def refused(site: Callable[..., subprocess.Popen], host) -> Iterator[Callable[..., str]]:
    """Runs the playbook, which has to fail and leave the host as it was; what it said, in one line."""
    before = host.check_output(SEEN)

    def run(**variables: object) -> str:
        play = site("agent1", **variables)
        said = play.communicate()[0]
        assert play.returncode != 0, said
        return re.sub(r"\s+", " ", said)

    yield run
    assert host.check_output(SEEN) == before


def test_a_service_without_its_keys(refused):
    said = refused(logagent_services=[{"service": "a"}])
    assert "missing required arguments: log_path, topic found in logagent_services" in said


def test_a_choice_that_there_is_not(refused):
    said = refused(logagent_services_mode="always")
    assert "value of logagent_services_mode must be one of: seed, enforce, off, got: always" in said


def test_all_faults_are_told_at_once(refused):
    said = refused(
        logagent_kafka_addr=[],
        logagent_memory_max="64MiB",
        logagent_version="99.1",
        logagent_wheelhouse="/no.tar",
    )
    assert "logagent_kafka_addr: expected at least one host:port." in said
    assert "logagent_memory_max: 64MiB, expected more than logagent_memory_limit (96MiB)." in said
    assert "logagent_wheelhouse: there is no /no.tar on the controller; make wheelhouse makes it." in said


def test_a_wheelhouse_that_is_not_the_one_of_the_inventory(refused):
    said = refused(logagent_version="99.1", logagent_wheelhouse_sha256="0" * 64)
    assert re.search(f"base.tar has SHA-256 [0-9a-f]{{64}}, expected {'0' * 64}", said)


def test_a_wheel_with_a_wrong_hash(refused, hostvars):
    said = refused(logagent_version="99.1", logagent_wheelhouse=f"{hostvars['test_releases']}/corrupt.tar")
    assert "99.1 could not be installed; the running release was not touched" in said
    assert "DO NOT MATCH THE HASHES" in said


def test_a_wheelhouse_of_another_version(refused):
    said = refused(logagent_version="99.1")
    assert re.search("The wheelhouse holds 'logagent [^']+', expected logagent 99.1", said)


def test_a_configuration_that_the_agent_refuses(refused):
    said = refused(logagent_settings={"kafka": {"linger_ms": "soon"}})
    assert "linger_ms" in said
    assert "soon" in said


OLD = """#!/usr/bin/python3
import sys
sys.version_info = (3, 10, 4)
code, sys.argv[1:] = sys.argv[2], sys.argv[3:]
exec(code)
"""


def test_a_python_that_is_too_old(refused, host):
    host.check_output(
        "printf %s %s >/usr/local/bin/python3.10 && chmod +x /usr/local/bin/python3.10", "%s", OLD
    )
    try:
        said = refused(logagent_python="/usr/local/bin/python3.10")
    finally:
        host.check_output("rm /usr/local/bin/python3.10")
    assert (
        "logagent_python: /usr/local/bin/python3.10 on the host is Python 3.10, expected 3.11 or newer."
        in said
    )


def test_a_python_that_is_not_there(refused):
    said = refused(logagent_python="/usr/bin/python4")
    assert "logagent_python: /usr/bin/python4 cannot be run on the host" in said


def test_a_host_without_systemd(refused, host):
    host.check_output("mv /run/systemd/system /run/systemd/hidden")
    try:
        said = refused()
    finally:
        host.check_output("mv /run/systemd/hidden /run/systemd/system")
    assert "The host does not run systemd" in said


def test_a_disk_that_is_nearly_full(refused, host):
    host.check_output("mkdir /srv/small && mount -t tmpfs -o size=50m tmpfs /srv/small")
    try:
        said = refused(logagent_root="/srv/small/logagent")
    finally:
        host.check_output("umount /srv/small && rmdir /srv/small")
    assert re.search("There are only [0-9]+ MB free below /srv/small/logagent, expected 100", said)


FILL = """
until [ -e /srv/small/logagent/releases/.wheelhouse.tar ]; do sleep 0.01; done
dd if=/dev/zero of=/srv/small/fill bs=1M
"""


def test_a_disk_that_fills_up_while_the_release_is_made(refused, host):
    """Something else takes the room after the role looked."""
    host.check_output("mkdir /srv/small && mount -t tmpfs -o size=110m tmpfs /srv/small")
    host.check_output("systemd-run --unit=filler --collect sh -c %s", FILL)
    try:
        said = refused(logagent_root="/srv/small/logagent")
        assert "could not be installed; the running release was not touched" in said
        assert "No space left on device" in said
        assert host.check_output("ls -A /srv/small/logagent/releases") == ""
    finally:
        host.run("systemctl stop filler")
        host.check_output("umount /srv/small && rmdir /srv/small")


def test_a_run_that_was_cut_off_is_taken_up_by_the_next_one(site, host):
    change = {"logagent_settings": {"agent": {"memory_limit": "100MiB"}}, "logagent_settle_s": 600}
    cut = site("agent1", **change)
    try:
        deadline = time.monotonic() + 120
        while "memory_limit = 100MiB" not in host.run("cat /etc/logagent/logagent.ini").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        os.killpg(cut.pid, signal.SIGKILL)
        cut.communicate()
    host.run("pkill -f 'sleep 600'")
    assert host.file("/opt/logagent/next").exists
    before = host.check_output("systemctl show --value --property MainPID logagent")

    back = site("agent1")
    said = back.communicate()[0]

    assert back.returncode == 0, said
    assert "memory_limit = 96MiB" in host.file("/etc/logagent/logagent.ini").content_string
    assert host.check_output("systemctl show --value --property MainPID logagent") != before
    assert not host.file("/opt/logagent/next").exists
    assert host.service("logagent").is_running
