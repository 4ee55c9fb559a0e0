# SPDX-License-Identifier: Apache-2.0
"""``python -m logagent.demo.kafka [VERSION]``: a real Kafka on loopback until Ctrl-C; nothing of it stays."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from logagent.demo.kafka_node import HOST, KAFKA_39, KafkaNode, find_libs, full_version
from logagent.errors import DemoFailed

USUAL_PORT = 9092
_TEXT = """\
Kafka {version} answers at {address}; its log is {log}. Topics make themselves at their first use.
  write:  echo hello | kcat -b {address} -P -t TOPIC
  read:   kcat -b {address} -C -t TOPIC
     or:  {python} -m logagent.demo.consumer {address} TOPIC
  demo:   make demo ARGS="--kafka {address}"
Ctrl-C stops it and removes its data.
"""


def usual_port() -> int | None:
    """9092 if nobody has it."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, USUAL_PORT))
        return USUAL_PORT
    return None


def serve(version: str) -> None:
    """Until a signal comes. Raises DemoFailed."""
    find_libs(version)
    directory = Path(tempfile.mkdtemp(prefix="logagent-kafka-"))
    node = None
    try:
        node = KafkaNode(version, directory, port=usual_port())
        sys.stdout.write(f"Starting Kafka {version} ...\n")
        sys.stdout.flush()
        node.start()
        python = os.path.relpath(sys.executable)
        sys.stdout.write(_TEXT.format(version=version, address=node.address, log=node.log, python=python))
        sys.stdout.flush()
        while node.running:
            time.sleep(0.2)
        raise DemoFailed(f"Kafka {version} ended by itself.\n{node.failure_report()}")
    finally:
        if node is not None:
            node.close()
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    """Exit code 1 with one sentence when there is no broker to run."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        serve(full_version(sys.argv[1] if len(sys.argv) > 1 else KAFKA_39))
    except DemoFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stdout.write("\nKafka has stopped.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
