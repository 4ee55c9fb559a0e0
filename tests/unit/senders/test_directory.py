# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterator

import gevent
import pytest

from logagent.backoff import Backoff
from logagent.errors import BrokerUnavailable
from logagent.kafka.metadata import TopicInfo
from logagent.senders import directory as directory_module
from logagent.senders.directory import Directory
from tests.unit.senders.twins import FakeCluster
from tests.unit.sources.twins import settle, until


class Rig:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.changes = 0
        self.failed: list[str] = []
        self.recovered = 0
        self.parked: list[tuple[str, int]] = []
        self.back: list[str] = []
        self.directory = Directory(
            self.cluster,
            on_change=self.changed,
            on_failure=self.failed.append,
            on_recovery=self.recover,
            on_parked=lambda topic, code: self.parked.append((topic, code)),
            on_back=self.back.append,
        )

    def changed(self) -> None:
        self.changes += 1

    def recover(self) -> None:
        self.recovered += 1


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(directory_module, "AGAIN", Backoff(first_s=0.002, limit_s=0.01))
    monkeypatch.setattr(directory_module, "BETWEEN_S", 0.001)
    made = Rig()
    greenlet = gevent.spawn(made.directory.run)
    yield made
    greenlet.kill()


def test_nothing_is_asked_before_a_topic_is_wanted(rig: Rig) -> None:
    settle(5)

    assert rig.cluster.asked == []


def test_a_topic_is_asked_for_once_and_known_then(rig: Rig) -> None:
    state = rig.directory.topic("logs")

    assert state.known.wait(timeout=2)
    settle(5)
    assert (state.leaders, state.refusal, state.complete) == ({0: 1}, "", True)
    assert rig.cluster.asked == [["logs"]]
    assert rig.directory.brokers == rig.cluster.brokers


def test_topics_wanted_at_once_share_a_question(rig: Rig) -> None:
    for name in ("b", "a", "logs"):
        rig.directory.topic(name)
    until(lambda: rig.cluster.asked)

    assert rig.cluster.asked[0] == ["a", "b", "logs"]


def test_a_missing_topic_is_asked_for_again_and_says_why_it_waits(rig: Rig) -> None:
    state = rig.directory.topic("missing")

    until(lambda: len(rig.cluster.asked) > 3)

    assert not state.known.is_set()
    assert state.refusal.startswith("topic missing: ")


def test_a_partition_without_a_leader_is_asked_for_again(rig: Rig) -> None:
    rig.cluster.topics |= FakeCluster({"logs": {0: 1, 1: -1}}).topics
    state = rig.directory.topic("logs")
    until(lambda: len(rig.cluster.asked) > 2)
    assert state.known.is_set()

    rig.cluster.topics |= FakeCluster({"logs": {0: 1, 1: 1}}).topics
    until(lambda: state.complete)
    settle(5)
    asked = len(rig.cluster.asked)
    settle(20)

    assert len(rig.cluster.asked) == asked


def test_a_failure_is_told_each_time_and_its_end_once(rig: Rig) -> None:
    rig.cluster.metadata_error = BrokerUnavailable("kafka_addr", "no broker answers")
    rig.directory.topic("logs")
    until(lambda: len(rig.failed) > 2)
    assert rig.directory.failure == "kafka_addr: no broker answers"
    assert not rig.directory.answered

    rig.cluster.metadata_error = None

    until(lambda: rig.directory.answered)
    assert (rig.recovered, rig.directory.failure) == (1, "")


def test_known_leaders_are_kept_while_brokers_do_not_know_them(rig: Rig) -> None:
    state = rig.directory.topic("logs")
    state.known.wait(timeout=2)
    del rig.cluster.topics["logs"]
    rig.directory.refresh_soon()

    until(lambda: state.refusal)
    assert state.leaders == {0: 1}


def test_a_forgotten_topic_is_not_asked_for_again(rig: Rig) -> None:
    rig.directory.topic("logs").known.wait(timeout=2)
    rig.directory.topic("other")
    rig.directory.forget({"other"})
    rig.directory.refresh_soon()
    count = len(rig.cluster.asked)
    until(lambda: len(rig.cluster.asked) > count)

    assert rig.cluster.asked[-1] == ["logs"]


def test_a_topic_that_stays_unknown_is_told_once_and_when_it_is_there(rig: Rig) -> None:
    rig.cluster.topics["logs"] = TopicInfo(3, {})
    state = rig.directory.topic("logs")

    until(lambda: rig.parked)
    settle(10)
    assert rig.parked == [("logs", 3)]
    assert "does not exist" in state.refusal

    rig.cluster.topics["logs"] = TopicInfo(0, {0: 1})
    until(lambda: rig.back)
    settle(5)
    assert (rig.back, state.refusal) == (["logs"], "")


def test_a_refused_topic_is_told_at_the_first_answer(rig: Rig) -> None:
    rig.cluster.topics["logs"] = TopicInfo(29, {})
    rig.directory.topic("logs")

    until(lambda: len(rig.cluster.asked) >= 1)
    until(lambda: rig.parked)
    assert rig.parked == [("logs", 29)]
