# SPDX-License-Identifier: Apache-2.0
"""A kill at the worst moment, and then something else is different, too: each line is still there exactly once."""

import gzip
import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.proofs import file_state, sentences, stored_offsets
from tests.integration.scenes import DUPLICATES, LOST_BY_CLUSTER, UNKNOWN, Scene
from tests.support.agent import AgentProcess
from tests.support.consumer import consume, read_messages
from tests.support.kafka import KafkaNode
from tests.support.kafka_cluster import KafkaCluster
from tests.support.proxy import PRODUCE, Network, Passage, Trap
from tests.support.small_disk import SmallDisk
from tests.support.waiting import wait_until

Scenes = Callable[..., Scene]
DESCRIBE_PRODUCERS = 61
LINE_BYTES = 201
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
_CASES = {"delivered already": ("answer", "delivered"), "not delivered": ("request", "not_delivered")}
both = pytest.mark.parametrize(("of", "answer"), _CASES.values(), ids=_CASES)


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    agent: Callable[..., AgentProcess],
    network: Callable[..., Network],
    topic: str,
    tmp_path: Path,
) -> Scenes:
    """Makes scenes in which 300 lines of each file are there: ``scene("a", node=None, **sections of the INI)``."""

    def make(
        *labels: str,
        services: Mapping[str, tuple[str, ...]] | None = None,
        node: KafkaNode | None = None,
        cluster: KafkaCluster | None = None,
        partitions: int = 1,
        config: dict[str, str] | None = None,
        disk: Callable[[Path], SmallDisk] | None = None,
        **sections: Any,
    ) -> Scene:
        node = node or cluster or request.getfixturevalue("kafka_39")
        wanted = services or {"s": labels}
        topics = {name: topic if services is None else f"{topic}-{name}" for name in wanted}
        for name, its_topic in topics.items():
            node.create_topic(its_topic, partitions=partitions, config=config)
            (tmp_path / name).mkdir()
        between = network([node.port] if cluster is None else cluster.ports)
        shipper = agent(
            kafka_addr=between.addresses,
            services={name: entry(tmp_path, name, its_topic) for name, its_topic in topics.items()},
            start=False,
            **sections,
        )
        if disk is not None:
            disk(shipper.data_dir)
        made = Scene(shipper.start(), node, between, tmp_path, topics)
        for name, its_labels in wanted.items():
            for label in its_labels:
                made.write(made.path(label, name), 300)
        shipper.wait_acked()
        return made

    return make


def entry(place: Path, service: str, topic: str, **more: object) -> dict[str, object]:
    return {"log_path": place / service / "*.log", "topic": topic} | more


# -- the moment of the kill ---------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("saved", [True, False], ids=["positions saved", "positions behind"])
def test_cases_116_and_117_a_batch_on_its_way_is_neither_lost_nor_doubled(
    scene: Scenes, of: str, answer: str, saved: bool
) -> None:
    one = scene("a")
    path = one.path("a")
    if saved:
        one.settle(path)
    one.kill_on_the_way(of, {path: 100})
    one.write(path, 100)
    one.start()
    assert one.wait_recovered() == {answer: 1}
    assert len(sentences(one.shipper, "was on its way when the agent ended last")) == 1
    assert len(sentences(one.shipper, "batch of 100 records in doubt")) == 1
    one.write(path, 100)
    one.prove(min_lines=600)


def test_case_117_a_request_that_arrives_after_the_restart_is_not_taken_twice(scene: Scenes) -> None:
    one = scene("a")
    trap = one.kill_on_the_way("request", {one.path("a"): 100}, late=True)
    one.start()
    one.wait_recovered()
    one.shipper.wait_acked()
    trap.release()
    one.write(one.path("a"), 100)
    one.prove(min_lines=500)


def test_kills_in_the_middle_of_a_recovery_are_recovered_from(scene: Scenes) -> None:
    """Each time in another life the batch of the life before is held up, or the one behind it."""
    one = scene("a")
    path = one.path("a")
    one.kill_on_the_way("request", {path: 100})
    for of in ("request", "answer", "answer"):
        trap = Trap(of)
        with one.network.ruled(trap):
            one.shipper.start()
            one.write(path, 20)
            assert trap.caught.wait(20), one.shipper.failure_report()
            one.shipper.kill9()
        trap.drop()
    one.start()
    assert one.wait_recovered() == {"delivered": 1}
    one.prove(min_lines=460)


