# SPDX-License-Identifier: Apache-2.0
"""Time that tests move, and a cluster in memory with everything that a supervisor or heartbeat needs."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.event import Event

from logagent.config.services import PathRules
from logagent.config.values import Address
from logagent.control.keeping import Keeping
from logagent.control.keys import Keys
from logagent.control.members import Members
from logagent.control.supervisor import ConfigSupervisor
from logagent.spawn import Spawner
from logagent.stores.memory_store import MemoryServer, MemoryStore
from logagent.stores.store import Access
from tests.unit.sources.twins import Told

ADDRESSES = tuple(Address(f"e{number}", 2379) for number in (1, 2, 3))
KEYS = Keys("/logagent/%s/logconfig", "h")
RULES = PathRules(allowed=(), denied=("/etc",), own_log=None, data_dir="/var/lib/agent")
MIDDLE = 0.5
"""For rand: jitter that changes nothing where it is symmetric."""


class Time:
    """A clock and a wait that only `advance` moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._waiters: list[tuple[float, Event]] = []

    def clock(self) -> float:
        return self.now_s

    def wait(self, event: Event, timeout_s: float) -> bool:
        assert timeout_s > 0, "a wait for nothing"
        woken = Event()
        waiter = (self.now_s + timeout_s, woken)
        self._waiters.append(waiter)
        event.rawlink(lambda _: woken.set())
        woken.wait()
        self._waiters.remove(waiter)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, one timer after the other, everything settled in between."""
        end_s = self.now_s + seconds
        self.settle()
        while self._waiters and (next_s := min(at_s for at_s, _ in self._waiters)) <= end_s:
            self.now_s = max(self.now_s, next_s)
            for at_s, woken in list(self._waiters):
                if at_s <= self.now_s:
                    woken.set()
            self.settle()
        self.now_s = end_s

    @staticmethod
    def settle() -> None:
        """Until every greenlet waits for something."""
        for _ in range(5):
            gevent.idle()


def services(*names: str, **fields: Any) -> str:
    return json.dumps(
        [{"service": name, "log_path": f"/var/log/{name}.log", "topic": "t", **fields} for name in names]
    )


def unlimited(_seconds: float) -> Any:
    @contextmanager
    def timer():
        yield

    return timer()


class Bench:
    """Three members in memory and one supervisor; `run` starts it."""

    def __init__(self, place: Any, *, members: int = 3, api: str = "memory") -> None:
        self.time = Time()
        self.server = MemoryServer(self.time.clock)
        self.told = Told()
        self.failures: list[BaseException] = []
        self.spawner = Spawner(lambda name, error, restart_in_s: self.failures.append(error))
        self.stores: list[Any] = []
        self.asked: list[str] = []
        self.make: Callable[[str], Any] = lambda member: MemoryStore(self.server, member)
        self.api = api
        self.addresses = ADDRESSES[:members]
        self.place = place
        self.accept_empty = False
        self.rules = RULES
        self.changes = 0
        self.timer: Any = unlimited
        self.greenlet: Any = None

    def members(self) -> Members:
        return Members(self.addresses, Access(5.0), self.api, self.open, self.detect, rand=lambda: 0.0)

    def open(self, api: Any, address: Address, access: Access) -> Any:
        store = self.make(str(address))
        self.stores.append(store)
        self.asked.append(str(address))
        return store

    def detect(self, address: Address, access: Access) -> Any:
        raise AssertionError("nobody asked to detect")

    def supervisor(self) -> ConfigSupervisor:
        keeping = Keeping(
            self.place / "etcd-cache.json",
            self.told,
            wall=lambda: 1e9 + self.time.now_s,
            call=lambda function, *args: function(*args),
        )
        return ConfigSupervisor(
            self.members(),
            KEYS,
            keeping=keeping,
            rules=lambda: self.rules,
            accept_empty=lambda: self.accept_empty,
            on_change=self.changed,
            spawner=self.spawner,
            events=self.told,
            clock=self.time.clock,
            wait=self.time.wait,
            timer=lambda seconds: self.timer(seconds),
            rand=lambda: MIDDLE,
        )

    def changed(self) -> None:
        self.changes += 1

    def run(self) -> ConfigSupervisor:
        made = self.supervisor()
        self.greenlet = self.spawner.forever("etcd", made.run)
        self.supervised = made
        self.time.settle()
        return made

    def stop(self) -> None:
        if self.greenlet is not None:
            self.supervised.stop()
            self.time.settle()
            assert self.greenlet.dead
            self.greenlet = None

    @property
    def open_stores(self) -> int:
        return sum(not store._closed for store in self.stores)

    def running(self) -> list[str]:
        """Services in force, sorted."""
        return sorted(entry.service for one in self.supervised.steering.documents for entry in one.entries)
