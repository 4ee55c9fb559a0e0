# SPDX-License-Identifier: Apache-2.0

from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.config.services import Entry
from logagent.control.reconciler import Plan, plan

entries = st.builds(
    Entry,
    service=st.sampled_from(["a", "b"]),
    log_path=st.sampled_from(["/1", "/2", "/3"]),
    topic=st.sampled_from(["x", "y"]),
    send_rate_lines_per_s=st.sampled_from([None, 1.0]),
)
lists = st.lists(entries, max_size=6, unique_by=lambda entry: entry.id)


@settings(deadline=None)
@given(running=lists, wanted=lists)
def test_carrying_out_the_plan_leads_to_what_is_wanted(running: list[Entry], wanted: list[Entry]) -> None:
    made = plan(running, wanted)

    now = {entry.id: entry for entry in running}
    for entry in made.stop:
        assert now.pop(entry.id) is entry
    for entry in made.change:
        assert now[entry.id] != entry
        now[entry.id] = entry
    for entry in made.start:
        assert entry.id not in now
        now[entry.id] = entry
    assert now == {entry.id: entry for entry in wanted}


@settings(deadline=None)
@given(running=lists, wanted=lists)
def test_no_entry_is_in_two_parts_of_a_plan(running: list[Entry], wanted: list[Entry]) -> None:
    made = plan(running, wanted)

    ids = [entry.id for entry in (*made.start, *made.change, *made.stop)]
    assert len(ids) == len(set(ids))


@settings(deadline=None)
@given(running=lists)
def test_what_is_wanted_already_needs_no_plan(running: list[Entry]) -> None:
    assert plan(running, reversed(running)) == Plan((), (), ())


def test_starts_come_in_the_order_of_the_wish() -> None:
    wanted = [Entry("b", "/2", "x"), Entry("a", "/1", "x")]

    assert plan([], wanted).start == tuple(wanted)


def test_a_renamed_service_stops_and_starts() -> None:
    old, new = Entry("a", "/1", "x"), Entry("b", "/1", "x")

    assert plan([old], [new]) == Plan((new,), (), (old,))


def test_a_new_topic_or_rate_is_a_change() -> None:
    old = Entry("a", "/1", "x", 1.0)

    assert plan([old], [Entry("a", "/1", "y", 1.0)]).change == (Entry("a", "/1", "y", 1.0),)
    assert plan([old], [Entry("a", "/1", "x", 2.0)]).change == (Entry("a", "/1", "x", 2.0),)
