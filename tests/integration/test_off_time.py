# SPDX-License-Identifier: Apache-2.0
"""Files are rotated while the agent is off: what it had not read is found in another directory, or compressed."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

from logagent.sources.handles import handle_of
from tests.integration.proofs import prove, put_lines
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.lines import Written
from tests.support.missing import skip_or_fail


def has_handle(log: Path) -> bool:
    descriptor = os.open(log, os.O_RDONLY)
    try:
        return handle_of(descriptor) is not None
    finally:
        os.close(descriptor)


def to_olddir(log: Path) -> None:
    old = log.parent / "old"
    old.mkdir()
    log.rename(old / "app.log.1")


def compressed(log: Path) -> None:
    with gzip.open(log.with_name("app.log.1.gz"), "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()


def test_what_was_rotated_while_the_agent_was_off_is_read_to_its_end_once(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    """Cases 142 and 143: another directory, compressed, compressed under a name that the glob matches."""
    rotations = {
        "moved": (to_olddir, "app.log"),
        "gz": (compressed, "app.log"),
        "glob": (compressed, "app.log*"),
    }
    logs = {name: tmp_path / name / "app.log" for name in rotations}
    for name, log in logs.items():
        log.parent.mkdir()
        put_lines(log, f"old-{name}", 1000)
    if os.geteuid() != 0 or not has_handle(logs["moved"]):
        skip_or_fail("Files can be opened by their handles only as root, and not on every file system.")
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={
            name: {"log_path": logs[name].parent / pattern, "topic": topic}
            for name, (_, pattern) in rotations.items()
        },
        files={"rotate_wait_s": 1},
    )
    shipper.wait_acked()
    shipper.stop()
    for name, (rotate, _) in rotations.items():
        put_lines(logs[name], f"old-{name}", 4000, first=1000)
        rotate(logs[name])
        put_lines(logs[name], f"new-{name}", 2000)

    shipper.start()
    shipper.wait_for(lambda: shipper.metric("logagent_lines_acked_total") == 18_000, what="the rest arrives")
    shipper.stop()
    shipper.start()  # nothing of it comes again
    shipper.wait_acked()
    shipper.stop()

    ledger = [Written(f"old-{name}", 0, 4999) for name in logs] + [
        Written(f"new-{name}", 0, 1999) for name in logs
    ]
    prove(kafka_39, topic, tmp_path, ledger, min_lines=21_000)
