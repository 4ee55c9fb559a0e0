# SPDX-License-Identifier: Apache-2.0
"""Reads a whole topic in a process of its own and compares it with the ledger, line by line as they come.

``python -m tests.support.audit BOOTSTRAP TOPIC LEDGER OUT``: millions of lines need a byte each, not a list.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from tests.support import ROOT
from tests.support.checker import Report, Tally
from tests.support.consumer import TIMED_OUT, Consumed, read_messages
from tests.support.lines import Line, Written, load_ledger, save_ledger
from tests.support.processes import Child, tail

_LISTS = ("lost", "doubled", "out_of_order", "foreign")


def audit(
    bootstrap: str,
    topic: str,
    directory: Path,
    ledger: Iterable[Written],
    *,
    faults: int = 0,
    timeout_s: float = 60,
    quiet_s: float = 0.5,
    wait_all: bool = True,
) -> Report:
    """What differs once every partition is at its end and, with ``wait_all``, all lines are there or late."""
    directory.mkdir(parents=True, exist_ok=True)
    note, out = directory / f"{topic}.ledger.json", directory / f"{topic}.audit.json"
    said = directory / f"{topic}.audit.out"
    save_ledger(note, ledger, done=True)
    argv = [sys.executable, "-m", "tests.support.audit", bootstrap, topic, str(note), str(out)]
    argv += ["--wait-all"] if wait_all else []
    argv += ["--faults", str(faults), "--timeout-s", str(timeout_s), "--quiet-s", str(quiet_s)]
    child = Child(argv, stdout=said, cwd=ROOT)
    try:
        code = child.wait(timeout_s + 60)
    finally:
        child.kill()
    assert code in (0, TIMED_OUT), f"The audit ended with {code}:\n{tail(said, 20)}"
    row = json.loads(out.read_text())
    for name in _LISTS:
        row[name] = [Line(*one) for one in row[name]]
    row["partitions"] = {label: set(numbers) for label, numbers in row["partitions"].items()}
    return Report(**{one.name: row[one.name] for one in fields(Report)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "topic"):
        parser.add_argument(name)
    for name in ("ledger", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--wait-all", action="store_true")
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=60)
    parser.add_argument("--quiet-s", type=float, default=1.0)
    options = parser.parse_args()
    ledger = load_ledger(options.ledger)
    tally = Tally(ledger)
    code = 0
    try:
        for message in read_messages(
            options.bootstrap,
            options.topic,
            expect=sum(one.count for one in ledger) if options.wait_all else 0,
            timeout_s=options.timeout_s,
            quiet_s=options.quiet_s,
        ):
            tally.add(Consumed(message.partition() or 0, message.offset() or 0, message.value()))
    except TimeoutError as error:
        print(error)
        code = TIMED_OUT
    row = asdict(tally.report(faults=options.faults))
    row["partitions"] = {label: sorted(numbers) for label, numbers in row["partitions"].items()}
    options.out.write_text(json.dumps(row))
    return code


if __name__ == "__main__":
    sys.exit(main())
