# SPDX-License-Identifier: Apache-2.0
"""One log that is rotated in every way at random, and an agent that is killed at any moment: nothing is lost."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.proofs import put_lines
from tests.support.agent import AgentProcess
from tests.support.checker import Report, check
from tests.support.consumer import consume
from tests.support.kafka import KafkaNode
from tests.support.lines import Written

SEED = 11
LINE_BYTES = 120
KEEP = 400


class Life:
    """`turn()` writes and perhaps rotates; what was sent long ago is deleted."""

    def __init__(self, log: Path, chance: random.Random) -> None:
        self.log = log
        self.chance = chance
        self.lines = self.rotations = 0

    def turn(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            self._write(self.chance.choice([1, 5, 40]))
        kind = self.chance.choice(["rename", "copy", "copy", "nothing"])
        if kind == "nothing":
            return
        self.rotations += 1
        rotated = self.log.with_name(f"{self.log.name}.{self.rotations}")
        if kind == "rename":
            self.log.rename(rotated)
            self._write(1)
        else:
            shutil.copyfile(self.log, rotated)
            os.truncate(self.log, 0)

    def tidy(self) -> None:
        for number in range(max(1, self.rotations - 2 * KEEP), self.rotations - KEEP):
            self.log.with_name(f"{self.log.name}.{number}").unlink(missing_ok=True)

    def _write(self, lines: int) -> None:
        put_lines(self.log, "a", lines, first=self.lines, size_bytes=LINE_BYTES)
        self.lines += lines


def live(
    shipper: AgentProcess, node: KafkaNode, topic: str, life: Life, *, rotations: int, kills: int
) -> Report:
    """So many rotations, with as many kills spread over them; what arrived against what was written."""
    every = rotations // (kills + 1)
    killed = 0
    while life.rotations < rotations:
        life.turn()
        time.sleep(life.chance.choice([0, 0, 0.01, 0.05]))
        if killed < kills and life.rotations >= (killed + 1) * every:
            shipper.kill9()
            killed += 1
            for _ in range(life.chance.randint(0, 4)):
                life.turn()
            shipper.start()
            shipper.wait_acked()
        elif life.rotations % KEEP == 0:
            shipper.wait_acked()
            life.tidy()
    shipper.wait_ready()
    shipper.wait_acked()
    time.sleep(2.0)  # what is held back because it may become a copy would come now
    shipper.wait_acked()
    shipper.stop()
    records = consume(node.address, topic, life.log.parent, expect=life.lines, quiet_s=1.0)
    return check([Written("a", 0, life.lines - 1)], records, faults=kills)


def prove(found: Report) -> None:
    print(f"seed {SEED}: {found}")
    assert not [*found.lost, *found.corrupt, *found.foreign], str(found)


@pytest.fixture
def shipper(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> AgentProcess:
    (tmp_path / "logs").mkdir()
    made = agent(
        kafka_addr=kafka_39.address,
        services={"app": {"log_path": tmp_path / "logs" / "app.log*", "topic": topic}},
        files={"rotate_wait_s": 1, "copy_wait_s": 5},
    )
    made.wait_ready()
    return made


def test_killed_at_any_moment_of_two_hundred_rotations(
    shipper: AgentProcess, kafka_39: KafkaNode, topic: str, tmp_path: Path
) -> None:
    """Cases 40-50 and 85."""
    life = Life(tmp_path / "logs" / "app.log", random.Random(SEED))

    found = live(shipper, kafka_39, topic, life, rotations=200, kills=4)

    prove(found)
    assert found.lines > 2_000


def test_two_hundred_rotations_without_a_kill_are_exact(
    shipper: AgentProcess, kafka_39: KafkaNode, topic: str, tmp_path: Path
) -> None:
    life = Life(tmp_path / "logs" / "app.log", random.Random(SEED))

    found = live(shipper, kafka_39, topic, life, rotations=200, kills=0)

    prove(found)
    assert not found.doubled, str(found)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_any_moment_of_ten_thousand_rotations(
    shipper: AgentProcess, kafka_39: KafkaNode, topic: str, tmp_path: Path
) -> None:
    life = Life(tmp_path / "logs" / "app.log", random.Random(SEED))

    prove(live(shipper, kafka_39, topic, life, rotations=10_000, kills=100))