@pytest.mark.soak
@pytest.mark.timeout(300)
@both
def test_case_118_agent_and_broker_are_killed_together(
    scene: Scenes, kafka_node: Callable[..., KafkaNode], kafka_version: str, of: str, answer: str
) -> None:
    one = scene("a", node=kafka_node(kafka_version))
    one.kill_on_the_way(of, {one.path("a"): 100})
    one.node.kill()
    one.start()
    one.write(one.path("a"), 100)
    one.node.start()
    assert one.wait_recovered() == {answer: 1}
    one.prove(min_lines=500)


@both
def test_case_98_a_stop_while_a_batch_is_held_up_leaves_it_to_the_next_start(
    scene: Scenes, of: str, answer: str
) -> None:
    one = scene("a", agent={"shutdown_timeout_s": 1})
    path = one.path("a")
    acked = path.stat().st_size
    trap = Trap(of)
    with one.network.ruled(trap):
        one.write(path, 100)
        assert trap.caught.wait(20)
        begun_s = time.monotonic()
        one.shipper.stop()
        assert time.monotonic() - begun_s < 4
    trap.drop()
    assert stored_offsets(one.shipper)[bytes(path)] == acked
    one.write(path, 100)
    one.start()
    assert one.wait_recovered() == {answer: 1}
    one.prove(min_lines=500)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_case_88_kafka_is_away_while_the_agent_is_stopped_and_started(
    scene: Scenes, kafka_node: Callable[..., KafkaNode], kafka_version: str
) -> None:
    one = scene("a", "b", node=kafka_node(kafka_version), agent={"shutdown_timeout_s": 1})
    one.node.kill()
    for _ in range(3):
        for label in ("a", "b"):
            one.write(one.path(label), 200)
        one.shipper.wait_for(lambda: one.shipper.http("/healthz")[0] == 503, 40, "/healthz fails")
        one.shipper.stop()
        one.start()
    one.node.start()
    one.prove(min_lines=1800)


# -- files changed meanwhile --------------------------------------------------------------------------------------

FILES = {"rotated": ("r",), "packed": ("p",), "gone": ("g", "h"), "trio": ("t1", "t2", "t3")}


@both
def test_cases_120_121_and_126b_files_of_a_batch_were_rotated_compressed_or_deleted_meanwhile(
    scene: Scenes, of: str, answer: str
) -> None:
    one = scene(services=FILES)
    paths = {label: one.path(label, name) for name, labels in FILES.items() for label in labels}
    one.settle(*paths.values())
    on_the_way = {path: 50 for label, path in paths.items() if label != "h"}
    one.kill_on_the_way(of, on_the_way, together=True)

    _rotate(paths["r"])
    _pack(paths["p"])
    paths["g"].unlink()
    paths["t2"].unlink()
    more = dict.fromkeys(("r", "p", "h", "t1", "t3"), 70)
    for label, lines in more.items():
        one.write(paths[label], lines)
    one.start()
    one.wait_recovered(len(FILES))
    said = one.stop()

    one.report("rotated").require_exact(min_lines=421)
    found = {name: one.report(name, missing=50 * (of == "request")) for name in ("gone", "trio")}
    packed = one.report("packed")
    print(f"{said}; packed: {packed}")
    for report in (*found.values(), packed):
        assert not [*report.doubled, *report.out_of_order, *report.corrupt], str(report)
    if of == "answer":
        # They had arrived: that is found out although nobody can build the batches any more.
        assert said == {} or set(said) == {f'{UNKNOWN}{{service="packed"}}'}
        assert not [*found["gone"].lost, *found["trio"].lost]
    else:
        assert [line.label for line in found["gone"].lost] == ["g"] * 50
        assert [line.label for line in found["trio"].lost] == ["t2"] * 50
        assert said[f'{UNKNOWN}{{service="gone"}}'] == said[f'{UNKNOWN}{{service="trio"}}'] == 50 * LINE_BYTES
    assert not packed.lost or said[f'{UNKNOWN}{{service="packed"}}'], "nothing is missing that nobody tells"


def _rotate(path: Path) -> None:
    path.rename(f"{path}.1")


