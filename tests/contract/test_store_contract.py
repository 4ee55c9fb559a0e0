# SPDX-License-Identifier: Apache-2.0
"""What every Store promises, in memory and on real servers."""

import time
from contextlib import contextmanager

import gevent
import pytest

from logagent.errors import EtcdError, EtcdRefused, MemberUnavailable, OutcomeUnknown, SessionLost, WatchEnded
from logagent.stores.store import ABSENT, Item
from tests.contract.worlds import (
    SPAWNER,
    TIMEOUT_S,
    Follower,
    MemoryWorld,
    V2World,
    V3World,
    eventually,
)
from tests.support.etcd import ETCD_35, ETCD_NEW

pytestmark = pytest.mark.timeout(120)

GREENLETS = 10
NODES = {"v2": (V2World, ETCD_35), "v3-3.5": (V3World, ETCD_35), "v3-new": (V3World, ETCD_NEW)}
QUICKLY_S = 1.0


@pytest.fixture(params=["memory", *NODES])
def world(request):
    if request.param == "memory":
        made = MemoryWorld()
    else:
        kind, version = NODES[request.param]
        made = kind(request.getfixturevalue("etcd_35" if version == ETCD_35 else "etcd_new"))
    yield made
    made.close()


@pytest.fixture(params=NODES)
def fragile(request, etcd_node):
    """A world of this test's own, which it may freeze and kill."""
    kind, version = NODES[request.param]
    made = kind(etcd_node(version, v2=kind is V2World))
    yield made
    made.close()


@pytest.fixture
def store(world):
    return world.open()


@pytest.fixture
def key(key_root):
    return f"{key_root}/host/logconfig"


@pytest.fixture
def follow(world, store):
    """Start to follow keys from now on."""
    followers = []

    def start(*keys, since=None, idle_s=5.0):
        revision = store.load(keys).revision if since is None else since
        followers.append(Follower(world.open(), keys, revision, idle_s))
        return followers[-1]

    yield start
    for one in followers:
        one.stop()


@contextmanager
def within(limit_s):
    started = time.monotonic()
    with gevent.Timeout(limit_s + 5, AssertionError(f"not within {limit_s + 5} s")):
        yield
    took_s = time.monotonic() - started
    assert took_s < limit_s, f"{took_s:.1f} s"


# load


def test_a_missing_key_is_not_in_the_snapshot(store, key):
    snapshot = store.load([key, f"{key}/"])
    assert snapshot.items == {}
    assert snapshot.revision >= 1
    assert snapshot.cluster_id


def test_a_key_has_its_value_and_the_revision_of_its_last_change(world, store, key):
    before = store.load([key]).revision
    world.put(key, "one")
    first = store.load([key])
    world.put(key, "two")
    world.put(f"{key}-other", "x")
    second = store.load([key])

    assert first.items[key].value == b"one"
    assert second.items.keys() == {key}
    assert second.items[key].value == b"two"
    assert before < first.items[key].revision < second.items[key].revision < second.revision
    assert first.cluster_id == second.cluster_id
    assert first.term == second.term


def test_a_key_with_a_slash_at_its_end_stands_for_what_is_below(world, store, key_root):
    for name in ("a", "a/b", "a/b/c", "ab") if world.api != "v2" else ("a/b", "a/d/c", "ab"):
        world.put(f"{key_root}/{name}", name)

    below = store.load([f"{key_root}/a/"])
    both = store.load([f"{key_root}/a/", f"{key_root}/ab"])

    names = {key.removeprefix(f"{key_root}/") for key in below.items}
    assert names == ({"a/b", "a/d/c"} if world.api == "v2" else {"a/b", "a/b/c"})
    assert both.items.keys() - below.items.keys() == {f"{key_root}/ab"}


@pytest.mark.parametrize("value", [b"", b"\xc3\xa9 +&=%41\n\x00", b"x" * 300_000, b"\xff\xfe"])
def test_a_value_comes_back_as_it_was_written(world, store, key, value):
    if world.text_only and value == b"\xff\xfe":
        with pytest.raises(EtcdRefused, match="UTF-8"):
            store.commit({}, {key: value})
        return
    revision = store.commit({}, {key: value})
    assert store.load([key]).items == {key: Item(value, revision)}


