# SPDX-License-Identifier: Apache-2.0
"""Whoever follows docs/fleet.md word for word ends with lines in Kafka. Only its hosts' names are made to resolve."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT
from tests.support.checker import check
from tests.support.consumer import consume
from tests.support.lines import Written, make_line

testinfra_hosts = ["ansible://middleware1"]

PAGE = (ROOT / "docs/fleet.md").read_text()
BLOCKS = dict(re.findall(r"^<!-- tested: ([\w-]+) -->\n+```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
NAMES = {"web1": "agent1", "web2": "agent2"}
LINES = 1000


LEFT = """
ls -d /opt/logagent /etc/logagent /etc/systemd/system/logagent.service /var/lib/logagent 2>/dev/null
id -un logagent
"""


@pytest.fixture
def hosts(site: Callable[..., subprocess.Popen], agents: dict) -> dict:
    """Hosts without the agent, with a web server's log, that find Kafka by the names of the example."""
    play = site("logagent", "uninstall.yml", logagent_purge=True)
    said = play.communicate()[0]
    assert play.returncode == 0, said
    for name, host in agents.items():
        assert host.run(LEFT).stdout == "", "purged, nothing stays"
        host.check_output("sed -i %s /etc/hosts", "s/middleware1$/middleware1 kafka1 kafka2/")
        log = "".join(make_line(name, number, 80).decode() + "\n" for number in range(LINES))
        host.check_output("mkdir -p /var/log/nginx && printf %s %s >/var/log/nginx/access.log", "%s", log)
    return agents


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], str]:
    """Runs blocks in a checkout, with an ssh that knows the hosts of the example."""
    machines = {
        one["instance"]: one
        for one in yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text())
    }
    known = ["Host *\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"]
    for name, machine in NAMES.items():
        one = machines[machine]
        known.append(f"Host {name}\nHostName {one['address']}\nPort {one['port']}\n")
        known.append(f"IdentityFile {one['identity_file']}\n")
    (tmp_path / "ssh").write_text("".join(known))
    checkout = tmp_path / "logagent"
    outside = shutil.ignore_patterns(
        ".git", ".cache", ".venv", "__pycache__", "*.egg-info", "build", "inventory"
    )
    shutil.copytree(ROOT, checkout, ignore=outside)
    (checkout / ".cache").symlink_to(ROOT / ".cache")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MAKE"))
    }
    environment |= {"ANSIBLE_SSH_ARGS": f"-F {tmp_path / 'ssh'}", "ANSIBLE_REMOTE_USER": "root"}

    def run(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_commands_of_the_page(hosts: dict, shell: Callable[[str], str], broker: str, tmp_path: Path):
    assert list(BLOCKS) == ["prepare", "roll-out", "look", "take-off"]
    inside = ". .cache/fleet-venv/bin/activate\ncd ansible\n"

    shell(BLOCKS["prepare"])
    shell(inside + BLOCKS["roll-out"])
    written = [Written(name, 0, LINES - 1) for name in hosts]
    check(written, consume(broker, "nginx_log", tmp_path, expect=2 * LINES)).require_exact(
        min_lines=2 * LINES
    )
    assert "running" in shell(inside + BLOCKS["look"])
    assert "changed=0" in shell(inside + "ansible-playbook site.yml")
    shell(inside + BLOCKS["take-off"])

    for host in hosts.values():
        assert not host.service("logagent").is_running
        assert host.run(LEFT).stdout.split() == ["/var/lib/logagent", "logagent"], "positions and user stay"
