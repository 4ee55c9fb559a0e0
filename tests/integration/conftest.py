# SPDX-License-Identifier: Apache-2.0
"""Tests in this directory run real brokers and agents, so each may take longer than a unit test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agent import AgentProcess
from tests.support.missing import skip_or_fail
from tests.support.small_disk import SmallDisk

_TIMEOUT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(autouse=True)
def no_traceback(support: list[object]) -> Iterator[None]:
    """Nothing that an operator, a file or a broker does makes an agent print a traceback."""
    yield
    for agent in support:
        if isinstance(agent, AgentProcess):
            said = agent.said()
            assert "Traceback" not in said, said[said.index("Traceback") :][:4000]


@pytest.fixture
def small_disk() -> Iterator[Callable[..., SmallDisk]]:
    made: list[SmallDisk] = []

    def make(path: Path, size_mib: int = 16) -> SmallDisk:
        if os.geteuid() != 0:
            skip_or_fail("Only root can mount a small file system.")
        made.append(SmallDisk(path, size_mib))
        return made[-1]

    yield make
    for disk in made:
        disk.close()