def test_a_key_may_hold_any_character(store, key_root):
    name = f"{key_root}/hôst name/a?b#c%41&d=+é"
    revision = store.commit({name: ABSENT}, {name: b"x"})
    assert store.load([name]).items == {name: Item(b"x", revision)}
    assert store.load([f"{key_root}/hôst name/"]).items.keys() == {name}


# commit


def test_a_commit_that_wants_no_key_happens_once(store, key):
    first = store.commit({key: ABSENT}, {key: b"1"})
    assert store.commit({key: ABSENT}, {key: b"2"}) is None
    assert store.load([key]).items == {key: Item(b"1", first)}


def test_a_commit_with_a_stale_revision_changes_nothing(store, key):
    first = store.commit({}, {key: b"1"})
    second = store.commit({key: first}, {key: b"2"})
    assert second > first
    assert store.commit({key: first}, {key: b"3"}) is None
    assert store.commit({key: first}, {key: None}) is None
    assert store.load([key]).items == {key: Item(b"2", second)}


def test_a_commit_deletes(store, key):
    revision = store.commit({}, {key: b"1"})
    assert store.commit({key: revision}, {key: None}) > revision
    assert store.load([key]).items == {}
    assert store.commit({key: revision}, {key: b"2"}) is None
    assert store.commit({key: revision}, {key: None}) is None
    assert store.commit({}, {key: None}) is not None  # nothing to delete is no failure
    assert store.commit({key: ABSENT}, {key: None}) is not None
    store.commit({}, {key: b"3"})
    assert store.commit({key: ABSENT}, {key: None}) is None


def test_a_commit_writes_several_keys_or_none(world, store, key):
    audit = f"{key}-audit"
    revision = store.commit({key: ABSENT}, {audit: b"a", key: b"1"})
    items = store.load([key, audit]).items
    assert items[key] == Item(b"1", revision)
    assert items[audit].value == b"a"
    assert world.api == "v2" or items[audit].revision == revision

    assert store.commit({key: ABSENT}, {audit: b"b", key: b"2"}) is None
    assert store.load([key, audit]).items == items


def test_a_commit_guards_keys_that_it_does_not_write(world, store, key):
    revision = store.commit({}, {key: b"1"})
    guards = {key: revision, f"{key}-none": ABSENT}
    if not world.many_guards:
        with pytest.raises(EtcdRefused, match="guard one key"):
            store.commit(guards, {f"{key}-b": b"1"})
        return
    assert store.commit(guards, {f"{key}-b": b"1"}) > revision
    assert store.commit({key: revision, f"{key}-b": ABSENT}, {f"{key}-b": b"2"}) is None


def test_of_those_who_write_at_a_revision_one_wins(world, key):
    wins = []

    def count_up(store):
        while len(wins) < 30:
            item = store.load([key]).items.get(key)
            value, guard = (int(item.value), item.revision) if item else (0, ABSENT)
            if store.commit({key: guard}, {key: b"%d" % (value + 1)}) is not None:
                wins.append(guard)

    with within(20):
        gevent.joinall([SPAWNER.once("counter", count_up, world.open()) for _ in range(GREENLETS)])

    assert len(wins) >= 30
    assert len(set(wins)) == len(wins)
    assert world.open().load([key]).items[key].value == b"%d" % len(wins)


# follow


def test_a_change_is_heard_and_so_is_a_deletion(world, follow, key):
    world.put(key, "1")
    follower = follow(key)
    world.put(key, "2")
    follower.wait_heard(1)
    world.delete(key)
    follower.wait_heard(2)
    world.put(key, "2")
    follower.wait_heard(3)


def test_what_happened_before_the_watch_began_is_heard(world, store, follow, key):
    revision = store.load([key]).revision
    world.put(key, "1")
    follower = follow(key, since=revision)
    follower.wait_heard(1)
    assert store.load([key]).items[key].value == b"1"


def test_another_key_is_not_heard(world, follow, key_root, key):
    follower = follow(key, f"{key_root}/below/")
    for other in (f"{key}2", f"{key_root}/host/other", f"{key_root}/other", f"{key_root}/belowx"):
        world.put(other, "1")
    gevent.sleep(0.2)
    assert follower.heard == 0
    world.put(key, "1")
    follower.wait_heard(1)
    assert follower.heard == 1


