# SPDX-License-Identifier: Apache-2.0
"""What holds on every host after the first rollout."""

import json
import re

import pytest

testinfra_hosts = ["ansible://logagent"]


def test_the_agent_runs_and_comes_back_after_a_boot(host):
    unit = host.service("logagent")
    assert unit.is_running
    assert unit.is_enabled


def test_the_agent_is_well(host):
    said = host.run("/opt/logagent/current/bin/logagent status -c /etc/logagent/logagent.ini --json")
    assert said.rc == 0, said.stdout + said.stderr
    assert json.loads(said.stdout)["host_id"] == host.backend.get_variables()["inventory_hostname"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("WatchdogUSec", "30s"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", "cap_dac_read_search"),
        ("AmbientCapabilities", "cap_dac_read_search"),
        ("MemoryMax", str(192 * 1024 * 1024)),
        ("User", "logagent"),
    ],
)
def test_the_unit_in_force_is_hardened(host, name, value):
    assert host.service("logagent").systemd_properties[name] == value


def test_systemd_calls_the_unit_safe(host):
    said = host.check_output("systemd-analyze security --no-pager logagent | tail -n 1")
    found = re.search(r"Overall exposure level for logagent.service: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= 2.0, said


def test_the_log_file_is_closed_to_everybody_but_root(host):
    assert host.file("/srv/secret").mode == 0o700
    assert {host.file(name).mode for name in host.check_output("ls -d /srv/secret/*").split()} == {0o600}


def test_the_code_belongs_to_root(host):
    assert host.check_output("find /opt/logagent /etc/logagent ! -user root | wc -l") == "0"


# In the agent's own namespaces, with its user and capabilities, writing is refused everywhere but in its data_dir.
TRY = """
set -u
main=$(systemctl show --value --property MainPID logagent)
user=$(id -u logagent) group=$(id -g logagent)
into() {
    nsenter --target "$main" --mount -- setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \\
        --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search "$@"
}
into head -c 5 /srv/secret/app.log >/dev/null && echo reads
for place in / /etc/logagent /opt/logagent /opt/logagent/current/bin /srv/secret /srv/secret/app.log /tmp /var/tmp \\
    /var/log /root /home /run /dev/shm /dev/mqueue /var/lib /var/lib/logagent; do
    if [ -d "$place" ]; then file=$place/tried; else file=$place; fi
    into sh -c ': >>"$0"' "$file" 2>/dev/null && echo "writes $place"
done
exit 0
"""


def test_the_agent_reads_what_only_root_may_and_writes_only_in_its_directory(host):
    said = host.run("bash -c %s", TRY)
    assert said.stdout.split("\n")[:-1] == ["reads", "writes /var/lib/logagent"], said
