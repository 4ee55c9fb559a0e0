# SPDX-License-Identifier: Apache-2.0
"""What the tests stand on: real brokers, a writer and a reader that know nothing of the agent, and the checker."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the source tree