def test_all_keys_are_heard_whichever_directory_they_are_in(world, follow, key_root):
    keys = [f"{key_root}/host/logconfig", f"{key_root}/host/groups", f"{key_root}-groups/web/logconfig"]
    follower = follow(*keys, f"{key_root}/host/replay/")
    for number, key in enumerate([*keys, f"{key_root}/host/replay/17/a"], start=1):
        world.put(key, "1")
        follower.wait_heard(number)


def test_after_a_burst_what_is_heard_leads_to_the_last_value(world, store, follow, key_root):
    below = f"{key_root}/burst/"
    follower = follow(below)
    world.burst(below, 3000)
    eventually(lambda: follower.heard or follower.error, 5, "the burst is heard")
    eventually(lambda: len(store.load([below]).items) == 3000, 5, "everything is there")
    if follower.error:  # the v2 API keeps a thousand events
        assert isinstance(follower.error, WatchEnded)
        follower = follow(below)
    gevent.sleep(0.2)
    before = follower.heard
    world.put(f"{below}last", "x")
    follower.wait_heard(before + 1)


def test_a_watch_from_a_forgotten_revision_ends(world, store, follow, key_root, key):
    revision = store.load([key]).revision
    world.put(key, "1")
    world.put(key, "2")
    world.forget_the_past(f"{key_root}/host/")
    with within(QUICKLY_S):
        error = follow(key, since=revision).wait_end(5)
    assert isinstance(error, WatchEnded)


def test_a_watch_that_hears_nothing_ends(follow, key):
    with within(0.5 + QUICKLY_S):
        error = follow(key, idle_s=0.5).wait_end(5)
    assert isinstance(error, WatchEnded)
    assert "0.5 s" in str(error)


def test_closing_ends_a_watch_in_another_greenlet(world, follow, key):
    follower = follow(key)
    world.put(key, "1")
    follower.wait_heard()
    with within(QUICKLY_S):
        world.stores[-1].close()
        error = follower.wait_end(5)
    assert isinstance(error, MemberUnavailable)


def test_a_closed_store_answers_nothing(world, key):
    store = world.open()
    store.load([key])
    store.close()
    store.close()
    for call in (
        lambda: store.load([key]),
        lambda: store.commit({}, {key: b"1"}),
        lambda: next(store.follow([key], 1, 1.0)),
        lambda: store.session(5).put(key, b"1"),
    ):
        with pytest.raises(MemberUnavailable):
            call()


def test_following_and_writing_go_on_side_by_side(world, follow, key):
    follower = follow(key)
    store = world.stores[-1]
    for number in range(1, 6):
        store.commit({}, {key: b"%d" % number})
        follower.wait_heard(number)


# session


def test_a_sessions_keys_vanish_without_signs_of_life(world, store, follow, key):
    ttl_s = world.shortest_ttl_s
    kept, left = world.open().session(ttl_s), store.session(ttl_s)
    kept.put(f"{key}-kept", b"1")
    left.put(key, b"1")
    left.put(f"{key}2", b"2")
    follower = follow(key)
    deadline = time.monotonic() + 6

    def left_has_vanished():
        kept.keep_alive()
        gevent.sleep(0.3)
        return not store.load([key, f"{key}2"]).items

    while not left_has_vanished():
        assert time.monotonic() < deadline, "the keys are still there"

    assert store.load([f"{key}-kept"]).items[f"{key}-kept"].value == b"1"
    follower.wait_heard(1)
    with pytest.raises(SessionLost):
        left.keep_alive()
    with pytest.raises(SessionLost):
        left.put(key, b"3")
    kept.put(f"{key}-kept", b"2")
    assert store.load([f"{key}-kept"]).items[f"{key}-kept"].value == b"2"


