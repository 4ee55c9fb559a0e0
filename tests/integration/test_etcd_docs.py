# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/etcd.md, run as they stand there against a server of their own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.proofs import entry_states, put_lines
from tests.support import ROOT
from tests.support.agent import AgentProcess
from tests.support.etcd import VERSIONS, EtcdNode, find_binaries
from tests.support.kafka import KafkaNode
from tests.support.waiting import wait_until

BLOCKS = dict(
    re.findall(
        r"^<!-- tested: ([\w-]+) -->\n+```sh\n(.*?)^```$",
        (ROOT / "docs/etcd.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)
PASSWORDS = {"HOST_PASSWORD": "host-secret", "OPERATOR_PASSWORD": "op-secret", "ROOT_PASSWORD": "root-secret"}


def shell(
    script: str, node: EtcdNode, directory: Path, env: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a block as an operator would, with etcdctl and logagent on the path."""
    commands = directory / "bin"
    commands.mkdir(exist_ok=True)
    command = commands / "logagent"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m logagent "$@"\n')
    command.chmod(0o755)
    path = f"{commands}:{find_binaries(node.version)}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "ETCDCTL_ENDPOINTS": node.url, **env},
        cwd=directory,
        timeout=60,
        check=False,
    )


def test_no_block_is_left_untested() -> None:
    assert set(BLOCKS) == {"first-service", "roles"}


def test_no_password_stands_in_the_arguments_of_a_process() -> None:
    assert not re.findall(r"etcdctl[^|\n]*PASSWORD", "".join(BLOCKS.values()))


def test_a_first_service(
    etcd_node: Callable[..., EtcdNode],
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    topic: str,
    tmp_path: Path,
) -> None:
    node = etcd_node()
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={},
        top={"etcd_addr": node.address},
        agent={"host_id": "10.0.0.7"},
    )
    shipper.wait_ready()
    put_lines(tmp_path / "access.log", "a", 10)
    block = BLOCKS["first-service"].replace("/var/log/nginx", str(tmp_path)).replace("nginx_log", topic)
    put, *asks = re.split(r"^(?=logagent )", block, flags=re.MULTILINE)
    done = shell(put, node, tmp_path, {})
    assert done.returncode == 0, done.stderr
    shipper.wait_for(lambda: entry_states(shipper), what="the service is taken")
    for ask in asks:
        done = shell(ask, node, tmp_path, {"LOGAGENT_CONFIG": str(shipper.ini), "COLUMNS": "200"})
        assert done.returncode == 0, f"{ask}: {done.stdout}{done.stderr}"
        assert str(tmp_path / "access.log") in done.stdout
    shipper.stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_roles_let_each_do_its_work_and_no_more(
    version: str,
    etcd_node: Callable[..., EtcdNode],
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    topic: str,
    tmp_path: Path,
) -> None:
    node = etcd_node(version, flags={"auth-token-ttl": 3})
    done = shell(BLOCKS["roles"], node, tmp_path, PASSWORDS)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"

    def settings(user: str, variable: str) -> dict[str, str]:
        secret = tmp_path / f"{user}.password"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORDS[variable] + "\n")
        return {"user": user, "password_file": str(secret)}

    shipper = agent(
        kafka_addr=kafka_39.address,
        services={},
        top={"etcd_addr": node.address},
        agent={"host_id": "web1"},
        etcd=settings("logagent-web1", "HOST_PASSWORD"),
    )
    operator = agent(
        kafka_addr=kafka_39.address,
        services={},
        top={"etcd_addr": node.address},
        etcd=settings("operator", "OPERATOR_PASSWORD"),
        start=False,
    )
    path = tmp_path / "a.log"
    put_lines(path, "a", 10)
    document = tmp_path / "services.json"
    document.write_text(json.dumps([{"service": "s", "log_path": str(path), "topic": topic}]))
    change = ("services", "set", "--file", str(document), "-c")
    done = operator.run_cli(*change, str(operator.ini), "--host", "web1", "--wait", "10")
    assert done.returncode == 0, done.stderr
    assert str(path) in entry_states(shipper), "the operator's change is in force"
    assert shipper.http("/healthz")[0] == 200

    for command in (("get", "--host", "web10"), ("set", "--file", str(document), "--host", "web1")):
        done = shipper.run_cli("services", *command, "-c", str(shipper.ini))
        assert done.returncode == 1, f"{command} is not for a host: {done.stdout}"
        assert "permission" in done.stderr

    # Tokens live 3 s here: after a pause of the watch's connection the agent logs in again by itself.
    node.stop()
    node.start()
    document.write_text("[]")
    wait_until(
        lambda: operator.run_cli(*change, str(operator.ini), "--host", "web1").returncode == 0,
        15,
        "Etcd is back",
    )
    shipper.wait_for(lambda: not entry_states(shipper), what="it follows on")
    shipper.stop()