def _pack(path: Path) -> None:
    packed = Path(f"{path}.1.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    shutil.copystat(path, packed)
    path.unlink()


# -- settings changed meanwhile -----------------------------------------------------------------------------------

CHANGES: dict[str, dict[str, object]] = {
    "format": {"format": "json"},
    "headers": {"headers": "origin", "key": "path"},
    "multiline": {"multiline_start": "^never"},
    "encoding": {"encoding": "latin-1"},
}


@both
def test_case_126a_settings_of_services_were_changed_before_the_restart(
    scene: Scenes, tmp_path: Path, of: str, answer: str
) -> None:
    """The batches are built by the settings of their time; what comes behind goes by the new ones."""
    names = (*CHANGES, "deleted", "elsewhere")
    one = scene(services={name: (name,) for name in names})
    one.settle(*(one.path(name, name) for name in names))
    other = f"{one.topics['elsewhere']}-other"
    one.node.create_topic(other, partitions=1)
    one.kill_on_the_way(of, {one.path(name, name): 100 for name in names})
    services = {name: entry(tmp_path, name, one.topics[name], **CHANGES[name]) for name in CHANGES}
    services["elsewhere"] = entry(tmp_path, "elsewhere", other)
    one.shipper.write_ini(services, files={"max_line_bytes": "64KiB", "oversize": "split"})
    one.start()
    assert one.wait_recovered(len(names)) == {answer: len(names)}
    with one.path("elsewhere", "elsewhere").open("ab") as file:
        file.write(b"the first line for the other topic\n")
    said = one.stop()

    print(f"not kept: {said}")
    for name in names:
        if name != "deleted":
            one.report(name).require_exact(min_lines=400)
    values = [record.value for record in consume(one.node.address, other, tmp_path, expect=1)]
    assert values == [b"the first line for the other topic"]
    assert not said
    # It comes back, and goes on behind what was delivered without it.
    one.shipper.write_ini({"deleted": entry(tmp_path, "deleted", one.topics["deleted"])})
    one.write(one.path("deleted", "deleted"), 50)
    one.start()
    one.stop()
    one.report("deleted").require_exact(min_lines=450)


def test_case_126a_every_life_has_other_settings_and_leaves_a_batch_behind(
    scene: Scenes, tmp_path: Path
) -> None:
    one = scene("a")
    for headers, of in (("origin", "answer"), ("none", "request"), ("origin", "answer")):
        one.kill_on_the_way(of, {one.path("a"): 50})
        one.shipper.write_ini({"s": entry(tmp_path, "s", one.topic, headers=headers)})
        one.start()
        one.wait_recovered()
    one.prove(min_lines=450)
    headers = [bool(message.headers()) for message in read_messages(one.node.address, one.topic)]
    assert headers == [False] * 350 + [True] * 50 + [False] * 50


# -- brokers ------------------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_case_122_a_broker_that_forgot_the_producer_may_have_the_batch_twice_and_that_is_told(
    scene: Scenes, kafka_node: Callable[..., KafkaNode], kafka_version: str
) -> None:
    memory = {"producer.id.expiration.ms": 5000, "producer.id.expiration.check.interval.ms": 500}
    one = scene("a", node=kafka_node(kafka_version, properties=memory))
    one.kill_on_the_way("answer", {one.path("a"): 100})
    time.sleep(12)  # the broker forgets
    one.start()
    one.wait_recovered()
    said = one.stop()
    found = one.report()
    assert not [*found.lost, *found.corrupt, *found.foreign], str(found)
    assert {line.sequence for line in found.doubled} == set(range(300, 400))
    assert said == {f'{DUPLICATES}{{reason="forgotten"}}': 100}


class FromTheSecond:
    """Lets the first answer to a Produce pass, which says that the batch is too large, and holds back what follows."""

    def __init__(self, of: str) -> None:
        self.trap = Trap(of)
        self._refused = False

    def __call__(self, passage: Passage) -> bytes:
        if self._refused:
            return self.trap(passage)
        self._refused = not passage.to_broker and passage.api_key == PRODUCE
        return passage.frame


@both
def test_case_123_a_batch_is_too_large_and_the_agent_is_killed_right_after_the_split(
    scene: Scenes, of: str, answer: str
) -> None:
    one = scene("a", config={"max.message.bytes": "30000"})
    one.settle(one.path("a"))
    splits = FromTheSecond(of)
    with one.network.ruled(splits):
        one.write(one.path("a"), 400)
        assert splits.trap.caught.wait(20)
        one.shipper.kill9()
    splits.trap.drop()
    one.start()
    one.wait_recovered()
    one.prove(min_lines=700)


