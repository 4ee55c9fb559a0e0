# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.kafka.error_codes import PRODUCER_RESETS, RECORD_REFUSALS
from logagent.pipeline.batch import Batch
from logagent.recovery.actions import (
    Action,
    Ask,
    DeadLetter,
    NewEpoch,
    NewId,
    Pending,
    Release,
    Resend,
    SendAnew,
    Settle,
    Slot,
    WaitForReplicas,
)
from logagent.recovery.rules import Clock, Silence, Told
from logagent.senders.cuts import Cut, Piece
from logagent.senders.outcome import Outcome, Question
from logagent.senders.partition import FAILING_S, PARK, RETRY, Partition, ProducerState, State
from logagent.state.intents import SegmentNote
from tests.unit.pipeline.sources import Source
from tests.unit.senders.twins import ModelLog

HUGE = 10**9
HALF_MS = 12 * 3600 * 1000


def clock(now_ms: int = 1000) -> Clock:
    return Clock(now_ms, HALF_MS)


def answer(partition: Partition, code: int, now_s: float, wall_ms: int = 1000) -> tuple[Action, Outcome]:
    """What the leader's answer leads to."""
    action = partition.answered(code, clock(wall_ms))
    return action, partition.act(action, now_s)


def partition_with(*lines: bytes) -> Partition:
    partition = Partition("logs", 3, 0.05)
    if lines:
        partition.open.add(Source().segment(*lines), 0.0, 1000)
    return partition


def take(partition: Partition, now_s: float = 3.0, limit: int = HUGE) -> Batch:
    """The next batch, in its place."""
    batch = partition.take(limit, now_s)
    assert batch is not None
    partition.stamp(7, 0)
    return batch


def in_flight(*lines: bytes) -> Partition:
    partition = partition_with(*lines)
    take(partition, 1.0)
    return partition


def slot_of(partition: Partition) -> Slot:
    assert partition.pending is not None
    return partition.pending.slot


def lines_of(batch: Batch) -> list[bytes]:
    return [line for segment in batch.segments for line in segment.values]


def test_an_idle_partition_without_lines_is_never_due() -> None:
    assert partition_with().due_s(100) == float("inf")
    assert partition_with().empty
    assert partition_with().take(HUGE, 1.0) is None


def test_open_lines_are_due_when_they_have_lingered_or_at_once_when_they_are_many() -> None:
    partition = partition_with(b"x" * 100)

    assert partition.due_s(10_000) == partition.open.due_s
    assert partition.due_s(50) == 0.0


def test_a_partition_in_flight_is_not_due_however_much_is_open() -> None:
    partition = in_flight(b"a")
    partition.open.add(Source().segment(b"b" * 1000), 1.0, 0)

    assert partition.state is State.IN_FLIGHT
    assert partition.due_s(10) == float("inf")


def test_an_acknowledged_batch_makes_the_partition_idle_and_moves_the_sequence() -> None:
    partition = in_flight(b"a", b"b")

    action, outcome = answer(partition, 0, 2.0)

    assert isinstance(action, Settle)
    assert (outcome.settled_records, len(outcome.settled)) == (2, 1)
    assert (partition.state, partition.batch, partition.empty) == (State.IDLE, None, True)
    assert partition.producer == ProducerState(7, 0, 2)
    assert not partition.failing(1e9)


def test_the_sequence_wraps_at_two_to_the_31() -> None:
    partition = partition_with(b"a", b"b", b"c")
    partition.producer = ProducerState(7, 0, 0x7FFFFFFE)
    take(partition)
    assert slot_of(partition).base_sequence == 0x7FFFFFFE

    answer(partition, 0, 2.0)

    assert partition.producer.next_sequence == 1


def test_a_retried_batch_stays_in_its_place_after_a_growing_pause() -> None:
    partition = in_flight(b"a")
    batch, slot = partition.batch, slot_of(partition)
    for attempt in range(5):
        assert isinstance(answer(partition, 6, 10.0)[0], Resend)
        wait_s = partition.retry_at_s - 10.0
        assert RETRY.first_s * 2**attempt / 2 <= wait_s <= min(RETRY.limit_s, RETRY.first_s * 2**attempt)
        assert partition.due_s(1) == partition.retry_at_s
        assert partition.take(HUGE, 11.0) is batch
        partition.stamp(8, 1)
        assert slot_of(partition) == slot


@pytest.mark.parametrize(("code", "alone"), [(7, True), (19, True), (6, False), (20, False)])
def test_after_slow_replicas_a_partition_travels_alone_until_acknowledged(code: int, alone: bool) -> None:
    partition = in_flight(b"a")

    answer(partition, code, 1.0)
    assert partition.alone is alone
    take(partition, 2.0)
    answer(partition, 6, 2.0)
    assert partition.alone is alone
    take(partition, 3.0)
    answer(partition, 0, 3.0)

    assert not partition.alone


