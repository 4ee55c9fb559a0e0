# SPDX-License-Identifier: Apache-2.0

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from logagent.pipeline.acks import AckTracker, Gap


@dataclass(eq=False)
class Span:
    start_offset: int
    end_offset: int
    done: bool = False


def test_the_position_waits_for_the_oldest_span() -> None:
    tracker = AckTracker(10)
    first, second = Span(10, 15), Span(15, 30)
    tracker.add(first)
    tracker.add(second)

    second.done = True
    assert not tracker.advance()
    assert tracker.acked_offset == 10

    first.done = True
    assert tracker.advance()
    assert tracker.acked_offset == 30
    assert not tracker.pending


def test_a_span_that_is_done_from_the_start_moves_the_position_at_once() -> None:
    tracker = AckTracker(0)

    tracker.add(Span(0, 4, done=True))

    assert tracker.acked_offset == 4


def test_a_span_that_is_done_from_the_start_waits_for_those_before_it() -> None:
    tracker = AckTracker(0)
    tracker.add(Span(0, 4))

    tracker.add(Span(4, 6, done=True))

    assert tracker.acked_offset == 0
    assert tracker.end_offset == 6


@pytest.mark.parametrize("start_offset", [9, 11])
def test_a_gap_or_an_overlap_is_refused(start_offset: int) -> None:
    with pytest.raises(ValueError, match="expected 10"):
        AckTracker(10).add(Span(start_offset, 20))


def test_only_the_last_span_can_be_taken_back() -> None:
    tracker = AckTracker(0)
    first, second = Span(0, 1), Span(1, 2)
    tracker.add(first)
    tracker.add(second)

    assert not tracker.take_back(first)
    assert tracker.take_back(second)
    assert tracker.end_offset == 1
    assert tracker.take_back(first)
    assert not tracker.take_back(first)


def test_after_a_span_was_taken_back_its_bytes_can_be_added_anew() -> None:
    tracker = AckTracker(0)
    lost = Span(0, 8)
    tracker.add(lost)
    tracker.take_back(lost)
    again = Span(0, 8)

    tracker.add(again)
    again.done = True

    assert tracker.advance()
    assert tracker.acked_offset == 8


class Model(RuleBasedStateMachine):
    """Against a list of bytes: which of them are acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = AckTracker(100)
        self.spans: list[Span] = []
        self.done: list[bool] = []  # per byte from 100 on
        self.highest = 100

    @rule(size=st.integers(1, 6), done=st.booleans())
    def add(self, size: int, done: bool) -> None:
        begin = 100 + len(self.done)
        span = Span(begin, begin + size, done)
        self.tracker.add(span)
        self.spans.append(span)
        self.done += [done] * size

    @precondition(lambda self: any(not span.done for span in self.spans))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        span = data.draw(st.sampled_from([span for span in self.spans if not span.done]))
        span.done = True
        self.done[span.start_offset - 100 : span.end_offset - 100] = [True] * (
            span.end_offset - span.start_offset
        )
        moved = self.tracker.advance()
        assert moved == (self.tracker.acked_offset > self.highest)

    @precondition(lambda self: any(not s.done and s.end_offset - s.start_offset > 1 for s in self.spans))
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        large = [s for s in self.spans if not s.done and s.end_offset - s.start_offset > 1]
        span = data.draw(st.sampled_from(large))
        middle = data.draw(st.integers(span.start_offset + 1, span.end_offset - 1))
        parts = Span(span.start_offset, middle), Span(middle, span.end_offset)
        self.tracker.replace(span, parts)
        index = self.spans.index(span)
        self.spans[index : index + 1] = parts

    @precondition(lambda self: self.spans)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        span = data.draw(st.sampled_from([s for s in self.spans if not s.done] or self.spans[-1:]))
        pending = self.tracker.acked_offset < self.spans[-1].end_offset
        taken = self.tracker.take_back(span)
        assert taken == (pending and span is self.spans[-1])
        if taken:
            self.spans.pop()
            del self.done[span.start_offset - 100 :]

    @invariant()
    def the_position_is_the_end_of_what_is_done_from_the_front(self) -> None:
        prefix = next((i for i, done in enumerate(self.done) if not done), len(self.done))
        assert self.tracker.acked_offset == 100 + prefix
        assert self.tracker.end_offset == 100 + len(self.done)
        assert self.tracker.pending == (self.tracker.acked_offset < self.tracker.end_offset)

    @invariant()
    def the_position_never_goes_back(self) -> None:
        assert self.tracker.acked_offset >= self.highest
        self.highest = self.tracker.acked_offset


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestModel = Model.TestCase


def test_a_gap_holds_the_position_until_it_is_filled_piece_by_piece() -> None:
    tracker = AckTracker(0)
    gap, behind = Gap(0, 10), Span(10, 20)
    tracker.add(gap)
    tracker.add(behind)
    behind.done = True
    assert not tracker.advance()
    first, second = Span(0, 4), Span(4, 10)

    tracker.add(first)
    assert [(one.start_offset, one.end_offset) for one in tracker.gaps] == [(4, 10)]
    tracker.add(second)
    assert tracker.gaps == []
    first.done = second.done = True

    assert tracker.advance()
    assert tracker.acked_offset == 20


@pytest.mark.parametrize(("start", "end"), [(1, 4), (0, 11), (30, 31)])
def test_what_fits_into_no_gap_is_refused(start: int, end: int) -> None:
    tracker = AckTracker(0)
    tracker.add(Gap(0, 10))
    tracker.add(Span(10, 20))

    with pytest.raises(ValueError, match="expected 20"):
        tracker.add(Span(start, end))


def test_nothing_is_taken_back_while_there_is_a_gap_before_it() -> None:
    tracker = AckTracker(0)
    last = Span(10, 20)
    tracker.add(Gap(0, 10))
    tracker.add(last)

    assert not tracker.take_back(last)