def test_a_sessions_keys_are_removed_when_it_closes(store, key):
    store.commit({}, {f"{key}-plain": b"x", f"{key}2": b"0"})
    session = store.session(60)
    session.put(key, b"1")
    session.put(f"{key}2", b"1")
    session.put(key, b"2")
    session.keep_alive()
    assert store.load([key]).items[key].value == b"2"
    session.close()
    assert store.load([key, f"{key}2", f"{key}-plain"]).items.keys() == {f"{key}-plain"}
    session.close()


def test_a_key_that_somebody_else_has_written_survives_the_session(store, key):
    session = store.session(60)
    session.put(key, b"1")
    store.commit({}, {key: b"theirs"})
    session.close()
    assert store.load([key]).items[key].value == b"theirs"


# members that fail


def test_a_frozen_member_costs_bounded_time(fragile, key):
    used = [fragile.open() for _ in range(4)]
    sessions = [one.session(60) for one in used]
    for number, session in enumerate(sessions):
        session.put(f"{key}-s{number}", b"1")
    revision = used[0].load([key]).revision
    follower = Follower(fragile.open(), [key], revision, idle_s=1.0)
    fragile.put(key, "1")
    follower.wait_heard(1)
    fragile.node.freeze()

    with within(1.0 + TIMEOUT_S + QUICKLY_S):
        outcomes = all_at_once(
            lambda: used[0].load([key]),
            lambda: fragile.open().load([key]),
            lambda: used[1].commit({}, {key: b"2"}),
            lambda: fragile.open().commit({}, {key: b"2"}),
            lambda: next(fragile.open().follow([key], revision + 100, 1.0)),
            used[2].ping,
            sessions[2].keep_alive,
            sessions[3].close,
        )
        assert isinstance(follower.wait_end(10), WatchEnded | MemberUnavailable)

    *both_loads, commit, fresh_commit, follow, ping, keep_alive, close = outcomes
    assert all(issubclass(one, MemberUnavailable) for one in both_loads)
    assert (commit, fresh_commit) == (OutcomeUnknown, OutcomeUnknown)
    assert issubclass(follow, WatchEnded | MemberUnavailable)
    assert issubclass(ping, MemberUnavailable)
    assert issubclass(keep_alive, MemberUnavailable)
    assert close is None
    fragile.node.thaw()
    assert eventually(lambda: answers_again(fragile.node, used[0], key), 10, "it answers again")


def all_at_once(*calls):
    """The class of the error of each call, None for success."""
    outcomes = dict.fromkeys(range(len(calls)), "never ended")

    def run(number, call):
        try:
            call()
            outcomes[number] = None
        except EtcdError as error:
            outcomes[number] = type(error)

    gevent.joinall([SPAWNER.once("call", run, number, call) for number, call in enumerate(calls)], timeout=10)
    return list(outcomes.values())


def answers_again(node, store, key):
    """Etcd before 3.5.5 breaks off when the client of a transaction is gone before it begins; started again."""
    if not node.running:
        node.start()
    return items_of(store, key)


def items_of(store, key):
    try:
        return store.load([key]).items
    except EtcdError:
        return None


def test_closing_ends_a_call_that_a_frozen_member_holds_up(fragile, key):
    store = fragile.open()
    store.load([key])
    fragile.node.freeze()
    ended = []

    def load():
        with pytest.raises(MemberUnavailable):
            store.load([key])
        ended.append(True)

    greenlet = SPAWNER.once("load", load)
    gevent.sleep(0.1)
    with within(0.5):
        store.close()
        greenlet.join(5)
    assert ended


def test_a_killed_member_is_unavailable_at_once(fragile, key):
    store = fragile.open()
    session = store.session(60)
    session.put(f"{key}-s", b"1")
    follower = Follower(fragile.open(), [key], store.load([key]).revision)
    fragile.put(key, "1")
    follower.wait_heard(1)
    fragile.node.kill9()

    with within(QUICKLY_S):
        assert isinstance(follower.wait_end(5), MemberUnavailable)
        with pytest.raises(MemberUnavailable):
            store.load([key])
        with pytest.raises(MemberUnavailable):  # and not OutcomeUnknown: nothing was sent
            fragile.open().commit({}, {key: b"2"})
        with pytest.raises(MemberUnavailable):
            session.keep_alive()
        session.close()

    fragile.node.start()
    assert store.load([key]).items[key].value == b"1"
    session.keep_alive()