def test_without_an_answer_a_partition_travels_alone_with_the_same_lines_in_doubt() -> None:
    partition = in_flight(b"a")
    batch = partition.batch

    partition.unanswered(5.0)

    assert partition.alone
    assert partition.doubtful
    assert partition.state is State.WAITING
    assert partition.take(HUGE, 6.0) is batch


def test_requests_that_stay_without_answer_come_at_growing_distances() -> None:
    partition = in_flight(b"a")
    waits_s = []
    for _ in range(8):
        partition.unanswered(5.0)
        waits_s.append(partition.retry_at_s - 5.0)
        partition.take(HUGE, 6.0)

    assert waits_s[-1] >= RETRY.limit_s / 2


def test_a_parked_topic_waits_up_to_ten_seconds_and_is_not_in_doubt() -> None:
    partition = in_flight(b"a")
    for _ in range(10):
        partition.attempts += 1
        partition.park(5.0)

    assert PARK.limit_s / 2 <= partition.retry_at_s - 5.0 <= PARK.limit_s
    assert not partition.doubtful


def test_a_split_batch_goes_in_two_parts_before_what_is_open() -> None:
    partition = in_flight(b"a", b"b", b"c")
    partition.noted()
    partition.open.add(Source().segment(b"later"), 1.0, 0)

    assert isinstance(answer(partition, 10, 2.0)[0], SendAnew)

    assert partition.to_be_noted
    got = []
    for _ in range(3):
        assert partition.due_s(1) <= 2.0
        batch = take(partition)
        got.append((slot_of(partition).base_sequence, lines_of(batch)))
        answer(partition, 0, 3.0)
    assert got == [(0, [b"a"]), (1, [b"b", b"c"]), (3, [b"later"])]


@pytest.mark.parametrize("code", sorted(RECORD_REFUSALS))
def test_a_dead_letter_takes_no_sequence_number(code: int) -> None:
    partition = in_flight(b"bad")
    partition.open.add(Source().segment(b"good"), 1.0, 0)

    action, outcome = answer(partition, code, 2.0)

    assert isinstance(action, DeadLetter)
    assert [list(segment.values) for segment in outcome.buried] == [[b"bad"]]
    take(partition)
    assert slot_of(partition) == Slot(7, 0, 0)


def test_a_record_that_may_be_in_its_place_is_buried_when_the_next_epoch_is_acknowledged() -> None:
    partition = in_flight(b"bad")
    partition.open.add(Source().segment(b"good"), 1.0, 0)
    partition.unanswered(2.0)
    take(partition)
    assert isinstance(answer(partition, 10, 3.0)[0], Ask)
    assert partition.question == Question()

    outcome = partition.act(partition.asked(Silence.ABSENT, clock()), 4.0)

    assert not outcome.buried
    take(partition)
    assert slot_of(partition) == Slot(7, 1, 0)
    _, outcome = answer(partition, 0, 5.0)
    assert [list(segment.values) for segment in outcome.buried] == [[b"bad"]]


def test_a_restamped_batch_has_the_time_of_now_and_keeps_its_place() -> None:
    partition = in_flight(b"a")

    assert isinstance(answer(partition, 32, 2.0, 123_456)[0], Resend)

    assert partition.pending is not None
    assert (partition.pending.timestamp_ms, partition.pending.slot) == (123_456, Slot(7, 0, 0))


@pytest.mark.parametrize("code", sorted(PRODUCER_RESETS))
def test_a_refused_place_is_asked_about_before_anything_leaves(code: int) -> None:
    partition = in_flight(b"a")
    answer(partition, 0, 1.0)
    partition.open.add(Source().segment(b"b"), 1.0, 0)
    take(partition, 2.0)

    assert isinstance(answer(partition, code, 2.0)[0], Ask)

    assert partition.question == Question()
    assert partition.alone
    assert not partition.empty


def test_under_a_new_id_the_sequence_begins_at_zero() -> None:
    partition = in_flight(b"a")
    answer(partition, 47, 2.0)

    action = partition.asked(Told(9, 100), clock())
    outcome = partition.act(action, 3.0)

    assert isinstance(action, NewId)
    assert outcome.new_id
    batch = partition.take(HUGE, 3.0)
    assert batch is not None
    partition.stamp(8, 0)
    assert slot_of(partition) == Slot(8, 0, 0)


def test_a_question_that_stays_unanswered_is_asked_again() -> None:
    partition = in_flight(b"a")
    answer(partition, 45, 2.0)
    partition.begin_asking()

    partition.unanswered(3.0)

    assert partition.question == Question()
    assert partition.state is State.WAITING
    assert partition.retry_at_s > 3.0


