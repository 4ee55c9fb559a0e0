# SPDX-License-Identifier: Apache-2.0
"""Switches in the environment, for tests that show what a part is good for. Pure."""

from collections.abc import Mapping
from typing import Final

TEST_WITHOUT_RECOVERY: Final = "LOGAGENT_TEST_WITHOUT_RECOVERY"
"""Set to 1, the agent forgets at start what it noted of unfinished batches; lines then come twice after a kill."""


def without_recovery(environ: Mapping[str, str]) -> bool:
    """Whether a test wants to see what happens without recovery."""
    return environ.get(TEST_WITHOUT_RECOVERY) == "1"
