# SPDX-License-Identifier: Apache-2.0
"""What this process may use of the machine: memory and descriptors."""

import os
import resource

from logagent.config.settings import Settings
from logagent.errors import ConfigError, Fault

MIB = 1024 * 1024
WIRE_BYTES_PER_SENDER = 2 * MIB
"""What a sender may hold encoded at once, the copy that goes onto the wire included."""

MIN_BUDGET_BYTES = 4 * MIB
SPARE_DESCRIPTORS = 256
"""For connections, the database and the doors; log files may have the rest."""

RESERVE_BYTES = 6 * MIB
"""For what grows while the agent runs: descriptors and their objects, stacks of greenlets, the allocator's gaps."""


def budget_bytes(settings: Settings, rss_bytes: int) -> int:
    """How much memory lines may hold on their way; ConfigError when memory_limit leaves too little."""
    fixed_bytes = rss_bytes + RESERVE_BYTES + settings.thread_num * WIRE_BYTES_PER_SENDER
    # Half of what is left: the allocator keeps freed memory in pieces, and line objects come and go.
    budget = (settings.agent.memory_limit_bytes - fixed_bytes) // 2
    if budget >= MIN_BUDGET_BYTES:
        return budget
    needed = -(-(fixed_bytes + 2 * MIN_BUDGET_BYTES) // MIB)
    raise ConfigError(
        (
            Fault(
                str(settings.ini_path),
                "agent",
                "memory_limit",
                f"{settings.agent.memory_limit_bytes // MIB}MiB",
                f"with thread_num = {settings.thread_num} the agent needs at least {needed}MiB",
            ),
        )
    )


def rss_bytes() -> int:
    """Resident memory of this process now."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def max_files(wanted: int) -> int:
    """How many log files may be open at once; `wanted` 0: as many as possible."""
    possible = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)
    return min(wanted or possible, possible)


def raise_descriptor_limit() -> None:
    """As far as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
