# SPDX-License-Identifier: Apache-2.0
"""What holds after upgrade, downgrade, and a release that went back."""

import json

testinfra_hosts = ["ansible://logagent"]


def test_the_release_of_before_runs_and_is_well(host, version):
    assert host.file("/opt/logagent/current").linked_to == f"/opt/logagent/releases/{version}"
    said = host.run("/opt/logagent/current/bin/logagent status -c /etc/logagent/logagent.ini --json")
    assert said.rc == 0, said
    assert json.loads(said.stdout)["version"] == version


def test_nothing_is_left_of_the_attempt(host):
    assert not host.file("/opt/logagent/next").exists
    assert not host.file("/var/lib/logagent/state.db.bak").exists


def test_only_the_canary_ever_saw_the_broken_release(host, hostvars, version):
    seen = host.file(f"/opt/logagent/releases/{version}.post2").exists
    assert seen is (hostvars["inventory_hostname"] == "agent1")


def test_old_releases_and_activations_are_gone(host, hostvars, version):
    """The canary still has what it failed with."""
    tried = {f"{version}.post2"} if hostvars["inventory_hostname"] == "agent1" else set()
    assert set(host.file("/opt/logagent/releases").listdir()) == {version, f"{version}.post1"} | tried
    assert len(host.file("/opt/logagent/activations").listdir()) == 1 + len(tried)
