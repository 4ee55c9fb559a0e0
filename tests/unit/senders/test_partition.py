# SPDX-License-Identifier: Apache-2.0

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.kafka.error_codes import _TABLE, PRODUCER_RESETS, RECORD_REFUSALS
from logagent.senders.partition import FAILING_S, PARK, RETRY, Partition, ProducerState, State, Verdict, judge
from tests.unit.pipeline.sources import Source
from tests.unit.senders.twins import ModelLog

HUGE = 10**9

EXPECTED = {
    0: Verdict.ACKED,
    46: Verdict.ACKED,
    10: Verdict.SPLIT,
    18: Verdict.SPLIT,
    87: Verdict.SPLIT,
    17: Verdict.PARK,
    29: Verdict.PARK,
    32: Verdict.RESTAMP,
    45: Verdict.NEW_PRODUCER,
    47: Verdict.NEW_PRODUCER,
    59: Verdict.NEW_PRODUCER,
    90: Verdict.NEW_PRODUCER,
}


@pytest.mark.parametrize("code", [*sorted(_TABLE), 12345])
def test_every_code_has_its_verdict(code: int) -> None:
    assert judge(code, 2) is EXPECTED.get(code, Verdict.RETRY)


@pytest.mark.parametrize("code", sorted(RECORD_REFUSALS))
def test_a_record_that_is_refused_alone_is_a_dead_letter(code: int) -> None:
    assert judge(code, 1) is Verdict.DEAD_LETTER


def partition_with(*lines: bytes) -> Partition:
    partition = Partition("logs", 3, 0.05)
    if lines:
        partition.open.add(Source().segment(*lines), 0.0, 1000)
    return partition


def in_flight(*lines: bytes) -> Partition:
    partition = partition_with(*lines)
    batch = partition.take(HUGE, 1.0)
    assert batch is not None
    partition.stamp(batch, 7, 0)
    return partition


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

    assert partition.answered(0, 2.0, 0) is Verdict.ACKED

    assert (partition.state, partition.batch, partition.empty) == (State.IDLE, None, True)
    assert partition.producer == ProducerState(7, 0, 2)
    assert not partition.failing(1e9)


def test_the_sequence_wraps_at_two_to_the_31() -> None:
    partition = partition_with(b"a", b"b", b"c")
    partition.producer = ProducerState(7, 0, 0x7FFFFFFE)
    batch = partition.take(HUGE, 1.0)
    assert batch is not None
    partition.stamp(batch, 7, 0)
    assert batch.base_sequence == 0x7FFFFFFE

    partition.answered(0, 2.0, 0)

    assert partition.producer.next_sequence == 1


def test_a_retried_batch_is_the_same_batch_after_a_growing_pause() -> None:
    partition = in_flight(b"a")
    batch = partition.batch
    assert batch is not None
    stamped = batch.producer_id, batch.base_sequence, batch.timestamp_ms
    for attempt in range(5):
        assert partition.answered(6, 10.0, 9999) is Verdict.RETRY
        wait_s = partition.retry_at_s - 10.0
        assert RETRY.first_s * 2**attempt / 2 <= wait_s <= min(RETRY.limit_s, RETRY.first_s * 2**attempt)
        assert partition.due_s(1) == partition.retry_at_s
        assert partition.take(HUGE, 11.0) is batch
        partition.stamp(batch, 8, 1)
        assert (batch.producer_id, batch.base_sequence, batch.timestamp_ms) == stamped


@pytest.mark.parametrize(("code", "alone"), [(7, True), (19, True), (6, False), (20, False)])
def test_after_slow_replicas_a_partition_travels_alone_until_acknowledged(code: int, alone: bool) -> None:
    partition = in_flight(b"a")

    partition.answered(code, 1.0, 0)
    assert partition.alone is alone
    partition.take(HUGE, 2.0)
    partition.answered(6, 2.0, 0)
    assert partition.alone is alone
    partition.take(HUGE, 3.0)
    partition.answered(0, 3.0, 0)

    assert not partition.alone


def test_without_an_answer_a_partition_travels_alone_with_the_same_bytes() -> None:
    partition = in_flight(b"a")
    batch = partition.batch

    partition.unanswered(5.0)

    assert partition.alone
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


