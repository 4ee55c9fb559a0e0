# SPDX-License-Identifier: Apache-2.0
"""Where the process starts: gevent patches before anything else is loaded."""

from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402  # from here on everything finds patched modules
import sys  # noqa: E402
import warnings  # noqa: E402

# Until main() listens, Ctrl-C ends the process quietly, not with a traceback out of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)
# pykafka imports pkg_resources, which tells everybody to stop; users of logagent cannot.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API")

from logagent.cli.main import execute  # noqa: E402


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return execute()


if __name__ == "__main__":
    sys.exit(main())
