# SPDX-License-Identifier: Apache-2.0
"""The load that ran all the while is in Kafka, once and in order."""

from collections.abc import Callable

from tests.support.checker import Report

testinfra_hosts = ["ansible://middleware1"]


def test_no_line_was_lost_or_doubled(count: Callable[..., Report]) -> None:
    count("load", ["load"]).require_exact(min_lines=20_000, min_rotations=2)