def test_a_batch_in_doubt_is_released_when_nobody_can_be_asked_for_long() -> None:
    partition = in_flight(b"a")
    partition.unanswered(2.0)

    assert isinstance(partition.unaskable(2.0, 600.0, vanished=True), Ask)
    action = partition.unaskable(603.0, 600.0, vanished=True)
    outcome = partition.act(action, 603.0)

    assert isinstance(action, Release)
    assert outcome.released
    assert not partition.doubtful
    assert [list(one.values) for one in partition.give_back_all()] == [[b"a"]]
    assert partition.empty


# -- of an earlier process --------------------------------------------------------------------------------------------


def note(start: int, end: int, records: int, identity: str = "a") -> SegmentNote:
    return SegmentNote("app", identity, start, end, records, bytes(16), 0, end - start)


def adopted(
    source: Source,
    *lines: bytes,
    records: int,
    notes: tuple[SegmentNote, ...] = (),
    earlier: tuple[Cut, ...] = (),
    vanished: tuple[SegmentNote, ...] = (),
    beyond: tuple[bytes, ...] = (),
) -> Partition:
    """A batch under id 3, epoch 0, sequence 10, of which `lines` are at hand; it is to be asked about."""
    partition = Partition("logs", 0, 0.0)
    partition.hold()
    pending = Pending(Slot(3, 0, 10), records, 1000, tuple(cut.records for cut in earlier), sent=True)
    batches = [Batch([source.segment(*lines)] if lines else [], 1000)]
    if beyond:
        batches.append(Batch([source.segment(*beyond)], 1000))
    partition.adopt(pending, notes, earlier, batches, vanished, 5.0)
    partition.act(Ask(pending, 0.0), 5.0)
    return partition


def test_a_held_partition_takes_lines_and_sends_nothing() -> None:
    partition = partition_with(b"a")

    partition.hold()

    assert partition.due_s(0) == float("inf")
    assert not partition.empty


def test_what_the_log_has_is_sent_again_in_its_place_and_then_the_next_lines_go_under_the_new_id() -> None:
    source = Source()
    partition = adopted(source, b"a", b"b", records=2)
    partition.open.add(source.segment(b"c"), 1.0, 0)

    action = partition.asked(Told(0, 11), clock())
    partition.act(action, 6.0)

    assert isinstance(action, Resend)
    take(partition)
    assert slot_of(partition) == Slot(3, 0, 10)
    assert not partition.to_be_noted
    _, outcome = answer(partition, 0, 7.0)
    assert outcome.settled_records == 2
    take(partition)
    assert slot_of(partition) == Slot(7, 0, 0)


def test_delivered_lines_that_are_not_at_hand_wait_for_the_replicas_and_are_told() -> None:
    gone = note(0, 4, 2, identity="gone")
    partition = adopted(Source(), b"a", records=3, notes=(gone, note(0, 2, 1)), vanished=(gone,))

    action = partition.asked(Told(0, 12), clock())
    partition.act(action, 6.0)
    outcome = partition.act(Settle(3), 7.0)

    assert isinstance(action, WaitForReplicas)
    assert outcome.delivered == [gone]
    assert not outcome.unknown
    assert len(outcome.settled) == 1


def test_what_is_left_of_a_batch_that_did_not_arrive_goes_in_its_place_and_the_rest_is_unknown() -> None:
    gone = note(0, 4, 2, identity="gone")
    partition = adopted(Source(), b"a", records=3, notes=(gone, note(0, 2, 1)), vanished=(gone,))

    action = partition.asked(Told(0, 9), clock())
    partition.act(action, 6.0)

    assert isinstance(action, SendAnew)
    assert [cut.records for cut in partition.earlier_cuts] == [3]
    assert partition.to_be_noted
    assert lines_of(take(partition)) == [b"a"]
    _, outcome = answer(partition, 0, 7.0)
    assert outcome.unknown == [gone]
    assert not outcome.delivered


def test_an_earlier_cut_that_came_in_settles_its_lines_only() -> None:
    source = Source()
    whole = note(0, 8, 4)
    earlier = Cut(3, (note(0, 6, 3),), (Piece(source, 0, 6),))
    partition = adopted(source, b"a", b"b", b"c", b"d", records=4, notes=(whole,), earlier=(earlier,))

    outcome = partition.act(Settle(3), 6.0)

    assert [list(segment.values) for segment in outcome.settled] == [[b"a", b"b", b"c"]]
    assert lines_of(take(partition)) == [b"d"]


