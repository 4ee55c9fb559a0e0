# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests: real brokers, and the promise that a test leaves no process behind."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.agent import AgentProcess
from tests.support.etcd import ETCD_35, ETCD_NEW, EtcdCluster, EtcdNode, require_etcd
from tests.support.kafka import KAFKA_4X, KAFKA_39, VERSIONS, KafkaMissing, KafkaNode, find_libs
from tests.support.kafka_cluster import KafkaCluster
from tests.support.missing import skip_or_fail
from tests.support.proxy import Network
from tests.support.writer import Habits, Writer

_numbers = itertools.count(1)
_SHARED_PIDS = pytest.StashKey[set[int]]()  # brokers and servers that live for the whole run
Started = KafkaNode | EtcdNode | EtcdCluster | AgentProcess | Writer
_SUPPORT = pytest.StashKey[list[Started]]()  # what this test started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the end of the logs of every server, agent and writer that it used."""
    report = yield
    if report.failed:
        used = [
            value
            for value in getattr(item, "funcargs", {}).values()
            if isinstance(value, KafkaNode | KafkaCluster | EtcdNode)
        ]
        for one in [*used, *item.stash.get(_SUPPORT, [])]:
            report.sections.append((type(one).__name__, one.failure_report()))
    return report


def _children() -> set[int]:
    """The pids of this process's children."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found.update(map(int, (task / "children").read_text().split()))
    return found - {processes.reaper_pid()}


@pytest.fixture(autouse=True)
def no_process_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test starts has ended when it ends; the shared servers may stay."""
    before = _children()
    yield
    left = _children() - before - request.config.stash.get(_SHARED_PIDS, set())
    for child in processes.live():
        if child.pid in left:
            child.kill()
    assert not left, f"the test left processes behind: {sorted(left)}"


def require_kafka(version: str) -> None:
    """A machine without brokers skips the test at home; under CI=true that is a failure."""
    try:
        find_libs(version)
    except KafkaMissing as error:
        skip_or_fail(str(error))


