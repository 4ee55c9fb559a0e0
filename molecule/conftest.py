# SPDX-License-Identifier: Apache-2.0
"""What the tests of all scenarios share. Hosts come from the inventory that Molecule wrote."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import testinfra
import yaml

from tests.support import ROOT
from tests.support.checker import Report, check
from tests.support.consumer import consume
from tests.support.lines import Written

BROKER = "127.0.0.1", 19092  # the listener for tests in machines/middleware.sh
TIMEOUT_S = 300 if os.environ.get("LOGAGENT_MACHINE") == "qemu" else 60
AGENTS = ("agent1", "agent2")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Machines are slower than what the time-out of the other tests allows for."""
    for item in items:
        item.add_marker(pytest.mark.timeout(5 * TIMEOUT_S))


@pytest.fixture
def hostvars(host) -> dict:
    """Variables of the inventory for this host, as they are written: what is a template there is one here."""
    return host.backend.get_variables()


@pytest.fixture(scope="session")
def version() -> str:
    """Of the agent of this tree."""
    return (ROOT / ".cache/molecule/releases/version").read_text()


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """Address of the broker, through a tunnel to the middleware machine."""
    machines = yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text())
    machine = next(one for one in machines if one["instance"] == "middleware1")
    ssh = ["ssh", "-N", "-i", machine["identity_file"], "-p", str(machine["port"])]
    options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "ExitOnForwardFailure=yes",
        "LogLevel=ERROR",
    ]
    ssh += [word for option in options for word in ("-o", option)]
    address = f"{BROKER[0]}:{BROKER[1]}"
    with subprocess.Popen([*ssh, "-L", f"{address}:{address}", f"root@{machine['address']}"]) as tunnel:
        try:
            while tunnel.poll() is None and not _answers():
                time.sleep(0.1)
            assert tunnel.poll() is None, "ssh could not make the tunnel to the broker"
            yield address
        finally:
            tunnel.terminate()


def _answers() -> bool:
    try:
        with socket.create_connection(BROKER, 1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def agents() -> dict[str, testinfra.host.Host]:
    """The hosts that run the agent."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return {name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory) for name in AGENTS}


@pytest.fixture
def count(broker: str, agents: dict, tmp_path: Path) -> Callable[..., Report]:
    """Compares what the writers of all hosts noted with what the broker has, knowing nothing of the agents."""

    def count_topic(topic: str, writers: list[str]) -> Report:
        written = []
        for name, host in agents.items():
            ledgers = [json.loads(host.file(f"/srv/kit/{one}.json").content_string) for one in writers]
            assert all(ledger["done"] for ledger in ledgers), "a writer has not finished"
            rows = [row for ledger in ledgers for row in ledger["files"]]
            assert all(row["first"] == before["last"] + 1 for before, row in pairwise(rows)), (
                "the writers follow on"
            )
            rotations = sum(row["rotations"] for row in rows)
            written.append(Written(name, rows[0]["first"], rows[-1]["last"], rotations))
        lines = sum(one.count for one in written)
        return check(written, consume(broker, topic, tmp_path, expect=lines, timeout_s=TIMEOUT_S))

    return count_topic


@pytest.fixture(scope="session")
def site() -> Callable[..., subprocess.Popen]:
    """Starts a playbook of ansible/ on one host, as an operator would."""
    settings = {
        "ANSIBLE_ROLES_PATH": str(ROOT / "ansible" / "roles"),
        "ANSIBLE_HOST_KEY_CHECKING": "false",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_FORCE_COLOR": "false",
    }

    def start(limit: str, playbook: str = "site.yml", **variables: object) -> subprocess.Popen:
        argv = ["ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--limit", limit]
        argv += ["--extra-vars", json.dumps(variables), str(ROOT / "ansible" / playbook)]
        environment = os.environ | settings
        environment.pop("ANSIBLE_CONFIG", None)
        return subprocess.Popen(
            argv,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows what the agent said."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        said = host.run("journalctl --unit=logagent --lines=40 --no-pager").stdout
        report.sections.append((f"journal of {host.backend.get_pytest_id()}", said))
    return report
