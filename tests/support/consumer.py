# SPDX-License-Identifier: Apache-2.0
"""An independent reader: librdkafka with checksums on, in a process that knows nothing of the agent.

``python -m tests.support.consumer BOOTSTRAP TOPIC OUT [--expect N]`` reads every partition from the start until
nothing more comes, and writes (partition, offset, value) records of its own simple binary form.
"""

import argparse
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.support import ROOT
from tests.support.processes import Child, tail

_HEAD = struct.Struct(">iqi")  # partition, offset, length of the value (-1: none)
TIMED_OUT = 3


class Consumed(NamedTuple):
    partition: int
    offset: int
    value: bytes | None


def _partitions(reader: Consumer, topic: str, deadline: float) -> list[int]:
    """Waits for the topic to exist."""
    while True:
        try:
            known = reader.list_topics(topic, timeout=5).topics[topic]
            if known.error is None and known.partitions:
                return sorted(known.partitions)
        except KafkaException:
            pass  # the broker is away: asked again until the deadline
        if time.monotonic() >= deadline:
            raise TimeoutError(f"There is no topic {topic}.")
        time.sleep(0.2)


def read_messages(
    bootstrap: str, topic: str, *, expect: int = 0, timeout_s: float = 60, quiet_s: float = 1.0
) -> Iterator[Message]:
    """Yields librdkafka's messages (key, headers, time stamp and all) until every partition is at its end.

    That end counts when nothing came for ``quiet_s`` and ``expect`` records are there; records beyond ``expect``
    are read as well. TimeoutError after ``timeout_s`` without that.
    """
    deadline = time.monotonic() + timeout_s
    config = {
        "bootstrap.servers": bootstrap,
        "group.id": "tests",
        "enable.auto.commit": False,
        "check.crcs": True,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "log_level": 0,
    }
    reader = Consumer(config)
    try:
        wanted = _partitions(reader, topic, deadline)
        reader.assign([TopicPartition(topic, number, 0) for number in wanted])
        at_end: set[int] = set()
        count, last_news = 0, time.monotonic()
        while len(at_end) < len(wanted) or count < expect or time.monotonic() - last_news < quiet_s:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{count} of {expect or 'all'} records of {topic} after {timeout_s:g} s.")
            for message in reader.consume(10_000, 0.1):
                error = message.error()
                if error is None:
                    at_end.discard(message.partition())
                    count, last_news = count + 1, time.monotonic()
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition() or 0)
                elif not error.retriable() and error.code() != KafkaError._TRANSPORT:
                    raise KafkaException(error)
    finally:
        reader.close()


def _dump(out: BinaryIO, bootstrap: str, topic: str, expect: int, timeout_s: float, quiet_s: float) -> None:
    for message in read_messages(bootstrap, topic, expect=expect, timeout_s=timeout_s, quiet_s=quiet_s):
        value = message.value()
        out.write(_HEAD.pack(message.partition(), message.offset(), -1 if value is None else len(value)))
        out.write(value or b"")


def load(path: Path) -> Iterator[Consumed]:
    """The records that the reader wrote down."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            partition, offset, length = _HEAD.unpack(head)
            yield Consumed(partition, offset, None if length < 0 else file.read(length))


class Reader:
    """The reader as a child process, for reading while other things happen."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        directory: Path,
        *,
        expect: int = 0,
        timeout_s: float = 60,
        quiet_s: float = 1.0,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.out = directory / f"{topic}.records"
        self._output = directory / f"{topic}.reader.out"
        self.complete = False  # after result(): the expected number came in time
        self._timeout_s = timeout_s
        self.out.unlink(missing_ok=True)
        argv = [
            sys.executable,
            "-m",
            "tests.support.consumer",
            bootstrap,
            topic,
            str(self.out),
            "--expect",
            str(expect),
            "--timeout-s",
            str(timeout_s),
            "--quiet-s",
            str(quiet_s),
        ]
        self._child = Child(argv, stdout=self._output, cwd=ROOT)

    def result(self) -> list[Consumed]:
        """Everything it read, also when fewer than expected came in time: the checker names what is missing."""
        code = self._child.wait(self._timeout_s + 30)
        self.complete = code == 0
        assert code in (0, TIMED_OUT), f"The reader ended with {code}:\n{tail(self._output, 20)}"
        return list(load(self.out))

    def close(self) -> None:
        self._child.kill()


def consume(
    bootstrap: str,
    topic: str,
    directory: Path,
    *,
    expect: int = 0,
    timeout_s: float = 60,
    quiet_s: float = 1.0,
) -> list[Consumed]:
    """Start a Reader and wait for it."""
    reader = Reader(bootstrap, topic, directory, expect=expect, timeout_s=timeout_s, quiet_s=quiet_s)
    try:
        return reader.result()
    finally:
        reader.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("out", type=Path)
    parser.add_argument("--expect", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=60)
    parser.add_argument("--quiet-s", type=float, default=1.0)
    options = parser.parse_args()
    with options.out.open("wb") as out:
        try:
            _dump(out, options.bootstrap, options.topic, options.expect, options.timeout_s, options.quiet_s)
        except TimeoutError as error:
            print(error)
            return TIMED_OUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
