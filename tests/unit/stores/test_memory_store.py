# SPDX-License-Identifier: Apache-2.0
"""The server in memory: it agrees with a model, and every fault can be switched on and off."""

from itertools import pairwise

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.errors import EtcdRefused, MemberUnavailable, OutcomeUnknown, SessionLost, WatchEnded
from logagent.stores.memory_store import FIRST_REVISION, MemoryServer, MemoryStore
from logagent.stores.store import ABSENT, Item

KEY = "/logagent/h/logconfig"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    return MemoryServer(clock)


@pytest.fixture
def store(server):
    return MemoryStore(server, "one")


class Model:
    """The history of everything: a list of states, one per revision."""

    def __init__(self):
        self.states = [{}] * FIRST_REVISION

    def commit(self, guards, writes):
        state = self.states[-1]
        if any(state.get(key, (b"", ABSENT))[1] != revision for key, revision in guards.items()):
            return None
        changes = {key for key, value in writes.items() if value is not None or key in state}
        if changes:
            kept = {key: value for key, value in state.items() if key not in changes}
            new = {key: writes[key] for key in changes if writes[key] is not None}
            revision = len(self.states) + 1
            self.states.append(kept | {key: (value, revision) for key, value in new.items()})
        return len(self.states)

    def changes(self, key, after):
        """At how many revisions the key became another one."""
        states = self.states[after - 1 :]
        return sum(old.get(key, ()) != new.get(key, ()) for old, new in pairwise(states))


KEYS = st.sampled_from(["/a", "/a/b", "/c"])
VALUES = st.none() | st.sampled_from([b"", b"1", b"2"])
GUESSES = st.integers(-3, 3)  # relative to the revision that the key has
STEPS = st.lists(st.tuples(st.dictionaries(KEYS, GUESSES, max_size=2), st.dictionaries(KEYS, VALUES)))


@settings(deadline=None)
@given(STEPS, st.integers(0, 8), KEYS)
def test_it_agrees_with_a_list_of_states(steps, after, key):
    server, model = MemoryServer(), Model()
    store = MemoryStore(server)
    for guesses, writes in steps:
        has = model.states[-1]
        guards = {one: max(ABSENT, has.get(one, (b"", ABSENT))[1] + off // 3) for one, off in guesses.items()}
        assert store.commit(guards, writes) == model.commit(guards, writes)
        expected = {one: Item(*value) for one, value in model.states[-1].items()}
        assert store.load(["/"]).items == expected
        assert store.load(["/"]).revision == len(model.states)
    after = min(FIRST_REVISION + after, len(model.states))
    assert server.changes([key], after) == model.changes(key, after)


def test_a_stopped_member_answers_again_after_repair(server, store):
    other = MemoryStore(server, "two")
    server.stop("one")
    for call in (lambda: store.load([KEY]), lambda: store.commit({}, {}), lambda: store.session(5)):
        with pytest.raises(MemberUnavailable, match="one: connection refused"):
            call()
    assert other.load([KEY]).items == {}
    server.repair("one")
    assert store.load([KEY]).items == {}


def test_all_members_stop_and_refuse(server, store):
    server.stop()
    with pytest.raises(MemberUnavailable):
        store.load([KEY])
    server.refuse("no permission")
    with pytest.raises(EtcdRefused, match="no permission"):
        MemoryStore(server, "two").load([KEY])
    server.repair()
    assert store.load([KEY]).items == {}


def test_a_stale_member_shows_what_was(server, store):
    server.put(KEY, "1")
    server.make_stale("one")
    revision = server.put(KEY, "2")
    server.elect()
    seen, fresh = store.load([KEY]), MemoryStore(server, "two").load([KEY])
    assert (seen.items[KEY].value, fresh.items[KEY]) == (b"1", Item(b"2", revision))
    assert (seen.revision, seen.term) == (fresh.revision - 1, fresh.term - 1)
    server.repair()
    assert store.load([KEY]).items[KEY].value == b"2"


def test_a_replaced_cluster_has_another_id_and_nothing_in_it(server, store):
    server.put(KEY, "1")
    before = store.load([KEY])
    server.replace_cluster()
    after = store.load([KEY])
    assert after.cluster_id != before.cluster_id
    assert (after.revision, after.items) == (FIRST_REVISION, {})


@pytest.mark.parametrize("same_cluster", [True, False])
def test_a_backup_brings_the_past_back(server, store, same_cluster):
    server.put(KEY, "1")
    backup, before = server.backup(), store.load([KEY])
    server.put(KEY, "2")
    server.restore(backup, same_cluster=same_cluster)
    after = store.load([KEY])
    assert (after.items, after.revision) == (before.items, before.revision)
    assert (after.cluster_id == before.cluster_id) is same_cluster


def test_clearing_deletes_all_at_a_higher_revision(server, store):
    before = server.put(KEY, "1")
    server.clear()
    assert server.items == {}
    assert store.load([KEY]).revision == before + 1


def test_a_lost_answer_hides_a_commit_that_is_in_force(server, store):
    server.lose_answers(1)
    with pytest.raises(OutcomeUnknown):
        store.commit({KEY: ABSENT}, {KEY: b"1"})
    assert server.items[KEY].value == b"1"
    assert store.commit({KEY: ABSENT}, {KEY: b"2"}) is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda server: server.stop(), MemberUnavailable),
        (lambda server: server.end_watches(), WatchEnded),
        (lambda server: server.replace_cluster(), WatchEnded),
        (lambda server: server.end_watches(MemberUnavailable("one", "no leader")), MemberUnavailable),
    ],
)
def test_a_fault_ends_an_open_watch_and_not_the_next(server, store, fault, error):
    watch = gevent.spawn(lambda: next(store.follow([KEY], server.revision, 60)))
    gevent.idle()
    assert server.watchers == 1
    fault(server)
    with pytest.raises(error):
        watch.get(timeout=5)
    assert server.watchers == 0

    server.repair()
    revision = server.revision
    server.put(KEY, "1")
    assert next(store.follow([KEY], revision, 60)) == 1


def test_a_watch_from_before_compaction_ends(server, store):
    revision = server.revision
    server.put(KEY, "1")
    server.compact()
    with pytest.raises(WatchEnded, match="compacted"):
        next(store.follow([KEY], revision, 60))


def test_leases_end_by_the_clock(server, store, clock):
    session = store.session(60)
    session.put(KEY, b"1")
    clock.now += 59
    session.keep_alive()
    clock.now += 59
    assert KEY in server.items
    revision = server.revision
    clock.now += 1
    assert next(store.follow([KEY], revision, 60)) == 1
    assert server.items == {}
    with pytest.raises(SessionLost):
        session.keep_alive()
    with pytest.raises(SessionLost):
        session.put(KEY, b"2")
    session.close()
