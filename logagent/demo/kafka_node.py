# SPDX-License-Identifier: Apache-2.0
"""One real Kafka node (KRaft, loopback, small heap) from the jars that ``make kafka-libs`` fetched.

The tests stand on it as well.
"""

import base64
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from logagent.clock import monotonic
from logagent.demo.processes import Child, tail
from logagent.errors import DemoFailed, KafkaMissing

KAFKA_39 = "3.9.1"
KAFKA_4X = "4.1.1"
VERSIONS = (KAFKA_39, KAFKA_4X)  # the same two as in scripts/kafka-libs.sh
_SHORT = {"3": KAFKA_39, "3.x": KAFKA_39, "3.9": KAFKA_39, "4": KAFKA_4X, "4.x": KAFKA_4X, "4.1": KAFKA_4X}
HOST = "127.0.0.1"

_JVM = [
    *("-Xms64m", "-Xmx256m", "-Xss512k", "-XX:MaxDirectMemorySize=64m", "-XX:+UseSerialGC"),
    *("-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Djava.awt.headless=true"),
]
_LOG4J_1 = """log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
"""
_LOG4J_2 = """status=error
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=OUT
"""


def cache_dir() -> Path:
    """Where scripts/kafka-libs.sh puts the jars, unless LOGAGENT_KAFKA_LIBS names another place."""
    if place := os.environ.get("LOGAGENT_KAFKA_LIBS"):
        return Path(place)
    if place := os.environ.get("LOGAGENT_CACHE"):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logagent"


@functools.cache
def _java_fault() -> str:
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        return f"Java is missing ({error}); `make kafka-libs` shows how to install it."
    found = re.search(r'version "(\d+)', said)
    return (
        "" if found and int(found[1]) >= 17 else f"Java 17 or newer is needed, found {said.splitlines()[0]}."
    )


def full_version(name: str) -> str:
    """3.9.1 for 3.9, and so on. Raises KafkaMissing for what is no version."""
    version = _SHORT.get(name.lower(), name)
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise KafkaMissing(
            f"{name!r} is no version of Kafka; expected one like {', '.join((*VERSIONS, '4.x'))}."
        )
    return version


def find_libs(version: str) -> Path:
    """The jars of this version; KafkaMissing when they or Java are not here."""
    if fault := _java_fault():
        raise KafkaMissing(fault)
    libs = cache_dir() / f"kafka-{version}" / "libs"
    if not libs.is_dir():
        fetch = "make kafka-libs" if version in VERSIONS else f"scripts/kafka-libs.sh {version}"
        raise KafkaMissing(f"There is no Kafka {version} in {libs}; `{fetch}` in the source tree fetches it.")
    return libs


_handed_out: set[int] = set()


def free_port() -> int:
    """A port below the range of outgoing connections, so that a stopped broker gets the same one again."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311  # a port is no secret
        if port in _handed_out:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            _handed_out.add(port)
            return port


def count_brokers(port: int) -> int:
    """How many live brokers the node's own Metadata answer lists; 0 while it cannot be asked."""
    ask = struct.pack(">hhih5si", 3, 1, 7, 5, b"probe", 0)  # Metadata v1 without topics
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 2) as link:
        link.settimeout(1)
        link.sendall(struct.pack(">i", len(ask)) + ask)
        with link.makefile("rb") as answer:
            head = answer.read(12)
        return int(struct.unpack(">i", head[8:12])[0]) if len(head) == 12 else 0
    return 0


def _java(libs: Path, log_config: Path, *argv: str) -> list[str]:
    key = (
        "-Dlog4j2.configurationFile="
        if log_config.name == "log4j2.properties"
        else "-Dlog4j.configuration=file:"
    )
    return ["java", *_JVM, f"{key}{log_config}", "-cp", f"{libs}/*", *argv]


class KafkaNode:
    """A broker with its own port, data and log below ``directory``; start() and stop() any number of times."""

    child_type = Child

    def __init__(
        self,
        version: str,
        directory: Path,
        *,
        auto_create: bool = True,
        partitions: int = 3,
        properties: Mapping[str, object] | None = None,
        port: int | None = None,
    ) -> None:
        """``partitions``: of topics that create themselves; ``properties`` go over those of server.properties."""
        self.version = version
        self.directory = directory
        self.port = port or free_port()
        self.address = f"{HOST}:{self.port}"
        self.log = directory / "server.log"
        self._libs = find_libs(version)
        self._child: Child | None = None
        directory.mkdir(parents=True, exist_ok=True)
        old = version.startswith("3.")
        self._log_config = directory / ("log4j.properties" if old else "log4j2.properties")
        self._log_config.write_text(_LOG4J_1 if old else _LOG4J_2)
        self._config = directory / "server.properties"
        values = self._properties(auto_create, partitions) | dict(properties or {})
        self._config.write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    def _properties(self, auto_create: bool, partitions: int) -> dict[str, object]:
        controller = free_port()
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.directory / "data",
            "num.partitions": partitions,
            "auto.create.topics.enable": str(auto_create).lower(),
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 3000,  # a killed broker may not come back before its old session is over
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "num.recovery.threads.per.data.dir": 1,
            "log.segment.bytes": 16 * 1024 * 1024,
            "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
            "log.index.size.max.bytes": 1024 * 1024,
        }

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        assert self._child is not None, "the broker was never started"
        return self._child.pid

    def start(self, *, timeout_s: float = 60) -> Self:
        """On the same port and data as before; returns when it answers, DemoFailed with its log otherwise."""
        self.launch()
        self.wait_ready(timeout_s=timeout_s)
        return self

    def launch(self) -> None:
        """start() without the waiting."""
        assert not self.running, "the broker runs already"
        if not (self.directory / "data" / "meta.properties").exists():
            self._format()
        self._child = self.child_type(
            _java(self._libs, self._log_config, "kafka.Kafka", str(self._config)),
            stdout=self.log,
            cwd=self.directory,
        )

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._config)]
        done = subprocess.run(
            _java(self._libs, self._log_config, *tool),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"Kafka {self.version} could not format its data:\n{done.stdout}{done.stderr}")

    @property
    def answers(self) -> bool:
        """It takes requests now."""
        return self.running and count_brokers(self.port) > 0

    def wait_ready(self, *, timeout_s: float = 60) -> None:
        """Raises DemoFailed with the end of its log."""
        deadline = monotonic() + timeout_s
        while not self.answers:
            if not self.running:
                raise DemoFailed(f"Kafka {self.version} ended while starting\n{self.failure_report()}")
            if monotonic() >= deadline:
                late = f"Not within {timeout_s:g} s: Kafka {self.version} answers at {self.address}."
                raise DemoFailed(f"{late}\n{self.failure_report()}")
            time.sleep(0.05)

    def stop(self, *, timeout_s: float = 20) -> None:
        """In order, as an administrator would (SIGTERM; SIGKILL after ``timeout_s``)."""
        if self._child is None:
            return
        self._child.signal(signal.SIGTERM)
        if self._child.exit_within(timeout_s) is None:
            self._child.kill()

    def kill(self) -> None:
        """SIGKILL, as kill -9."""
        if self._child is not None:
            self._child.kill()

    def restart(self, *, timeout_s: float = 60) -> None:
        self.stop()
        self.start(timeout_s=timeout_s)

    def close(self) -> None:
        """For good: the process is killed, the data removed, the log stays."""
        self.kill()
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def failure_report(self) -> str:
        """What one wants to see when it does not work."""
        state = "running" if self.running else "not running"
        return f"Kafka {self.version} at {self.address} ({state}), end of {self.log}:\n{tail(self.log, 40)}"
