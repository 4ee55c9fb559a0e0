# SPDX-License-Identifier: Apache-2.0
import gc
import json
import random
from dataclasses import replace

import gevent
import pytest
from gevent import Greenlet

from logagent import spawn
from logagent.backoff import Backoff
from logagent.config.services import PathRules
from logagent.control import cache
from logagent.control.layers import Merged
from logagent.errors import EtcdError, EtcdRefused, MemberUnavailable, OutcomeUnknown, SessionLost, WatchEnded
from logagent.stores.memory_store import MemoryServer, MemoryStore
from logagent.stores.store import Item
from tests.unit.control.twins import KEYS, RULES, Bench, services, unlimited
from tests.unit.sources.twins import until


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.server.repair()
    bench.stop()
    assert bench.open_stores == 0
    assert not bench.failures


@pytest.fixture
def running(bench):
    bench.server.put(KEYS.services, services("web"))
    bench.run()
    assert bench.running() == ["web"]
    bench.told.facts.clear()
    bench.asked.clear()
    return bench


def put_and_wait(bench, *names, seconds=0.35):
    bench.server.put(KEYS.services, services(*names))
    bench.time.advance(seconds)


def watch_greenlets():
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, Greenlet) and not one.dead and one.name == "etcd watch"
    ]


# -- the ordinary course ---------------------------------------------------------------------------------


def test_what_is_there_at_the_start_is_published_at_once(bench):
    bench.server.put(KEYS.services, services("web", "db"))
    steering = bench.run().wait_first(5.0)

    assert (steering.state, steering.member, steering.api) == ("applied", "e1:2379", "memory")
    assert (steering.revision, steering.cluster_id, steering.error) == (2, "memory-1", "")
    assert bench.running() == ["db", "web"]
    assert bench.changes == 1
    assert bench.told.of("etcd_connected") == [{"member": "e1:2379", "api": "memory", "revision": 2}]


def test_no_lists_at_all_are_an_answer_too(bench):
    assert bench.run().wait_first(5.0).state == "applied"
    assert bench.running() == []
    assert bench.changes == 0


def test_a_change_is_published_after_the_quiet_and_not_before(running):
    put_and_wait(running, "db", seconds=0.29)
    assert running.running() == ["web"]

    running.time.advance(0.02)
    assert running.running() == ["db"]
    assert running.changes == 2


def test_many_changes_become_few_lists(running):
    loads = running.server.loads
    for number in range(60):
        put_and_wait(running, f"s{number}", seconds=0.05)
    running.time.advance(0.5)

    assert running.running() == ["s59"]
    assert running.server.loads - loads <= 3
    assert running.changes <= 4