def test_an_earlier_cut_that_was_larger_settles_what_follows_too() -> None:
    source = Source()
    earlier = Cut(3, (note(0, 6, 3),), (Piece(source, 0, 6),))
    partition = adopted(
        source, b"a", records=1, notes=(note(0, 2, 1),), earlier=(earlier,), beyond=(b"b", b"c", b"d")
    )

    outcome = partition.act(Settle(3), 6.0)

    assert [list(segment.values) for segment in outcome.settled] == [[b"a"], [b"b", b"c"]]
    assert lines_of(take(partition)) == [b"d"]


def test_nothing_at_hand_and_nothing_delivered_leaves_the_next_epoch_to_what_comes() -> None:
    gone = note(0, 4, 2)
    partition = adopted(Source(), records=2, notes=(gone,), vanished=(gone,))
    assert not partition.empty

    action = partition.asked(Told(0, 9), clock())
    partition.act(action, 6.0)

    assert isinstance(action, NewEpoch)
    assert partition.empty
    partition.open.add(Source().segment(b"new"), 6.0, 0)
    take(partition)
    assert slot_of(partition) == Slot(3, 1, 0)
    _, outcome = answer(partition, 0, 7.0)
    assert outcome.unknown == [gone]


def test_a_partition_fails_after_five_seconds_without_acknowledgement() -> None:
    partition = in_flight(b"a")  # taken at 1.0
    answer(partition, 6, 2.0)

    assert not partition.failing(1.0 + FAILING_S)
    assert partition.failing(1.0 + FAILING_S + 0.01)
    partition.take(HUGE, 9.0)
    answer(partition, 0, 9.0)
    assert not partition.failing(100.0)


def test_a_partition_whose_leader_cannot_be_reached_fails_too() -> None:
    partition = partition_with(b"a")

    partition.not_sent(10.0)
    partition.not_sent(12.0)

    assert partition.failing(10.0 + FAILING_S + 0.01)
    assert len(partition.give_back_open()) == 1
    assert not partition.failing(100.0)
    assert partition.empty


def test_giving_back_what_is_open_keeps_what_is_on_its_way() -> None:
    partition = in_flight(b"a")
    partition.open.add(Source().segment(b"b"), 1.0, 0)

    given_back = partition.give_back_open()

    assert [list(segment.values) for segment in given_back] == [[b"b"]]
    assert partition.batch is not None
    assert partition.failing(100.0)


def test_an_answer_for_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="logs-3"):
        partition_with().answered(0, clock())


def leaders_word(broker: ModelLog, producer_id: int) -> Told | Silence:
    known = [(epoch, last[-1][1]) for (pid, epoch), last in broker.remembered.items() if pid == producer_id]
    return Told(*max(known)) if known else Silence.ABSENT


def appended(broker: ModelLog, slot: Slot, batch: Batch) -> int:
    return broker.append((slot.producer_id, slot.epoch), slot.base_sequence, lines_of(batch))


answers = st.sampled_from(
    ["ok", "ok", "lost request", "lost answer", "not sent", "forgotten producer", 6, 7, 19, 32, 10, 45]
)


@settings(max_examples=300, deadline=None)
@given(script=st.lists(answers, max_size=40), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_a_broker_gets_every_line_once_and_in_order_whatever_it_answers(
    script: list[str | int], sizes: list[int]
) -> None:
    """The model broker refuses sequences that are not contiguous, and knows again what it appended."""
    broker, source, partition = ModelLog(), Source(), Partition("logs", 0, 0.0)
    producer, now_s = 1, 0.0
    lines = [b"%d" % number for number in range(sum(sizes))]
    for index, size in enumerate(sizes):
        begin = sum(sizes[:index])
        partition.open.add(source.segment(*lines[begin : begin + size]), now_s, 0)
    answers_ = iter(script)
    in_doubt = False  # whether the broker may have what it did not answer to
    while not partition.empty:
        now_s += 1.0
        if partition.question is not None:
            action = partition.asked(leaders_word(broker, slot_of(partition).producer_id), clock())
            if partition.act(action, now_s).new_id:
                producer += 1
            continue
        said = next(answers_, "ok")
        batch = partition.take(120, now_s)
        assert batch is not None
        if said == "not sent":
            partition.not_sent(now_s)
            continue
        partition.stamp(producer, 0)
        if said == "lost request":
            partition.unanswered(now_s)
            continue
        if said == "forgotten producer" and not in_doubt:
            broker.remembered.clear()
        refused = (said != 10 or batch.records > 1) and not in_doubt
        code = said if isinstance(said, int) and refused else appended(broker, slot_of(partition), batch)
        if said == "lost answer" and code == 0:
            in_doubt = True
            partition.unanswered(now_s)
            continue
        outcome = answer(partition, code, now_s)[1]
        in_doubt = in_doubt and not outcome.settled_records
        for segment in outcome.settled:
            segment.done = True
        source.acks.advance()

    assert broker.values == lines
    assert not source.acks.pending
