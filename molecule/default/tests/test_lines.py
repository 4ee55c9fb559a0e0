# SPDX-License-Identifier: Apache-2.0
"""The whole path: what was written on the hosts is in Kafka, once and in order."""

from collections.abc import Callable

from tests.support.checker import Report

testinfra_hosts = ["ansible://middleware1"]


def test_every_line_arrived_once(count: Callable[..., Report]) -> None:
    count("app", ["app-1", "app-2", "app-3"]).require_exact(min_lines=100_000, min_rotations=4)
