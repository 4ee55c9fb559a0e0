# SPDX-License-Identifier: Apache-2.0
"""Snapshots for the tests of the screen and of the verdict."""

from dataclasses import replace
from typing import Any

from logagent.demo.lines import SERVICES
from logagent.demo.snapshot import ServiceCount, Snapshot


def shot(*, chaos: bool = False, complete: bool = True, kills: int = 0, **first: Any) -> Snapshot:
    """Two exact services; ``first`` changes the first one."""
    counts = [
        ServiceCount(one.name, one.send_rate_lines_per_s, 12_345, 12_345, 12_345, 600, 2, 3)
        for one in SERVICES
    ]
    counts[0] = replace(counts[0], **first)
    return Snapshot(
        12.3,
        counts,
        "in-memory test broker",
        "127.0.0.1:1234",
        complete=complete,
        chaos=chaos,
        agent_kills=kills,
    )