def _session_node(
    version: str, request: pytest.FixtureRequest, tmp: pytest.TempPathFactory
) -> Iterator[KafkaNode]:
    require_kafka(version)
    node = KafkaNode(version, tmp.mktemp(f"kafka-{version}-"))
    try:
        node.start()
        request.config.stash.setdefault(_SHARED_PIDS, set()).add(node.pid)
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def kafka_39(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """Kafka 3.9, shared by the whole run: give topics names of your own (``topic``), never stop it."""
    yield from _session_node(KAFKA_39, request, tmp_path_factory)


@pytest.fixture(scope="session")
def kafka_4x(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """Kafka 4, shared by the whole run like kafka_39."""
    yield from _session_node(KAFKA_4X, request, tmp_path_factory)


def _module_cluster(version: str, tmp: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    require_kafka(version)
    cluster = KafkaCluster(version, tmp.mktemp(f"cluster-{version}-"))
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def module_cluster_39(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    yield from _module_cluster(KAFKA_39, tmp_path_factory)


@pytest.fixture(scope="module")
def module_cluster_4x(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    yield from _module_cluster(KAFKA_4X, tmp_path_factory)


def _whole_cluster(cluster: KafkaCluster, request: pytest.FixtureRequest) -> Iterator[KafkaCluster]:
    shared = request.config.stash.setdefault(_SHARED_PIDS, set())
    cluster.heal()
    yield cluster
    cluster.heal()
    shared.update(cluster.pids)


@pytest.fixture
def cluster_39(
    request: pytest.FixtureRequest, module_cluster_39: KafkaCluster, no_process_left: None
) -> Iterator[KafkaCluster]:
    """Three nodes of Kafka 3.9 for the tests of a module, which may kill and freeze them; whole again after each."""
    yield from _whole_cluster(module_cluster_39, request)


@pytest.fixture
def cluster_4x(
    request: pytest.FixtureRequest, module_cluster_4x: KafkaCluster, no_process_left: None
) -> Iterator[KafkaCluster]:
    """Three nodes of Kafka 4, as cluster_39."""
    yield from _whole_cluster(module_cluster_4x, request)


@pytest.fixture
def network() -> Iterator[Callable[..., Network]]:
    """Makes networks that a test can break: ``network(ports of the brokers)``."""
    made: list[Network] = []

    def make(brokers: Iterable[int]) -> Network:
        made.append(Network(brokers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["kafka_39", "kafka_4x"])
def kafka(request: pytest.FixtureRequest) -> KafkaNode:
    """Both shared brokers, one test each."""
    node: KafkaNode = request.getfixturevalue(request.param)
    return node


@pytest.fixture(params=VERSIONS)
def kafka_version(request: pytest.FixtureRequest) -> str:
    """Both versions, for tests that start their own broker: ``kafka_node(kafka_version)``."""
    version: str = request.param
    return version


@pytest.fixture
def support(request: pytest.FixtureRequest) -> Iterator[list[Started]]:
    """Everything that the factories below made; closed newest first, shown when the test fails."""
    started = request.node.stash[_SUPPORT] = []
    yield started
    for one in reversed(started):
        one.close()


@pytest.fixture
def kafka_node(support: list[object], tmp_path: Path) -> Callable[..., KafkaNode]:
    """Makes brokers that this test may stop, kill and freeze: ``kafka_node(version, start=True, **options)``."""

    def make(
        version: str = KAFKA_39,
        *,
        start: bool = True,
        auto_create: bool = True,
        partitions: int = 3,
        properties: Mapping[str, object] | None = None,
    ) -> KafkaNode:
        require_kafka(version)
        place = tmp_path / f"kafka{len(support)}"
        node = KafkaNode(
            version, place, auto_create=auto_create, partitions=partitions, properties=properties
        )
        support.append(node)
        return node.start() if start else node

    return make


def _session_etcd(
    version: str, request: pytest.FixtureRequest, tmp: pytest.TempPathFactory, *, v2: bool
) -> Iterator[EtcdNode]:
    require_etcd(version)
    flags = {"heartbeat-interval": 50, "election-timeout": 500}  # allows leases of one second
    node = EtcdNode(version, tmp.mktemp(f"etcd-{version}-"), v2=v2, progress_s=1, flags=flags)
    try:
        node.start()
        request.config.stash.setdefault(_SHARED_PIDS, set()).add(node.pid)
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def etcd_35(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdNode]:
    """Etcd 3.5 with the v2 API, shared by the whole run: use keys below ``key_root``, never stop it."""
    yield from _session_etcd(ETCD_35, request, tmp_path_factory, v2=True)


@pytest.fixture(scope="session")
def etcd_new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdNode]:
    """A current Etcd, shared by the whole run like etcd_35."""
    yield from _session_etcd(ETCD_NEW, request, tmp_path_factory, v2=False)


@pytest.fixture(params=["etcd_35", "etcd_new"])
def etcd(request: pytest.FixtureRequest) -> EtcdNode:
    """Both shared servers, one test each."""
    node: EtcdNode = request.getfixturevalue(request.param)
    return node


@pytest.fixture
def etcd_node(support: list[object], tmp_path: Path) -> Callable[..., EtcdNode]:
    """Makes members that this test may stop, kill and freeze: ``etcd_node(version, start=True, **options)``."""

    def make(version: str = ETCD_NEW, *, start: bool = True, **options: Any) -> EtcdNode:
        require_etcd(version)
        node = EtcdNode(version, tmp_path / f"etcd{len(support)}", **options)
        support.append(node)
        return node.start() if start else node

    return make


@pytest.fixture
def etcd_cluster(support: list[object], tmp_path: Path) -> Callable[..., EtcdCluster]:
    """Makes clusters of members for this test: ``etcd_cluster(version, count=3, **options)``, started."""

    def make(version: str = ETCD_NEW, count: int = 3, **options: Any) -> EtcdCluster:
        require_etcd(version)
        cluster = EtcdCluster(version, tmp_path / f"etcd{len(support)}", count, **options)
        support.append(cluster)
        return cluster.start()

    return make


@pytest.fixture
def key_root() -> str:
    """Where this test's keys live in Etcd; no slash at its end."""
    return f"/test-{next(_numbers)}"


Options = Mapping[str, object]


@pytest.fixture
def agent(support: list[object], tmp_path: Path) -> Callable[..., AgentProcess]:
    """Makes agents: ``agent(kafka_addr=..., services={...}, start=True, **sections)``."""

    def make(
        *,
        kafka_addr: str,
        services: Mapping[str, Options],
        start: bool = True,
        top: Options | None = None,
        agent: Options | None = None,
        etcd: Options | None = None,
        kafka: Options | None = None,
        files: Options | None = None,
        env: Mapping[str, str] | None = None,
    ) -> AgentProcess:
        place = tmp_path / f"agent{len(support)}"
        made = AgentProcess(
            place,
            kafka_addr=kafka_addr,
            services=services,
            top=top,
            agent=agent,
            etcd=etcd,
            kafka=kafka,
            files=files,
            env=env,
        )
        support.append(made)
        return made.start() if start else made

    return make


@pytest.fixture
def writer(support: list[object], tmp_path: Path) -> Callable[..., Writer]:
    """Makes services that write logs: ``writer({"a": path}, Habits(lines=1000))``, started."""

    def make(files: Mapping[str, Path], habits: Habits, *, start: bool = True) -> Writer:
        made = Writer(files, tmp_path / f"writer{len(support)}", habits)
        support.append(made)
        return made.start() if start else made

    return make


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test of this run has."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in request.node.name)
    return f"{name[:180]}-{next(_numbers)}"
