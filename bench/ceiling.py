# SPDX-License-Identifier: Apache-2.0
"""What is left when nothing is read, split or remembered: one prebuilt batch, sent over and over to every partition.

``python -m bench.ceiling HOST:PORT TOPIC PARTITIONS LINES SIZE_BYTES BATCH_BYTES START`` waits for the file START,
sends, and stays until it is stopped, so that it is measured like a shipper. It is not idempotent.
"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from logagent.kafka import record_batch, requests  # noqa: E402
from logagent.kafka.connections import Cluster  # noqa: E402
from logagent.spawn import Spawner  # noqa: E402
from tests.support.lines import make_line  # noqa: E402

_TIMEOUT_S = 30.0
_LOOK_S = 0.02


def _failed(name: str, error: BaseException, _restart_in_s: float | None) -> None:
    print(f"{name}: {error}", flush=True)


class Thrower:
    """One connection and one batch in flight per partition."""

    def __init__(self, address: str, topic: str, size_bytes: int, batch_bytes: int) -> None:
        host, port = address.rsplit(":", 1)
        self._spawner = Spawner(_failed)
        self._cluster = Cluster([(host, int(port))], "ceiling", _TIMEOUT_S, self._spawner)
        self._topic = topic
        line = make_line("ceiling", 0, size_bytes - 1)
        self.lines_per_batch = batch_bytes // record_batch.max_encoded_bytes(1, len(line))
        self._line = line
        self._full = self._batch(self.lines_per_batch)

    def _batch(self, lines: int) -> bytes:
        values = [self._line] * lines
        return record_batch.encode([record_batch.Records(values)], timestamp_ms=int(time.time() * 1000))

    def throw(self, partitions: int, lines: int) -> None:
        self._cluster.refresh([self._topic])
        share, rest = divmod(lines, partitions)
        gevent.joinall(
            [
                self._spawner.once(f"partition {number}", self._one, number, share + (number < rest))
                for number in range(partitions)
            ]
        )

    def _one(self, partition: int, lines: int) -> None:
        leader = self._cluster.metadata.topics[self._topic].leaders[partition]
        connection = self._cluster.connect(leader)
        while lines:
            now = min(lines, self.lines_per_batch)
            batch = self._full if now == self.lines_per_batch else self._batch(now)
            frame = self._cluster.writer.produce({self._topic: [(partition, batch)]}, timeout_ms=10_000)
            (answer,) = requests.parse_produce(connection.call(frame, _TIMEOUT_S), "broker")
            if answer.code:
                raise RuntimeError(f"error code {answer.code}")
            lines -= now


def main(argv: list[str]) -> None:
    address, topic, partitions, lines, size_bytes, batch_bytes, start = argv
    thrower = Thrower(address, topic, int(size_bytes), int(batch_bytes))
    while not Path(start).exists():
        gevent.sleep(_LOOK_S)
    thrower.throw(int(partitions), int(lines))
    gevent.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
