# SPDX-License-Identifier: Apache-2.0
"""``python -m logagent.demo.broker``: an in-memory test broker that prints its address and lives until it is killed."""

import signal
import sys

from logagent.demo.clients import start_test_broker


def main() -> int:
    """Runs until a signal ends it."""
    owner, address = start_test_broker()
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    signal.pause()
    del owner
    return 0


if __name__ == "__main__":
    sys.exit(main())