def test_a_parked_topic_waits_up_to_ten_seconds() -> None:
    partition = in_flight(b"a")
    for _ in range(10):
        assert partition.answered(29, 5.0, 0) is Verdict.PARK
        partition.take(HUGE, 5.0)
    partition.answered(29, 5.0, 0)

    assert PARK.limit_s / 2 <= partition.retry_at_s - 5.0 <= PARK.limit_s


def test_a_split_batch_goes_in_two_parts_before_what_is_open() -> None:
    partition = in_flight(b"a", b"b", b"c")
    partition.open.add(Source().segment(b"later"), 1.0, 0)

    assert partition.answered(10, 2.0, 0) is Verdict.SPLIT

    got = []
    for _ in range(3):
        assert partition.due_s(1) == 0.0
        batch = partition.take(HUGE, 3.0)
        assert batch is not None
        partition.stamp(batch, 7, 0)
        got.append((batch.base_sequence, [line for s in batch.segments for line in s.values]))
        partition.answered(0, 3.0, 0)
    assert got == [(0, [b"a"]), (1, [b"b", b"c"]), (3, [b"later"])]


def test_a_dead_letter_takes_no_sequence_number() -> None:
    partition = in_flight(b"bad")
    partition.open.add(Source().segment(b"good"), 1.0, 0)

    assert partition.answered(87, 2.0, 0) is Verdict.DEAD_LETTER

    batch = partition.take(HUGE, 3.0)
    assert batch is not None
    partition.stamp(batch, 7, 0)
    assert batch.base_sequence == 0


def test_a_restamped_batch_has_the_time_of_now_and_keeps_its_sequence() -> None:
    partition = in_flight(b"a")
    batch = partition.batch
    assert batch is not None

    assert partition.answered(32, 2.0, 123_456) is Verdict.RESTAMP

    assert (batch.timestamp_ms, batch.producer_id, batch.base_sequence) == (123_456, 7, 0)


@pytest.mark.parametrize("code", sorted(PRODUCER_RESETS))
def test_under_a_new_producer_the_sequence_begins_at_zero(code: int) -> None:
    partition = in_flight(b"a")
    partition.answered(0, 1.0, 0)
    partition.open.add(Source().segment(b"b"), 1.0, 0)
    batch = partition.take(HUGE, 2.0)
    assert batch is not None
    partition.stamp(batch, 7, 0)
    assert batch.base_sequence == 1

    assert partition.answered(code, 2.0, 0) is Verdict.NEW_PRODUCER

    assert partition.take(HUGE, 3.0) is batch
    partition.stamp(batch, 8, 0)
    assert (batch.producer_id, batch.base_sequence) == (8, 0)


def test_a_partition_fails_after_five_seconds_without_acknowledgement() -> None:
    partition = in_flight(b"a")  # taken at 1.0
    partition.answered(6, 2.0, 0)

    assert not partition.failing(1.0 + FAILING_S)
    assert partition.failing(1.0 + FAILING_S + 0.01)
    partition.take(HUGE, 9.0)
    partition.answered(0, 9.0, 0)
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
        partition_with().answered(0, 0.0, 0)


answers = st.sampled_from(
    ["ok", "ok", "lost request", "lost answer", "not sent", "forgotten producer", 6, 7, 19, 29, 32, 10, 45]
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
        answer = next(answers_, "ok")
        batch = partition.take(120, now_s)
        assert batch is not None
        if answer == "not sent":
            partition.not_sent(now_s)
            continue
        partition.stamp(batch, producer, 0)
        if answer == "lost request":
            partition.unanswered(now_s)
            continue
        if answer == "forgotten producer" and not in_doubt:
            broker.remembered.clear()
        refused = isinstance(answer, int) and (answer != 10 or batch.records > 1) and not in_doubt
        values = [line for segment in batch.segments for line in segment.values]
        code = answer if refused else broker.append((batch.producer_id, 0), batch.base_sequence, values)
        assert isinstance(code, int)
        if answer == "lost answer" and code == 0:
            in_doubt = True
            partition.unanswered(now_s)
            continue
        verdict = partition.answered(code, now_s, 0)
        if verdict is Verdict.NEW_PRODUCER:
            producer += 1
        elif verdict is Verdict.ACKED:
            in_doubt = False
            for segment in batch.segments:
                segment.done = True
            source.acks.advance()

    assert broker.values == lines
    assert not source.acks.pending
