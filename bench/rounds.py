# SPDX-License-Identifier: Apache-2.0
"""Runs the shippers in turns: each round has them all, and who is first changes from round to round."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.broker import Broker
from bench.report import Row, cell
from bench.shippers import Shipper, Start, Task


@contextmanager
def bench_broker() -> Iterator[tuple[Broker, Path]]:
    """A real broker and a directory, both gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="logagent-bench-"))
    broker = Broker(directory / "kafka")
    try:
        yield broker, directory
    finally:
        broker.close()
        shutil.rmtree(directory, ignore_errors=True)


def interleaved(rounds: int, shippers: Sequence[Start], run: Callable[[int, Start], Row]) -> list[Row]:
    """Every row is printed when it is there."""
    rows: list[Row] = []
    for number in range(rounds):
        first = number % len(shippers)
        for start in (*shippers[first:], *shippers[:first]):
            row = run(number + 1, start)
            rows.append(row)
            print(", ".join(f"{key} {cell(value)}" for key, value in row.items()), flush=True)
    return rows


@contextmanager
def shipping(start: Start, task: Task) -> Iterator[Shipper]:
    """A running shipper that is gone at the end, in whatever way."""
    shipper = start(task)
    try:
        yield shipper
    finally:
        shipper.close()
