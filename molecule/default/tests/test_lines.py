# SPDX-License-Identifier: Apache-2.0
"""The whole path: what was written on the hosts is in Kafka, once and in order."""

import json
from collections.abc import Callable

from tests.support.checker import Report

testinfra_hosts = ["ansible://middleware1"]


def test_every_line_arrived_once(count: Callable[..., Report]) -> None:
    count("app", ["app-1", "app-2", "app-3"]).require_exact(min_lines=100_000, min_rotations=4)


def test_etcd_has_the_services_of_the_inventory(host, agents: dict) -> None:
    for name, agent in agents.items():
        held = host.check_output(f"ETCDCTL_API=3 etcdctl get --print-value-only /logagent/{name}/logconfig")
        assert json.loads(held) == agent.backend.get_variables()["logagent_services"]