def test_case_123_the_limit_was_lowered_below_a_batch_that_is_there_already(scene: Scenes) -> None:
    """The broker says "too large" before it looks whether it has the batch: cut in two, it would be there twice."""
    one = scene("a")
    one.settle(one.path("a"))
    one.kill_on_the_way("answer", {one.path("a"): 400})
    one.node.configure_topic(one.topic, {"max.message.bytes": "30000"})
    one.start()
    assert one.wait_recovered() == {"delivered": 1}
    one.write(one.path("a"), 100)
    one.prove(min_lines=800)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_case_126d_what_the_broker_lost_of_its_log_is_told_and_sent_again_as_far_as_possible(
    scene: Scenes, kafka_node: Callable[..., KafkaNode], kafka_version: str
) -> None:
    one = scene("a", node=kafka_node(kafka_version))
    one.write(one.path("a"), 100)
    one.shipper.wait_acked()
    one.node.kill()
    assert cut_last_batch(one.node, one.topic) == 100
    one.node.start()
    one.write(one.path("a"), 100)
    one.shipper.wait_for(lambda: one.shipper.metric(LOST_BY_CLUSTER) > 0, 30, "the loss is told")
    one.stop()
    found = one.report()
    assert sentences(one.shipper, "ERROR", "lost batches that it had acknowledged")
    assert not [*found.lost, *found.doubled, *found.corrupt], str(found)


def cut_last_batch(node: KafkaNode, topic: str) -> int:
    """As after a power cut of a broker that had not flushed; how many records are gone."""
    folder = node.directory / "data" / f"{topic}-0"
    (log,) = folder.glob("*.log")
    data, at, last = log.read_bytes(), 0, 0
    while at + 12 <= len(data) and (size := int.from_bytes(data[at + 8 : at + 12], "big")):
        last, at = at, at + 12 + size
    records = int.from_bytes(data[last + 57 : last + 61], "big")
    os.truncate(log, last)
    for snapshot in folder.glob("*.snapshot"):
        snapshot.unlink()
    return records


def test_asking_is_denied_and_the_batch_is_recognised_by_its_place(
    scene: Scenes, kafka_node: Callable[..., KafkaNode]
) -> None:
    rules = {"authorizer.class.name": AUTHORIZER, "allow.everyone.if.no.acl.found": "true"}
    one = scene("a", node=kafka_node(properties=rules))
    one.settle(one.path("a"))
    one.node.allow_only(one.topic, "WRITE")
    time.sleep(1)  # the broker hears of it
    one.kill_on_the_way("answer", {one.path("a"): 100})
    one.start()
    assert one.wait_recovered() == {"unasked": 1}
    one.shipper.wait_acked()
    one.node.allow_only(one.topic, "READ")
    one.prove(min_lines=400)


def test_files_outside_of_the_batch_start_at_once(scene: Scenes) -> None:
    """While nobody answers what became of a batch, files of other partitions are read and sent."""
    one = scene("a", partitions=6)
    one.kill_on_the_way("answer", {one.path("a"): 100})
    ask = Trap("request", api_key=DESCRIBE_PRODUCERS)
    others = [one.path(f"b{number}") for number in range(12)]
    with one.network.ruled(ask):
        one.start()
        for other in others:
            one.write(other, 20)
        assert ask.caught.wait(20)

        def delivered() -> int:
            states = [file_state(one.shipper, other) for other in others]
            return sum(bool(state) and state["lag_bytes"] == 0 for state in states)

        one.shipper.wait_for(lambda: delivered() >= 6, 5, "files of other partitions are delivered")
        assert file_state(one.shipper, one.path("a")).get("lag_bytes") != 0
    ask.release()
    one.prove(min_lines=640)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_case_126i_the_leader_alone_has_the_batch_and_dies_so_its_word_must_not_move_positions(
    scene: Scenes, tmp_path_factory: pytest.TempPathFactory, kafka_version: str
) -> None:
    # Nobody is declared dead while the followers stand still: that would be another story.
    patient = {
        "broker.session.timeout.ms": 20_000,
        "controller.quorum.fetch.timeout.ms": 20_000,
        "replica.lag.time.max.ms": 60_000,
    }
    cluster = KafkaCluster(kafka_version, tmp_path_factory.mktemp("patient"), properties=patient)
    try:
        one = scene("a", cluster=cluster.start())
        one.settle(one.path("a"))
        acked = one.path("a").stat().st_size
        leader = cluster.leaders(one.topic)[0]
        followers = [node for number, node in cluster.nodes.items() if number != leader]
        for node in followers:
            node.freeze()
        passed = Noted()
        with one.network.ruled(passed):
            one.write(one.path("a"), 100)
            wait_until(lambda: passed.requests, 20, "the leader has the batch")
        time.sleep(0.3)  # it appends
        one.shipper.kill9()
        one.shipper.start()
        one.shipper.wait_for(
            lambda: sentences(one.shipper, "batch of 100 records in doubt"), 30, "the leader was asked"
        )
        assert file_state(one.shipper, one.path("a")).get("acked_offset_bytes", acked) == acked
        cluster.nodes[leader].kill()
        for node in followers:
            node.thaw()
        one.write(one.path("a"), 100)
        one.shipper.wait_acked(timeout_s=120)
        said = one.stop()
        cluster.heal()
        found = one.report()
        print(f"{found}; not kept: {said}")
        found.require_exact(min_lines=500, min_faults=1)
    finally:
        one.shipper.close()
        cluster.close()


