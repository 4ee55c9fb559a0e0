# SPDX-License-Identifier: Apache-2.0
"""The agent with a probe in it: how late a timer of 10 ms is, for as long as it runs.

``python -m bench.probed run -c INI`` writes to the file named by LOGAGENT_BENCH_LATENESS when it ends: per timer the
lateness in ms, and that without the time for which the machine gave the processor to others.
"""

import logagent.__main__ as program  # isort: skip  # first of all: it prepares gevent

import os
import sys
from array import array
from pathlib import Path
from time import monotonic

import gevent

TIMER_S = 0.01
_NS_PER_S = 1_000_000_000


def _waited_s(schedstat: int) -> float:
    """How long this thread was ready to run, and did not."""
    return int(os.pread(schedstat, 128, 0).split()[1]) / _NS_PER_S


def _probe(late_ms: "array[float]") -> None:
    schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    while True:
        waited_s, begun_s = _waited_s(schedstat), monotonic()
        gevent.sleep(TIMER_S)
        late_s = monotonic() - begun_s - TIMER_S
        late_ms.extend((late_s * 1000, max(0.0, late_s - (_waited_s(schedstat) - waited_s)) * 1000))


def main() -> int:
    late_ms = array("d")
    gevent.spawn(_probe, late_ms)
    try:
        return program.main()
    finally:
        Path(os.environ["LOGAGENT_BENCH_LATENESS"]).write_bytes(late_ms.tobytes())


if __name__ == "__main__":
    sys.exit(main())
