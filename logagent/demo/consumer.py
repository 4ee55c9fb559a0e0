# SPDX-License-Identifier: Apache-2.0
"""``python -m logagent.demo.consumer ADDRESS TOPIC``: prints every line of a topic, from its beginning, until Ctrl-C.

With ``--ledger`` it is the demo's consumer: it compares with what the writer wrote down and prints a JSON report four
times a second; after SIGTERM it reads on until nothing more comes, and reports for the last time.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from logagent.demo import ledger
from logagent.demo.checker import Checker
from logagent.demo.clients import Reader, create_topic
from logagent.errors import DemoFailed

REPORT_EVERY_S = 0.25
QUIET_S = 0.25  # nothing came for so long: that was all
INJECT_AT = 500
"""With --inject this record is dropped or doubled, so that one can see the count fail."""


def check(reader: Reader, ledger_path: Path, inject: str) -> None:
    """Report until told to stop."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    checker = Checker()
    records, last_news = 0, time.monotonic()
    next_report = 0.0
    while not stop or time.monotonic() - last_news < QUIET_S:
        for value in reader.values(0.05):
            records, last_news = records + 1, time.monotonic()
            copies = {"drop": 0, "double": 2}.get(inject, 1) if records == INJECT_AT else 1
            for _ in range(copies):
                checker.add(value, time.time_ns())
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + REPORT_EVERY_S
            _tell(checker.report(ledger.load(ledger_path)))
    _tell(checker.report(ledger.load(ledger_path), final=True))


def _tell(report: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def show(reader: Reader) -> None:
    """Every value as it is, a line each."""
    while True:
        for value in reader.values(0.2):
            sys.stdout.buffer.write(value + b"\n")
        sys.stdout.flush()


def main() -> int:
    """Exit code 1 with one sentence when the topic cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m logagent.demo.consumer", description=__doc__)
    parser.add_argument("address", help="HOST:PORT of a broker")
    parser.add_argument("topic")
    parser.add_argument("--ledger", type=Path, help="compare with what the writer of the demo wrote down")
    parser.add_argument("--create", action="store_true", help="create the topic first")
    parser.add_argument("--inject", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        if options.create:
            create_topic(options.address, options.topic, timeout_s=5)
        reader = Reader(options.address, options.topic)
        if options.ledger:
            check(reader, options.ledger, options.inject)
        else:
            show(reader)
    except DemoFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