def test_a_change_during_the_list_is_not_lost(running):
    load = MemoryStore.load

    class Slow(MemoryStore):
        def load(self, keys):
            snapshot = load(self, keys)
            if running.racing:
                running.racing = False
                running.server.put(KEYS.services, services("late"))
                gevent.idle()
            return snapshot

    running.racing = False
    running.make = lambda member: Slow(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.settle()
    running.racing = True
    put_and_wait(running, "early", seconds=0.31)
    assert running.running() == ["early"]
    running.time.advance(0.31)
    assert running.running() == ["late"]


def test_an_empty_list_stops_everything_and_so_does_a_deleted_one(running):
    running.server.put(KEYS.services, "[]")
    running.time.advance(0.31)
    assert (running.running(), running.supervised.steering.state) == ([], "applied")

    put_and_wait(running, "web")
    running.server.delete(KEYS.services)
    running.time.advance(0.31)
    assert (running.running(), running.supervised.steering.state) == ([], "applied")


def test_a_status_tells_what_is_applied_and_what_is_wrong(running):
    supervised = running.supervised
    first = supervised.steering
    supervised.applied(Merged(first.documents[0].entries, ()), first)
    running.server.put(KEYS.services, "{")
    running.time.advance(0.31)
    said = supervised.status()

    assert said["applied"] == {KEYS.services: {"revision": 2, "sha256": first.documents[0].sha256}}
    assert (said["revision"], said["state"], said["entries"]) == (2, "rejected", 1)
    assert len(said["errors"]) == 1
    json.dumps(said)


# -- groups ----------------------------------------------------------------------------------------------


def test_groups_and_default_count_below_the_host(bench):
    bench.server.put(KEYS.default, services("base"))
    bench.server.put(KEYS.group("b"), services("from-b"))
    bench.server.put(KEYS.group("a"), services("from-a"))
    bench.server.put(KEYS.groups, '["a", "b"]')
    bench.server.put(KEYS.services, services("web"))
    steering = bench.run().steering

    keys = [KEYS.services, KEYS.group("a"), KEYS.group("b"), KEYS.default]
    assert [one.key for one in steering.documents] == keys
    assert [one.source for one in steering.documents] == ["etcd", "group a", "group b", "default"]
    assert steering.groups == ("a", "b")


def test_a_new_group_is_watched_from_then_on(running):
    running.server.put(KEYS.group("a"), services("one"))
    running.server.put(KEYS.groups, '["a"]')
    running.time.advance(0.31)
    assert running.running() == ["one", "web"]

    running.server.put(KEYS.group("a"), services("two"))
    running.time.advance(0.31)
    assert running.running() == ["two", "web"]

    running.server.put(KEYS.groups, "[]")
    running.time.advance(0.31)
    assert running.running() == ["web"]


def test_faulty_groups_leave_the_old_ones(running):
    running.server.put(KEYS.group("a"), services("one"))
    running.server.put(KEYS.groups, '["a"]')
    running.time.advance(0.31)
    running.server.put(KEYS.groups, '["a", 7]')
    running.time.advance(0.31)

    assert running.running() == ["one", "web"]
    assert running.supervised.steering.state == "rejected"
    (told,) = running.told.of("etcd_document_rejected")
    assert told["key"] == KEYS.groups
    running.time.advance(10)
    assert len(running.told.of("etcd_document_rejected")) == 1


def test_groups_that_never_stand_still_do_not_spin(running):
    class Restless(MemoryStore):
        def load(self, keys):
            running.server.put(KEYS.groups, json.dumps([f"g{running.server.revision}"]))
            return super().load(keys)

    running.make = lambda member: Restless(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    loads = running.server.loads
    running.time.advance(10)

    assert 20 < running.server.loads - loads < 120
    assert running.running() == ["web"]


def test_groups_that_would_not_stand_still_are_looked_at_again_soon(running):
    class Restless(MemoryStore):
        def load(self, keys):
            snapshot = super().load(keys)
            if not moving:
                return snapshot
            groups = json.dumps([f"g{moving.pop()}"]).encode()
            return replace(snapshot, items={**snapshot.items, KEYS.groups: Item(groups, snapshot.revision)})

    moving = [4, 3, 2, 1]
    running.server.put(KEYS.group("a"), services("one"))
    running.server.put(KEYS.groups, '["a"]')
    running.make = lambda member: Restless(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.advance(0.65)

    assert running.running() == ["one", "web"]


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "{", "null", "7", '{"a": 1}', "\x00", "[" * 5000])
def test_a_value_that_is_no_list_changes_nothing_and_is_told_once(running, value):
    running.server.put(KEYS.services, value)
    running.time.advance(20)

    assert running.running() == ["web"]
    assert running.supervised.steering.state == "rejected"
    assert len(running.supervised.steering.faults) == 1
    assert len(running.told.of("etcd_document_rejected")) == 1


def test_a_bad_entry_is_told_with_the_others_in_force(running):
    running.server.put(KEYS.services, json.dumps([{"service": "x"}, *json.loads(services("db"))]))
    running.time.advance(0.31)

    assert running.running() == ["db"]
    (told,) = running.told.of("etcd_entries_rejected")
    assert told["key"] == KEYS.services
    assert running.supervised.steering.state == "applied"


def test_changed_rules_are_applied_to_what_is_there(running):
    put_and_wait(running, "web", "db")
    running.rules = replace(running.rules, denied=("/var/log/db.log",))
    running.supervised.reconsider()
    running.time.advance(0.31)
    assert running.running() == ["web"]


# -- trouble ---------------------------------------------------------------------------------------------


ERRORS = [
    MemberUnavailable("e1:2379", "hung up"),
    EtcdRefused("e1:2379", "no permission"),
    WatchEnded("compacted"),
    OutcomeUnknown("no answer"),
    SessionLost("gone"),
    EtcdError("something else"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_watch_may_end_of_anything(running, error):
    running.server.end_watches(error)
    running.time.settle()
    put_and_wait(running, "db")

    assert running.running() == ["db"]
    assert len(running.told.of("etcd_resync")) == 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_member_may_fail_in_any_way_and_the_next_one_is_asked_at_once(running, error):
    running.server.fail(error, "e1:2379")
    put_and_wait(running, "db", seconds=1.0)

    assert running.running() == ["db"]
    assert running.supervised.steering.member == "e2:2379"


def test_while_nobody_answers_everything_stays_and_pauses_grow(running):
    running.server.stop()
    running.time.advance(1)
    assert (running.supervised.steering.state, running.running()) == ("unreachable", ["web"])
    assert "connection refused" in running.supervised.steering.error
    running.time.advance(3600)
    assert len(running.asked) < 3600 / 15 + 20
    assert {told["member"] for told in running.told.of("etcd_unreachable")} == {
        "e1:2379",
        "e2:2379",
        "e3:2379",
    }


def test_after_an_hour_away_it_converges_within_half_a_minute(running):
    running.server.stop()
    running.time.advance(3600)
    running.server.put(KEYS.services, services("db"))
    running.server.repair()
    running.time.advance(30)

    assert (running.running(), running.supervised.steering.state) == (["db"], "applied")
    assert running.told.of("etcd_back")


def test_unexpected_exceptions_end_nothing(running, monkeypatch):
    monkeypatch.setattr(spawn, "RESTART", Backoff(1e-6, 1e-6))
    broken = [ValueError("a bug in load"), KeyError("another")]

    class Broken(MemoryStore):
        def load(self, keys):
            if broken:
                raise broken.pop()
            return super().load(keys)

    running.make = lambda member: Broken(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    until(lambda: not broken)
    until(lambda: running.open_stores == 2)
    put_and_wait(running, "db")

    assert running.running() == ["db"]
    assert [type(error) for error in running.failures] == [KeyError, ValueError]
    running.failures.clear()


def test_an_unexpected_exception_in_a_watch_leads_to_another_watch(running):
    broken = [ValueError("a bug in follow")]

    class Broken(MemoryStore):
        def follow(self, keys, revision, idle_s):
            if broken:
                raise broken.pop()
            return super().follow(keys, revision, idle_s)

    running.make = lambda member: Broken(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.advance(1)
    put_and_wait(running, "db")

    assert running.running() == ["db"]
    assert [str(error) for error in running.failures] == ["a bug in follow"]
    running.failures.clear()


def test_a_watch_that_returns_is_opened_again(running):
    class Polite(MemoryStore):
        def follow(self, keys, revision, idle_s):
            return iter(())

    running.make = lambda member: Polite(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.advance(60)

    assert len(running.asked) < 2 * 60 / 0.3
    running.make = lambda member: MemoryStore(running.server, member)
    running.time.advance(5)
    put_and_wait(running, "db")
    assert running.running() == ["db"]


def test_a_silent_watch_is_doubted_and_a_missed_change_found(running):
    class Deaf(MemoryStore):
        def follow(self, keys, revision, idle_s):
            gevent.event.Event().wait()
            yield 0

    running.make = lambda member: Deaf(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.settle()
    running.make = lambda member: MemoryStore(running.server, member)
    put_and_wait(running, "db", seconds=55)
    assert running.running() == ["web"]
    running.time.advance(6)

    assert running.running() == ["db"]
    assert [told["kind"] for told in running.told.of("etcd_resync")] == ["failed", "missed"]
    put_and_wait(running, "again")
    assert running.running() == ["again"]


def test_a_watch_that_hangs_for_ever_is_cut(running):
    class Deaf(MemoryStore):
        def follow(self, keys, revision, idle_s):
            gevent.event.Event().wait()
            yield 0

    running.make = lambda member: Deaf(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.settle()
    running.asked.clear()
    running.time.advance(69)
    assert running.asked == []
    running.time.advance(2)
    assert running.asked == ["e3:2379", "e3:2379"]


def test_a_frozen_member_is_left_within_seven_seconds(running):
    """The timer of the list stands for a member that takes requests and answers none."""
    frozen = {"e1:2379"}

    class Freezing(MemoryStore):
        def load(self, keys):
            if self.member in frozen:
                running.time.wait(gevent.event.Event(), 3.0)
                raise gevent.Timeout
            return super().load(keys)

        def follow(self, keys, revision, idle_s):
            for changes in super().follow(keys, revision, idle_s):
                if self.member in frozen:
                    gevent.event.Event().wait()
                yield changes

    running.server.stop("e2:2379")
    running.server.stop("e3:2379")
    running.make = lambda member: Freezing(running.server, member)
    frozen.clear()
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.advance(60)
    assert running.supervised.steering.member == "e1:2379"
    running.server.repair()
    frozen.add("e1:2379")
    put_and_wait(running, "db", seconds=6.9)

    assert running.running() == ["db"]
    assert "no answer within 3 s" in str(running.told.of("etcd_unreachable"))


def test_a_request_that_takes_for_ever_is_given_up(running):
    used = []

    def expired(seconds):
        used.append(seconds)
        running.timer = unlimited
        raise gevent.Timeout(seconds)

    running.timer = expired
    put_and_wait(running, "db", seconds=0.6)

    assert used == [3.0]
    assert running.running() == ["db"]
    assert running.supervised.steering.member == "e2:2379"


def test_patience_is_short_until_every_member_was_asked(running):
    used = []

    def expired(seconds):
        used.append(seconds)
        raise gevent.Timeout(seconds)

    running.timer = expired
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.advance(10)
    running.timer = unlimited

    assert used[:5] == [3.0, 3.0, 10.0, 10.0, 10.0]
    running.time.advance(30)
    assert running.supervised.steering.state == "applied"


# -- what is not believed --------------------------------------------------------------------------------


def test_a_stale_member_is_not_believed(running):
    running.server.make_stale("e2:2379")
    put_and_wait(running, "db")
    running.server.stop("e1:2379")
    running.time.advance(1)

    assert running.running() == ["db"]
    assert running.supervised.steering.member == "e3:2379"
    assert [told["member"] for told in running.told.of("etcd_stale_member")] == ["e2:2379"]


def test_a_member_that_goes_back_under_our_feet_is_left(running):
    running.server.make_stale("e1:2379")
    before = running.server._stale.pop("e1:2379")
    put_and_wait(running, "db")
    running.server._stale["e1:2379"] = before
    running.time.advance(64)

    assert (running.running(), running.supervised.steering.member) == (["db"], "e2:2379")


def test_a_cluster_restored_from_a_backup_is_believed_when_all_members_agree(running):
    backup = running.server.backup()
    put_and_wait(running, "db")
    running.server.restore(backup, same_cluster=True)
    running.time.advance(5)

    assert running.running() == ["web"]
    assert len(running.told.of("etcd_restored")) == 1


def test_another_cluster_with_lists_is_followed(running):
    running.server.replace_cluster()
    running.server.put(KEYS.services, services("db"))
    running.time.advance(5)

    assert running.running() == ["db"]


def test_an_emptied_cluster_is_not_believed_until_there_are_lists_again(running):
    running.server.replace_cluster()
    running.time.advance(60)
    assert (running.running(), running.supervised.steering.state) == (["web"], "suspicious-empty")
    assert running.supervised.steering.error

    running.server.put(KEYS.services, services("db"))
    running.time.advance(0.4)
    assert (running.running(), running.supervised.steering.state) == (["db"], "applied")
    assert running.told.of("etcd_empty_over")


def test_an_emptied_cluster_is_believed_on_request(running):
    running.server.replace_cluster()
    running.time.advance(5)
    running.accept_empty = True
    running.supervised.reconsider()
    running.time.advance(0.4)

    assert (running.running(), running.supervised.steering.state) == ([], "applied")


def test_all_lists_vanishing_at_once_are_not_believed(running):
    running.server.put(KEYS.default, services("base"))
    running.time.advance(0.4)
    running.server.clear()
    running.time.advance(0.4)

    assert (running.running(), running.supervised.steering.state) == (["base", "web"], "suspicious-empty")


# -- the cache -------------------------------------------------------------------------------------------


def restarted(bench, tmp_path):
    bench.stop()
    again = Bench(tmp_path)
    again.server = bench.server
    return again


def test_without_etcd_the_cache_is_used_when_all_members_failed(running, tmp_path):
    put_and_wait(running, "db")
    again = restarted(running, tmp_path)
    again.server.stop()
    supervised = again.run()
    again.time.advance(1)
    steering = supervised.wait_first(5)

    assert (steering.state, again.running(), again.changes) == ("from-cache", ["db"], 1)
    assert len(again.told.of("etcd_cache_used")) == 1
    again.server.repair()
    again.time.advance(30)
    assert (supervised.steering.state, again.changes) == ("applied", 1)
    again.stop()


def test_without_an_answer_in_time_the_cache_is_used(running, tmp_path):
    again = restarted(running, tmp_path)

    class Slow(MemoryStore):
        def load(self, keys):
            again.time.wait(gevent.event.Event(), 20)
            return super().load(keys)

    again.make = lambda member: Slow(again.server, member)
    supervised = again.run()
    first = gevent.spawn(supervised.wait_first, 5.0)
    again.time.advance(4.9)
    assert not first.ready()
    again.time.advance(0.2)
    assert first.get().state == "from-cache"
    again.time.advance(20)
    assert supervised.steering.state == "applied"
    again.time.advance(30)
    again.make = lambda member: MemoryStore(again.server, member)
    again.supervised.stop()
    again.time.advance(40)
    again.stop()


def test_without_etcd_and_cache_the_agent_does_not_wait(bench):
    bench.server.stop()
    supervised = bench.run()
    bench.time.advance(1)

    steering = supervised.wait_first(5)
    assert (steering.state, steering.documents, bench.changes) == ("waiting", (), 0)
    assert "refused" in steering.error


def test_a_restart_knows_what_was_newer(running, tmp_path):
    running.server.make_stale("e1:2379")
    running.server.make_stale("e2:2379")
    put_and_wait(running, "db", seconds=5)
    assert (running.running(), running.supervised.steering.member) == (["db"], "e3:2379")
    again = restarted(running, tmp_path)
    again.run()
    again.time.advance(5)

    assert again.running() == ["db"]
    assert again.supervised.steering.member == "e3:2379"
    again.stop()


def test_the_api_is_kept_for_the_next_start(running, tmp_path):
    again = restarted(running, tmp_path)
    again.api = "auto"
    again.run()

    assert again.running() == ["web"]
    again.stop()


def test_revisions_of_another_api_are_not_compared(running, tmp_path):
    put_and_wait(running, "db")
    path = tmp_path / "etcd-cache.json"
    cached, _ = cache.load(path, KEYS.watch_key, KEYS.host)
    cache.save(path, replace(cached, api="v2", revision=10**6))
    again = restarted(running, tmp_path)
    again.run()

    assert (again.running(), again.supervised.steering.state) == (["db"], "applied")
    assert again.told.of("etcd_stale_member") == []
    again.stop()


def test_the_cache_is_written_only_when_something_changed(running):
    path = running.place / "etcd-cache.json"
    path.unlink()
    running.time.advance(60)
    assert not path.exists()

    put_and_wait(running, "db")
    assert path.exists()


def test_faults_are_told_again_after_a_restart(running, tmp_path):
    running.server.put(KEYS.services, "{")
    running.time.advance(0.4)
    again = restarted(running, tmp_path)
    again.run()

    assert (again.running(), again.supervised.steering.state) == (["web"], "rejected")
    again.stop()


def test_a_disk_that_refuses_the_cache_stops_nothing(running):
    running.place.chmod(0o755)
    (running.place / "etcd-cache.json").unlink()
    (running.place / "etcd-cache.json").mkdir()
    put_and_wait(running, "db")
    assert running.running() == ["db"]
    assert len(running.told.of("etcd_cache_failed")) == 1

    (running.place / "etcd-cache.json").rmdir()
    running.time.advance(61)
    assert len(running.told.of("etcd_cache_back")) == 1
    assert (running.place / "etcd-cache.json").is_file()


def test_a_wiped_cluster_is_not_believed_when_its_revision_has_grown_past_the_old_one(running):
    backup = MemoryServer(running.time.clock).backup()
    running.server.restore(backup, same_cluster=True)
    running.time.advance(5)
    assert (running.running(), running.supervised.steering.state) == (["web"], "suspicious-empty")
    for number in range(20):
        running.server.put("/elsewhere", str(number))
    running.time.advance(120)
    assert (running.running(), running.supervised.steering.state) == (["web"], "suspicious-empty")

    # Nor after a restart of the agent.
    running.stop()
    running.run()
    running.time.advance(120)
    assert (running.running(), running.supervised.steering.state) == (["web"], "suspicious-empty")
    put_and_wait(running, "db", seconds=61)
    assert (running.running(), running.supervised.steering.state) == (["db"], "applied")


def test_the_revision_that_was_seen_last_is_known_after_a_restart(running):
    for number in range(20):
        running.server.put("/elsewhere", str(number))
    running.time.advance(61)
    running.stop()
    running.server.restore(MemoryServer(running.time.clock).backup(), same_cluster=True)
    for number in range(10):
        running.server.put("/elsewhere", str(number))
    running.run()
    running.time.advance(5)
    assert (running.running(), running.supervised.steering.state) == (["web"], "suspicious-empty")


def test_groups_that_may_not_be_read_do_not_stop_the_rest_from_being_followed(running):
    class Strict(MemoryStore):
        def load(self, keys):
            if KEYS.group("secret") in keys:
                raise EtcdRefused(self.member, "may not read group secret")
            return super().load(keys)

    running.make = lambda member: Strict(running.server, member)
    running.server.end_watches(MemberUnavailable("e1:2379", "gone"))
    running.time.settle()
    running.server.put(KEYS.groups, '["secret"]')
    put_and_wait(running, "db")
    assert running.running() == ["db"]
    assert running.supervised.steering.state == "rejected"
    assert "may not read group secret" in str(running.supervised.steering.faults)
    assert len(running.told.of("etcd_document_rejected")) == 1
    running.time.advance(130)
    assert len(running.told.of("etcd_document_rejected")) == 1, "it is told once"
    running.server.put(KEYS.groups, "[]")
    running.time.advance(1)
    assert (running.supervised.steering.state, running.supervised.steering.faults) == ("applied", ())


def test_new_path_rules_hold_at_once_also_while_etcd_is_away(running):
    running.server.stop()
    running.time.advance(5)
    running.rules = PathRules(allowed=(), denied=("/var/log",), own_log=None, data_dir="/var/lib/agent")
    running.supervised.reconsider()
    assert running.running() == []
    running.rules = RULES
    running.supervised.reconsider()
    assert running.running() == ["web"]


def test_who_waits_for_the_first_answer_can_be_told_not_to(bench):
    bench.server.stop()
    bench.supervised = bench.supervisor()
    waiting = gevent.spawn(bench.supervised.wait_first, 300)
    bench.time.settle()
    assert not waiting.dead
    bench.supervised.hurry()
    bench.time.settle()
    assert waiting.dead


# -- for a long time -------------------------------------------------------------------------------------


def test_hundreds_of_reconnects_leave_nothing_behind(running):
    for number in range(300):
        running.server.end_watches(ERRORS[number % len(ERRORS)])
        running.time.advance(1)
    gc.collect()

    assert running.running() == ["web"]
    assert len(running.asked) >= 600
    assert running.open_stores == 2
    assert len(watch_greenlets()) == 1
    assert running.changes == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_value_never_goes_back_whatever_happens(bench, seed):
    rng = random.Random(seed)
    seen = []
    supervised = bench.supervisor()
    supervised._on_change = lambda: seen.append(
        max(int(entry.service[1:]) for one in supervised.steering.documents for entry in one.entries)
    )
    bench.server.put(KEYS.services, services("s0"))
    bench.greenlet, bench.supervised = bench.spawner.forever("etcd", supervised.run), supervised
    members = [str(address) for address in bench.addresses]
    faults = [
        lambda: bench.server.stop(rng.choice(members)),
        lambda: bench.server.make_stale(rng.choice(members[:2])),
        lambda: bench.server.end_watches(rng.choice(ERRORS)),
        bench.server.compact,
        bench.server.elect,
        bench.server.repair,
    ]
    for number in range(1, 200):
        rng.choice(faults)()
        bench.server.put(KEYS.services, services(f"s{number}"))
        bench.time.advance(rng.choice([0.05, 0.5, 5]))
    bench.server.repair()
    bench.time.advance(60)

    assert bench.running() == ["s199"]
    assert seen == sorted(seen)
    assert len(seen) > 20


def test_stop_closes_everything(running):
    running.stop()

    assert running.open_stores == 0
    assert watch_greenlets() == []
