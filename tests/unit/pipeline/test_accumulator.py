# SPDX-License-Identifier: Apache-2.0

from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.pipeline.accumulator import QUIET_LINGER_S, QUIET_S, Accumulator
from logagent.pipeline.batch import BATCH_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, Batch
from tests.unit.pipeline.sources import Source

LINGER_S = 0.05
HUGE = 10**9


def lines_of(batch: Batch | None) -> list[bytes]:
    assert batch is not None
    return [line for segment in batch.segments for line in segment.values]


def busy(now_s: float = 10.0) -> Accumulator:
    """One that has just sealed."""
    open_ = Accumulator(LINGER_S)
    open_.add(Source().segment(b"x"), now_s, 0)
    open_.seal(HUGE, now_s)
    return open_


def test_nothing_is_due_while_nothing_is_open() -> None:
    open_ = Accumulator(LINGER_S)

    assert open_.empty
    assert open_.due_s == float("inf")
    assert open_.seal(HUGE, 1.0) is None


def test_the_first_line_starts_the_linger_and_later_ones_do_not_move_it() -> None:
    open_, source = busy(), Source()

    open_.add(source.segment(b"a"), 10.01, 0)
    open_.add(source.segment(b"b"), 10.04, 0)

    assert open_.due_s == 10.01 + LINGER_S


def test_after_a_quiet_time_lines_linger_five_milliseconds() -> None:
    open_ = busy(10.0)

    open_.add(Source().segment(b"a"), 10.0 + QUIET_S + 0.001, 0)

    assert open_.due_s == 10.0 + QUIET_S + 0.001 + QUIET_LINGER_S


def test_the_first_line_ever_lingers_five_milliseconds() -> None:
    open_ = Accumulator(LINGER_S)

    open_.add(Source().segment(b"a"), 3.0, 0)

    assert open_.due_s == 3.0 + QUIET_LINGER_S


def test_a_linger_shorter_than_five_milliseconds_stays_shorter() -> None:
    open_ = Accumulator(0.0)

    open_.add(Source().segment(b"a"), 3.0, 0)

    assert open_.due_s == 3.0


def test_everything_that_fits_goes_and_carries_the_time_of_the_first_line() -> None:
    open_, one, two = Accumulator(LINGER_S), Source(), Source()
    open_.add(one.segment(b"a1"), 1.0, 1000)
    open_.add(two.segment(b"b1"), 1.1, 1100)
    open_.add(one.segment(b"a2"), 1.2, 1200)

    batch = open_.seal(HUGE, 2.0)

    assert sorted(lines_of(batch)) == [b"a1", b"a2", b"b1"]
    assert batch is not None
    assert batch.timestamp_ms == 1000
    assert (open_.empty, open_.due_s, open_.size_bytes, open_.memory_bytes) == (True, float("inf"), 0, 0)


def test_a_batch_is_cut_at_its_limit_and_the_rest_is_still_due() -> None:
    open_, source = Accumulator(LINGER_S), Source()
    open_.add(source.segment(*[b"x" * 86] * 10), 1.0, 0)  # 100 bytes each on the wire

    batch = open_.seal(BATCH_OVERHEAD_BYTES + 350, 1.0)

    assert batch is not None
    assert batch.records == 3
    assert open_.size_bytes == 700
    assert open_.due_s == 1.0 + QUIET_LINGER_S


def test_a_line_larger_than_the_limit_goes_alone() -> None:
    open_, source = Accumulator(LINGER_S), Source()
    open_.add(source.segment(b"small", b"L" * 5000, b"small too"), 1.0, 0)

    assert lines_of(open_.seal(1000, 1.0)) == [b"small"]
    assert lines_of(open_.seal(1000, 1.0)) == [b"L" * 5000]
    assert lines_of(open_.seal(1000, 1.0)) == [b"small too"]
    assert open_.empty


def test_a_line_larger_than_the_limit_is_not_put_behind_other_lines() -> None:
    open_ = Accumulator(LINGER_S)
    open_.add(Source().segment(b"small"), 1.0, 0)
    open_.add(Source().segment(b"L" * 5000), 1.0, 0)

    assert lines_of(open_.seal(1000, 1.0)) == [b"small"]
    assert lines_of(open_.seal(1000, 1.0)) == [b"L" * 5000]


def test_a_rotated_file_and_its_successor_do_not_take_turns() -> None:
    open_, old, new = Accumulator(LINGER_S), Source(b"/a.log"), Source(b"/a.log")
    for source, word in ((old, b"old"), (new, b"new")):
        for _ in range(20):
            open_.add(source.segment(*[word] * 10), 1.0, 0)

    sent = [line for _ in range(30) if (batch := open_.seal(1000, 1.0)) for line in lines_of(batch)]

    assert sent == [b"old"] * 200 + [b"new"] * 200


def test_files_take_turns_so_that_a_quiet_one_is_not_behind_a_busy_one() -> None:
    open_, hot, quiet = Accumulator(LINGER_S), Source(b"/hot.log"), Source(b"/quiet.log")
    for number in range(20):
        open_.add(hot.segment(*[b"hot %d" % number] * 10), 1.0, 0)
    open_.add(quiet.segment(b"quiet"), 1.0, 0)

    assert b"quiet" in lines_of(open_.seal(1000, 1.0))


def test_giving_up_returns_the_lines_of_each_file_in_order() -> None:
    open_, one, two = Accumulator(LINGER_S), Source(), Source()
    added = [one.segment(b"a1"), two.segment(b"b1"), one.segment(b"a2")]
    for segment in added:
        open_.add(segment, 1.0, 0)

    given_up = open_.clear()

    assert [s for s in given_up if s.source is one] == [added[0], added[2]]
    assert [s for s in given_up if s.source is two] == [added[1]]
    assert (open_.empty, open_.due_s, open_.size_bytes, open_.memory_bytes) == (True, float("inf"), 0, 0)


steps = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(1, 300), min_size=1, max_size=6))
    | st.integers(BATCH_OVERHEAD_BYTES + 1, 2000),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_nothing_is_lost_doubled_or_turned_around_whatever_is_added_and_sealed(
    steps: list[tuple[int, list[int]] | int],
) -> None:
    sources = [Source(), Source(), Source()]
    open_ = Accumulator(LINGER_S)
    put: list[list[bytes]] = [[], [], []]
    got: list[list[bytes]] = [[], [], []]
    count = 0

    def seal(limit: int) -> bool:
        batch = open_.seal(limit, 0.0)
        if batch is None:
            return False
        assert batch.records > 0
        assert batch.size_bytes <= limit or batch.records == 1
        for segment in batch.segments:
            got[sources.index(segment.source)] += segment.values  # type: ignore[arg-type]
            segment.done = True
        return True

    for step in steps:
        if isinstance(step, int):
            seal(step)
            continue
        file, sizes = step
        values = [b"%d" % (count + i) + b"." * size for i, size in enumerate(sizes)]
        count += len(sizes)
        put[file] += values
        open_.add(sources[file].segment(*values), 0.0, 0)
        assert open_.size_bytes == sum(
            len(v) + RECORD_OVERHEAD_BYTES for p, g in zip(put, got, strict=True) for v in p[len(g) :]
        )
    while seal(500):
        pass

    assert got == put
    assert (open_.size_bytes, open_.memory_bytes) == (0, 0)
    for source in sources:
        source.acks.advance()
        assert not source.acks.pending
