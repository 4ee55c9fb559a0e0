# SPDX-License-Identifier: Apache-2.0
"""``python -m bench drain|latency|idle|many|etcd|once|all``; `make bench` runs all."""

import argparse
import sys

from bench import drain, idle, latency, many, once, steering
from bench.shippers import Logagent, Rsyslog, Start, find_rsyslog, rsyslog_version
from tests.support.kafka import KAFKA_39, KafkaMissing, find_libs

SCENARIOS = ("drain", "latency", "idle", "many", "etcd", "once")
_SECONDS = {"latency": 30.0, "idle": 300.0, "many": 30.0, "etcd": 120.0, "once": 30.0}
_ROUNDS = {"drain": 5, "latency": 1, "idle": 1, "many": 1, "etcd": 1, "once": 3}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure logagent beside rsyslog.")
    parser.add_argument("scenario", choices=(*SCENARIOS, "all"))
    parser.add_argument("--rounds", type=int, help="drain: 5, the others: 1")
    parser.add_argument("--lines", type=int, default=1_000_000, help="drain: lines of the backlog")
    parser.add_argument("--seconds", type=float, help="latency and many: 30, idle: 300, etcd: 120")
    parser.add_argument("--files", type=int, default=idle.FILES, help="idle: how many files")
    parser.add_argument("--others", type=int, default=0, help="idle: entries beside them that are not read")
    parser.add_argument("--peer", action="store_true", help="idle: measure rsyslog too")
    parser.add_argument("--alone", action="store_true", help="without rsyslog")
    return parser.parse_args()


def _run(scenario: str, options: argparse.Namespace) -> int:
    rounds = options.rounds or _ROUNDS[scenario]
    alone = options.alone or (scenario in ("idle", "etcd", "once") and not options.peer)
    starts: list[Start] = [Logagent] if alone else [Logagent, Rsyslog]
    if scenario == "drain":
        return drain.run(rounds, options.lines, starts)
    seconds = options.seconds or _SECONDS[scenario]
    if scenario == "idle":
        return idle.run(rounds, seconds, starts, idle.Scene(options.files, options.others))
    return {"latency": latency.run, "many": many.run, "etcd": steering.run, "once": once.run}[scenario](
        rounds, seconds, starts
    )


def main() -> int:
    options = _options()
    try:
        find_libs(KAFKA_39)
    except KafkaMissing as error:
        print(error, file=sys.stderr)
        return 2
    if not options.alone:
        print(f"{find_rsyslog()} {rsyslog_version()}")
    chosen = SCENARIOS if options.scenario == "all" else (options.scenario,)
    return max([_run(scenario, options) for scenario in chosen])


if __name__ == "__main__":
    sys.exit(main())
