# SPDX-License-Identifier: Apache-2.0
"""What the operator can turn about the files."""

from dataclasses import dataclass
from pathlib import Path

from logagent.sources.deleted import DEFAULT_BOUNDS, Bounds
from logagent.sources.framing import DEFAULT_LIMITS, Limits
from logagent.sources.opening import Refusal


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """What the operator can turn, and who we are."""

    host_id: str
    start_at: str
    rescan_s: float
    refusal: Refusal
    max_files: int = 1_000_000
    copy_wait_s: float = 60.0
    deleted: Bounds = DEFAULT_BOUNDS
    polled: tuple[str, ...] = ()
    """Directories below which nobody tells of changes."""

    limits: Limits = DEFAULT_LIMITS
    scratch: Path | None = None
    """A directory with room for what has to be unpacked; None: that of temporary files."""
