# SPDX-License-Identifier: Apache-2.0
"""Uninstalling keeps what installing again needs, unless told otherwise."""

import subprocess
from collections.abc import Callable

testinfra_hosts = ["ansible://agent2"]

LEFT = """
ls -d /opt/logagent /etc/logagent /etc/systemd/system/logagent.service /var/lib/logagent 2>/dev/null
id -un logagent
"""


def run(play: subprocess.Popen) -> None:
    said = play.communicate()[0]
    assert play.returncode == 0, said


def test_positions_and_user_stay(host, site: Callable[..., subprocess.Popen]):
    run(site("agent2", "uninstall.yml"))

    assert not host.service("logagent").is_running
    assert host.run(LEFT).stdout.split() == ["/var/lib/logagent", "logagent"]


def test_a_second_time_and_with_everything(host, site: Callable[..., subprocess.Popen]):
    run(site("agent2", "uninstall.yml", logagent_purge=True))

    assert host.run(LEFT).stdout.split() == []