class Noted:
    """Counts requests with lines."""

    def __init__(self) -> None:
        self.requests = 0

    def __call__(self, passage: Passage) -> bytes:
        self.requests += passage.to_broker and passage.api_key == PRODUCE
        return passage.frame


# -- the agent's own state ----------------------------------------------------------------------------------------


def test_case_124_with_at_least_once_no_intents_are_written_and_only_the_batch_comes_twice(
    scene: Scenes,
) -> None:
    one = scene("a", kafka={"delivery": "at_least_once"})
    one.settle(one.path("a"))
    one.kill_on_the_way("answer", {one.path("a"): 100})
    assert not list(one.shipper.data_dir.glob("intents*"))
    one.start()
    one.stop()
    found = one.report()
    assert not found.lost
    assert {line.sequence for line in found.doubled} == set(range(300, 400))


def test_case_125_the_state_is_gone_and_files_are_read_as_if_for_the_first_time(scene: Scenes) -> None:
    one = scene("a")
    one.settle(one.path("a"))
    one.kill_on_the_way("answer", {one.path("a"): 100})
    shutil.rmtree(one.shipper.data_dir)
    one.start()
    one.stop()
    found = one.report()
    assert not found.lost
    assert len(found.doubled) == 400


def _cut(data: bytes) -> bytes:
    return data[: len(data.rstrip(b"\0")) - 20]


def _zero(data: bytes) -> bytes:
    return bytes(len(data))


def _flip(data: bytes) -> bytes:
    middle = len(data.rstrip(b"\0")) - 30
    return data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :]


def _nonsense(data: bytes) -> bytes:
    return b"\xa5" * len(data)


@pytest.mark.parametrize("damage", [_cut, _zero, _flip, _nonsense], ids=lambda one: one.__name__[1:])
def test_a_damaged_journal_is_refused_with_a_reason_and_lines_go_on(
    scene: Scenes, damage: Callable[[bytes], bytes]
) -> None:
    one = scene("a")
    one.settle(one.path("a"))
    one.kill_on_the_way("request", {one.path("a"): 100})
    touched = 0
    for journal in one.shipper.data_dir.glob("intents*"):
        if data := journal.read_bytes():
            journal.write_bytes(damage(data))
            touched += bool(data.strip(b"\0"))
    assert touched
    one.start()
    one.write(one.path("a"), 100)
    one.stop()
    if damage is not _zero:
        assert sentences(one.shipper, "WARNING", "intents.", "are not to be used")
    # The batch had not arrived: without its intent its lines are simply read again.
    one.report().require_exact(min_lines=500)


def test_case_126e_a_copy_of_the_state_asks_before_it_sends(
    scene: Scenes, agent: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    one = scene("a")
    one.settle(one.path("a"))
    one.kill_on_the_way("request", {one.path("a"): 100})
    copy = tmp_path / "copy"
    shutil.copytree(one.shipper.data_dir, copy, ignore=shutil.ignore_patterns("*.sock", "lock"))
    one.start()
    assert one.wait_recovered() == {"not_delivered": 1}
    one.stop()
    services = {"s": entry(tmp_path, "s", one.topic)}
    clone = agent(kafka_addr=one.network.addresses, services=services, agent={"data_dir": copy}, start=False)
    clone.data_dir = copy
    one.shipper = clone
    one.start()
    assert one.wait_recovered() == {"delivered": 1}
    one.prove(min_lines=400)


def test_case_126h_without_room_for_the_journal_it_is_told_and_only_the_last_lines_may_come_twice(
    scene: Scenes, small_disk: Callable[..., SmallDisk]
) -> None:
    """A disk of a megabyte takes positions, but no journal."""
    one = scene("a", disk=partial(small_disk, size_mib=1))
    code, why = one.shipper.http("/healthz")
    assert (code, "noted" in why or "journal" in why) == (503, True), why
    assert sentences(one.shipper, "ERROR", "Batches cannot be noted before they are sent")
    one.settle(one.path("a"))
    one.kill_on_the_way("answer", {one.path("a"): 100})
    one.start()
    one.write(one.path("a"), 100)
    one.stop()
    found = one.report()
    assert not [*found.lost, *found.out_of_order, *found.corrupt], str(found)
    assert {line.sequence for line in found.doubled} <= set(range(300, 400))
