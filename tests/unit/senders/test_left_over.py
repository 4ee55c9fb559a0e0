# SPDX-License-Identifier: Apache-2.0
"""The journal before a send, and what becomes of a batch that an earlier process left; the cluster is in memory."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gevent.event import Event

from logagent.errors import BrokerUnavailable
from logagent.pipeline.outlet import Route
from logagent.pipeline.render_row import RenderRow
from logagent.senders import notebook
from logagent.senders.left_over import LeftOver
from logagent.state import journal as journal_module
from logagent.state.intents import EarlierCut, IntentRecord, SegmentNote
from logagent.state.journal import Degraded, Journal
from tests.unit.pipeline.sources import Source
from tests.unit.senders.conftest import Rig
from tests.unit.senders.twins import FakeCluster, Sent
from tests.unit.sources.twins import settle, until

MakeRig = Callable[..., Rig]


class Rendered:
    """What `pipeline.render.Render` is to the way to Kafka."""

    row = RenderRow(
        host="h", service="web", path=b"/a", log_path="/a", format="raw", headers="none", key="none",
        max_line_bytes=1000,
    )  # fmt: skip
    id = row.id


def open_in(directory: Path, copy: Path) -> tuple[IntentRecord, ...]:
    """What a process would find that is started now."""
    shutil.copytree(directory, copy, dirs_exist_ok=True)
    found = Journal(copy)
    found.close()
    return found.found.open


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def record(
    *segments: SegmentNote, base: int = 0, earlier: tuple[EarlierCut, ...] = (), **other: Any
) -> IntentRecord:
    values = {
        "cluster_id": "c1", "topic": "logs", "partition": 0, "partitions": 1, "producer_id": 77, "epoch": 0,
        "base_sequence": base, "max_timestamp_ms": 1_699_999_999_000,
    } | other  # fmt: skip
    return IntentRecord(segments=segments, earlier_cuts=earlier, **values)


def note(start: int, end: int, records: int, identity: str = "inode:1:2") -> SegmentNote:
    return SegmentNote("web", identity, start, end, records, Rendered.id, 0, end - start)


# -- the journal ------------------------------------------------------------------------------------------------------


def test_the_journal_knows_of_a_batch_before_it_is_sent(
    make_rig: MakeRig, home: Path, tmp_path: Path
) -> None:
    seen: list[tuple[IntentRecord, ...]] = []
    rig = make_rig(journal=Journal(home))
    rig.cluster.judge = lambda _sent: seen.append(open_in(home, tmp_path / "copy"))
    source = Source()
    segment = rig.put(source, b"a", b"bc")
    rig.until_acked(source)

    ((intent,),) = seen
    batch = rig.cluster.sent[0].batch
    assert (intent.producer_id, intent.epoch, intent.base_sequence) == (batch.producer_id, 0, 0)
    assert (intent.cluster_id, intent.topic, intent.partition, intent.partitions) == ("c1", "logs", 0, 1)
    (its,) = intent.segments
    assert (its.start_offset, its.end_offset, its.records) == (0, 5, 2)
    assert (its.service, its.identity) == (source.service, source.identity)
    assert segment.done


def test_settings_are_kept_once_and_in_the_journal_before_the_intent_that_names_them(
    make_rig: MakeRig, home: Path, tmp_path: Path
) -> None:
    rig = make_rig(journal=Journal(home))
    source = Source()
    for line in (b"a", b"b"):
        segment = source.segment(line)
        source.acks.take_back(segment)
        segment.render = Rendered()  # type: ignore[assignment]
        rig.sender.put(route(rig), segment)
        rig.until_acked(source)

    assert rig.rows == {Rendered.id: Rendered.row.document()}
    shutil.copytree(home, tmp_path / "copy")
    found = Journal(tmp_path / "copy")
    assert found.found.renders == rig.rows
    found.close()


def route(rig: Rig) -> Route:
    place = Route("logs", 0)
    assert rig.sender.wait_room(place, 3.0) == ""
    return place


def test_the_next_batch_tells_that_the_one_before_it_is_settled(
    make_rig: MakeRig, home: Path, tmp_path: Path
) -> None:
    rig = make_rig(journal=Journal(home))
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)
    rig.cluster.held = Event()
    rig.put(source, b"b")
    until(lambda: rig.partition().pending is not None)
    settle()

    shutil.copytree(home, tmp_path / "copy")
    found = Journal(tmp_path / "copy")
    found.close()
    assert [one.start_offset for one in found.found.settled] == [0]
    assert [one.segments[0].start_offset for one in found.found.open] == [2]
    rig.cluster.held.set()
    rig.until_acked(source)


def test_a_cut_is_noted_with_the_cut_before_it(make_rig: MakeRig, home: Path, tmp_path: Path) -> None:
    """It went out once without an answer, and then it was too large."""
    rig = make_rig(journal=Journal(home))
    seen: list[IntentRecord] = []

    def judge(sent: Sent) -> Any:
        seen.extend(open_in(home, tmp_path / f"copy{len(seen)}"))
        if len(rig.cluster.sent) == 1:
            return BrokerUnavailable("broker:9001", "timed out")
        return 10 if sent.batch.records and len(sent.batch.records) > 1 else None

    rig.cluster.judge = judge
    source = Source()
    rig.put(source, b"a", b"b")
    rig.until_acked(source)

    assert [one.records for one in seen][:3] == [2, 2, 1]
    assert [cut.records for cut in seen[2].earlier_cuts] == [2]
    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]


def test_lines_go_on_while_the_journal_cannot_be_written_and_it_is_told(
    make_rig: MakeRig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "REPAIR_EVERY_S", 0.01)
    journal = Journal(home)
    broken = [True]
    real = Journal.write_payload

    def write(self: Journal, *args: Any) -> Any:
        if not broken[0]:
            return real(self, *args)
        self.degraded = Degraded("the disk is full", invalidated=True)
        return self.degraded

    monkeypatch.setattr(journal_module.Journal, "write_payload", write)
    monkeypatch.setattr(journal_module.Journal, "repair", lambda self: not broken[0] and _mend(self))
    rig = make_rig(journal=journal)
    source = Source()
    rig.put(source, b"a")
    rig.until_acked(source)

    assert rig.told.of("journal_degraded")
    assert any("the disk is full" in reason for reason in rig.sender.reasons.all())
    broken[0] = False
    until(lambda: rig.told.of("journal_back"))
    assert not rig.sender.reasons.all()


def _mend(journal: Journal) -> bool:
    journal.degraded = None
    return True


# -- what an earlier process left -------------------------------------------------------------------------------------


def left(rig: Rig, source: Source, *lines: bytes, **more: Any) -> LeftOver:
    """A batch of these lines, held and handed over; `beyond` follows it."""
    segments = [source.segment(*lines)] if lines else []
    first = segments[0].start_offset if segments else 0
    notes = more.pop("notes", None) or (note(first, source.acks.end_offset, len(lines)),)
    intent = record(
        *notes, base=more.pop("base", 0), earlier=more.pop("earlier", ()), **more.pop("place", {})
    )
    rig.sender.hold(intent)
    over = LeftOver(intent, segments=segments, sources={("web", "inode:1:2"): source}, **more)
    rig.sender.adopt(over)
    return over


def remembered(cluster: FakeCluster, *lines: bytes, producer: tuple[int, int] = (77, 0)) -> None:
    """The lines are in the log already."""
    cluster.log("logs", 0).append(producer, 0, list(lines))


def test_what_arrived_is_sent_again_in_its_place_and_not_appended_twice(
    make_rig: MakeRig, home: Path
) -> None:
    rig, source = make_rig(journal=Journal(home)), Source()
    remembered(rig.cluster, b"a", b"b")
    left(rig, source, b"a", b"b")

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]
    assert rig.cluster.questions == [(1, "logs", 0)]
    (sent,) = rig.cluster.sent
    assert (sent.batch.producer_id, sent.batch.base_sequence) == (77, 0)
    assert [one["answer"] for one in rig.told.of("intent_answer")] == ["delivered"]
    assert not rig.told.of("duplicates_possible")


def test_what_did_not_arrive_is_sent_before_lines_that_were_read_meanwhile(
    make_rig: MakeRig, home: Path
) -> None:
    rig, source, other = make_rig(journal=Journal(home)), Source(), Source(b"/b")
    remembered(rig.cluster, b"x")
    intent = record(note(0, 4, 2), base=1)
    rig.sender.hold(intent)
    rig.put(other, b"later")
    settle()
    assert rig.cluster.sent == []
    rig.sender.adopt(LeftOver(intent, [source.segment(b"a", b"b")]))

    rig.until_acked(source, other)

    assert rig.cluster.log("logs", 0).values == [b"x", b"a", b"b", b"later"]
    assert [one["answer"] for one in rig.told.of("intent_answer")] == ["not_delivered"]
    assert rig.cluster.sent[-1].batch.producer_id != 77


def test_what_positions_have_reached_is_not_asked_about(make_rig: MakeRig, home: Path) -> None:
    rig = make_rig(journal=Journal(home))
    left(rig, Source(), notes=(note(0, 4, 2),), reached=True)

    until(lambda: rig.sender.empty)

    assert rig.cluster.questions == []
    assert [one["answer"] for one in rig.told.of("intent_answer")] == ["settled"]


def test_lines_that_are_gone_and_arrived_are_told_when_all_replicas_have_them(
    make_rig: MakeRig, home: Path
) -> None:
    rig = make_rig(FakeCluster({"logs": {0: 1}}, brokers=(1, 2)), journal=Journal(home))
    remembered(rig.cluster, b"a", b"b")
    gone = note(0, 4, 2)
    left(rig, Source(), notes=(gone,), vanished=(gone,))

    until(lambda: rig.sender.empty)

    assert rig.delivered == [gone]
    assert {node for node, *_ in rig.cluster.questions} == {1, 2}
    assert rig.cluster.sent == []


def test_lines_that_are_gone_and_did_not_arrive_are_unknown_once_the_next_ones_are_there(
    make_rig: MakeRig, home: Path
) -> None:
    rig, source = make_rig(journal=Journal(home)), Source()
    remembered(rig.cluster, b"x")
    gone = note(0, 4, 2)
    left(rig, Source(), notes=(gone,), vanished=(gone,), base=1)
    until(lambda: rig.sender.empty)
    assert rig.unknown == []
    rig.put(source, b"next")
    rig.until_acked(source)

    assert rig.unknown == [gone]
    assert [(one["start"], one["end"]) for one in rig.told.of("intent_unknown")] == [(0, 4)]
    batch = rig.cluster.sent[-1].batch
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (77, 1, 0)


def test_an_earlier_cut_that_came_in_is_not_sent_again(make_rig: MakeRig, home: Path) -> None:
    """The first half was tried after the whole, and the whole had arrived."""
    rig, source = make_rig(journal=Journal(home)), Source()
    remembered(rig.cluster, b"a", b"b")
    intent = record(note(0, 2, 1), earlier=(EarlierCut((note(0, 4, 2),)),))
    rig.sender.hold(intent)
    parts = source.segment(b"a"), source.segment(b"b")
    rig.sender.adopt(LeftOver(intent, parts[:1], parts[1:], sources={("web", "inode:1:2"): source}))

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a", b"b"]


def test_nobody_may_be_asked_so_it_is_sent_in_its_place(make_rig: MakeRig, home: Path) -> None:
    rig, source = make_rig(journal=Journal(home)), Source()
    rig.cluster.askable = False
    remembered(rig.cluster, b"a")
    left(rig, source, b"a")

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a"]
    assert [one["answer"] for one in rig.told.of("intent_answer")] == ["unasked"]


def test_a_leader_that_is_not_ready_is_asked_again(make_rig: MakeRig, home: Path) -> None:
    rig, source = make_rig(journal=Journal(home)), Source()
    rig.cluster.question_codes.extend([6, 5])
    remembered(rig.cluster, b"a")
    left(rig, source, b"a")

    rig.until_acked(source)

    assert len(rig.cluster.questions) == 3
    assert not rig.told.of("broker_failed")


def test_a_batch_for_another_cluster_is_given_up_and_its_lines_go_to_this_one(
    make_rig: MakeRig, home: Path
) -> None:
    rig, source = make_rig(journal=Journal(home)), Source()
    left(rig, source, b"a", place={"cluster_id": "elsewhere"})

    rig.until_acked(source)

    assert rig.cluster.log("logs", 0).values == [b"a"]
    assert rig.cluster.sent[0].batch.producer_id != 77
    assert [one["reason"] for one in rig.told.of("duplicates_possible")] == ["topic_gone"]


def test_a_batch_for_a_partition_that_is_gone_for_long_goes_to_another(make_rig: MakeRig, home: Path) -> None:
    rig, source = make_rig(journal=Journal(home), intent_give_up_s=30.0), Source()
    left(rig, source, b"a", place={"partition": 3, "partitions": 4})
    settle(20)
    assert rig.cluster.sent == []
    rig.skip(31)
    until(lambda: not rig.sender._lanes.all.get(("logs", 3)))

    assert source.rewound == [0]
    assert [one["reason"] for one in rig.told.of("duplicates_possible")] == ["topic_gone"]
