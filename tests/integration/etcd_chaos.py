# SPDX-License-Identifier: Apache-2.0
"""A process with many supervisors and one writer, for test_etcd_chaos: it reports what each supervisor saw, and when.

SIGUSR1 asks for a flood of changes, SIGTERM for the end; then a JSON report goes to standard output. Times are those of
time.monotonic, which is the same clock in the process of the test.
"""

import gc
import json
import logging
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import gevent
from gevent import Greenlet
from gevent.event import Event

from logagent.config.services import PathRules
from logagent.config.values import Address, read_address
from logagent.control.heartbeat import Heartbeat
from logagent.control.keeping import Keeping
from logagent.control.keys import Keys
from logagent.control.members import Members
from logagent.control.supervisor import ConfigSupervisor
from logagent.errors import EtcdError, OutcomeUnknown
from logagent.ops.events import Events
from logagent.ops.metrics import Metrics
from logagent.spawn import Spawner
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.store import ABSENT, Access, Store
from logagent.stores.tokens import Tokens

TIMEOUT_S = 5.0
WRITER_TIMEOUT_S = 1.0  # so that it writes through most of every fault
PATTERN = "/logagent/%s/logconfig"
SHARED = Keys(PATTERN, "any").default
WRITE_EVERY_S = 0.7
CONVERGE_S = 30.0
SUPERVISORS = 30
RULES = PathRules((), (), None, "/nowhere")


def members(addresses: list[Address], spawner: Spawner, timeout_s: float = TIMEOUT_S) -> Members:
    tokens = Tokens(None, None)
    return Members(
        addresses,
        Access(timeout_s),
        "v3",
        lambda api, address, access: GatewayStore(address, access, tokens, spawner),
        lambda address, access: None,
    )


class Observed:
    """One supervisor and the numbers that it published."""

    def __init__(
        self, number: int, addresses: list[Address], place: Path, spawner: Spawner, events: Events
    ) -> None:
        self.published: list[tuple[int, float]] = []
        self.supervisor = ConfigSupervisor(
            members(addresses, spawner),
            Keys(PATTERN, f"host{number}"),
            keeping=Keeping(place / f"cache{number}.json", events),
            rules=lambda: RULES,
            accept_empty=lambda: False,
            on_change=self._note,
            spawner=spawner,
            events=events,
        )
        self.greenlet = spawner.forever("etcd", self.supervisor.run)

    def _note(self) -> None:
        self.published.append((self.last, time.monotonic()))

    @property
    def last(self) -> int:
        entries = [entry for one in self.supervisor.steering.documents for entry in one.entries]
        return int(entries[0].topic) if entries else 0


class Writer:
    """Counts up the list that all supervisors share, each number exactly once and in order, by compare-and-set."""

    def __init__(self, addresses: list[Address], spawner: Spawner) -> None:
        self._members = members(addresses, spawner, WRITER_TIMEOUT_S)
        self._store: Store | None = None
        self._revision = ABSENT
        self.value = 0
        self.written: list[tuple[int, float, float, bool]] = []  # value, begun, acknowledged, part of a flood
        self.retries = 0
        self.flood = 0
        self.wake = Event()
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            if self.flood:
                self.flood -= 1
                self.write(flood=True)
                if not self.flood:
                    print("The flood is over.", file=sys.stderr, flush=True)
            else:
                self.write(flood=False)
                self.wake.wait(WRITE_EVERY_S * random.uniform(0.8, 1.2))
                self.wake.clear()

    def write(self, *, flood: bool) -> None:
        value = self.value + 1
        begun_s = time.monotonic()
        body = json.dumps([{"service": "web", "log_path": "/var/log/a.log", "topic": str(value)}]).encode()
        while self._try(value, body) is None:
            self.retries += 1
        self.value = value
        self.written.append((value, begun_s, time.monotonic(), flood))

    def _try(self, value: int, body: bytes) -> int | None:
        """The revision once `value` is there; None: again."""
        try:
            if self._store is None:
                self._store = self._members.open()
                item = self._store.load([SHARED]).items.get(SHARED)
                self._revision = item.revision if item else ABSENT
                if item and json.loads(item.value)[0]["topic"] == str(value):
                    return self._revision
            revision = self._store.commit({SHARED: self._revision}, {SHARED: body})
            if revision is not None:
                self._revision = revision
                return revision
        except OutcomeUnknown:
            pass
        except EtcdError:
            gevent.sleep(0.05)
        self.leave()
        return None

    def leave(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        self._members.next()


def sockets() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return found


def greenlets() -> list[str]:
    gc.collect()
    return [str(one) for one in gc.get_objects() if isinstance(one, Greenlet) and not one.dead]


def chaos(addresses: list[Address], place: Path, flood: int) -> dict[str, object]:
    """`flood` is how many changes a flood has."""
    before = sockets(), len(greenlets())
    failures: list[str] = []
    events = Events(Metrics())
    spawner = Spawner(lambda name, error, restart_in_s: failures.append(f"{name}: {error!r}"))
    writer = Writer(addresses, spawner)
    observed = [Observed(number, addresses, place, spawner, events) for number in range(SUPERVISORS)]
    finish = Event()
    gevent.signal_handler(signal.SIGTERM, finish.set)
    gevent.signal_handler(signal.SIGUSR1, lambda: (setattr(writer, "flood", flood), writer.wake.set()))
    writing = gevent.spawn(writer.run)
    finish.wait()

    writer.stopping = True
    writer.wake.set()
    writing.join()
    writer.leave()
    limit_s = time.monotonic() + CONVERGE_S
    while any(one.last != writer.value for one in observed) and time.monotonic() < limit_s:
        gevent.sleep(0.01)
    running = sockets()
    for one in observed:
        one.supervisor.stop()
    gevent.joinall([one.greenlet for one in observed], timeout=10)
    gevent.sleep(0.1)
    return {
        "failures": failures,
        "written": writer.written,
        "retries": writer.retries,
        "last": writer.value,
        "lasts": [one.last for one in observed],
        "published": [one.published for one in observed],
        "sockets": [before[0], running, sockets()],
        "greenlets": [before[1], len(greenlets())],
        "lists": sum(
            s.value
            for m in events._metrics.registry.collect()
            for s in m.samples
            if s.name == "logagent_etcd_lists_total"
        ),
    }


def idle(addresses: list[Address], place: Path, seconds: int) -> dict[str, object]:
    """What one supervisor and one heartbeat cost while nothing happens: CPU seconds per second."""
    events = Events(Metrics())
    spawner = Spawner(lambda name, error, restart_in_s: print(name, error, file=sys.stderr))
    observed = Observed(0, addresses, place, spawner, events)
    heartbeat = Heartbeat(
        members(addresses, spawner),
        Keys(PATTERN, "host0"),
        status=dict,
        summary=lambda: {"at": time.time()},
        events=events,
    )
    spawner.forever("heartbeat", heartbeat.run)
    gevent.sleep(3)
    gc.collect()
    begun, cpu = time.monotonic(), time.process_time()
    gevent.sleep(seconds)
    used = (time.process_time() - cpu) / (time.monotonic() - begun)
    observed.supervisor.stop()
    heartbeat.stop()
    gevent.sleep(0.5)
    return {"cpu": used, "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def main() -> None:
    job, place, number, *addresses = sys.argv[1:]
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(created).3f %(message)s")
    found = [read_address(one, None) for one in addresses]
    report = (chaos if job == "chaos" else idle)(found, Path(place), int(number))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
