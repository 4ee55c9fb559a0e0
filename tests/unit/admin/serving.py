# SPDX-License-Identifier: Apache-2.0
"""Runs an impatient AdminServer until standard input ends. Arguments: DATA_DIR HOST PORT."""

import sys
from pathlib import Path

from gevent import monkey
from gevent.os import tp_read

monkey.patch_all()

from logagent.admin import door  # noqa: E402  # patched first
from logagent.admin.server import AdminServer  # noqa: E402  # patched first
from logagent.config.values import Address  # noqa: E402
from logagent.ops import log  # noqa: E402
from logagent.ops.events import Events  # noqa: E402
from logagent.ops.metrics import Metrics  # noqa: E402
from logagent.spawn import Spawner  # noqa: E402


def main() -> None:
    data_dir = Path(sys.argv[1])
    door.CONNECTION_S = 1.5
    log.configure("info", None, "text", sys.stderr)
    metrics = Metrics()
    events = Events(metrics)
    spawner = Spawner(
        lambda name, error, again_s: events.greenlet_failed(name=name, error=error, restart_in_s=again_s)
    )
    server = AdminServer(
        status=lambda: {"schema": 1, "filler": "x" * 5_000_000 if (data_dir / "big").exists() else ""},
        health=list,
        ready=lambda: ["no configuration yet"],
        metrics=metrics.exposition,
        socket_path=data_dir / "admin.sock",
        tcp_addr=Address(sys.argv[2], int(sys.argv[3])),
        addr_file=data_dir / "admin.addr",
        spawn=spawner,
        events=events,
    )
    server.start()
    print("faults:", server.faults, flush=True)
    tp_read(0, 1)
    server.stop()
    print("stopped", flush=True)


main()
