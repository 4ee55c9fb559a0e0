# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from logagent.control.heartbeat import Heartbeat, rhythm, status_value, summary_value
from logagent.errors import EtcdRefused, MemberUnavailable, OutcomeUnknown, SessionLost
from logagent.stores.memory_store import MemoryStore
from tests.unit.control.twins import KEYS, MIDDLE, Bench


class Beating(Bench):
    def __init__(self, place):
        super().__init__(place)
        self.status = {"version": "1", "state": "applied", "errors": []}
        self.summary = {"health": "ok", "lines": 0}
        self.puts = []
        self.renewals = []
        self.broken = []
        bench = self

        class Session:
            def __init__(self, session):
                self._session = session

            def put(self, key, value):
                bench.fail_once()
                bench.puts.append((round(bench.time.now_s - 1000, 3), key))
                self._session.put(key, value)

            def keep_alive(self):
                bench.fail_once()
                bench.renewals.append(bench.time.now_s - 1000)
                self._session.keep_alive()

            def close(self):
                self._session.close()

        class Store(MemoryStore):
            def session(self, ttl_s):
                return Session(super().session(ttl_s))

        self.make = lambda member: Store(self.server, member)
        self.supervised = Heartbeat(
            self.members(),
            KEYS,
            status=lambda: self.status,
            summary=lambda: self.summary,
            events=self.told,
            clock=self.time.clock,
            wait=self.time.wait,
            rand=lambda: MIDDLE,
        )

    def fail_once(self):
        if self.broken:
            raise self.broken.pop()

    def run(self):
        self.greenlet = self.spawner.forever("heartbeat", self.supervised.run)
        self.time.settle()

    def value(self, key):
        item = self.server.items.get(key)
        return None if item is None else json.loads(item.value)

    def times(self, key):
        return [at_s for at_s, put in self.puts if put == key]


@pytest.fixture
def beating(tmp_path):
    beating = Beating(tmp_path)
    beating.run()
    yield beating
    beating.server.repair()
    beating.stop()
    assert beating.open_stores == 0
    assert not beating.failures


def test_both_keys_are_there_at_once(beating):
    assert beating.value(KEYS.status) == {**beating.status, "errors_count": 0}
    assert beating.value(KEYS.summary) == beating.summary


def test_an_unchanged_status_is_put_once_and_kept_alive(beating):
    beating.time.advance(300)

    assert beating.times(KEYS.status) == [0]
    assert beating.renewals == [20.0 * number for number in range(1, 16)]
    assert beating.times(KEYS.summary) == [30.0 * number for number in range(11)]
    assert beating.value(KEYS.status) is not None


def test_a_changed_status_is_put_at_once(beating):
    beating.time.advance(5)
    beating.status["state"] = "rejected"
    beating.supervised.changed()
    beating.time.settle()

    assert beating.value(KEYS.status)["state"] == "rejected"


def test_a_restless_status_is_put_once_a_second(beating):
    for number in range(50):
        beating.status["number"] = number
        beating.supervised.changed()
        beating.time.advance(0.1)
    beating.time.advance(1)

    assert 5 <= len(beating.times(KEYS.status)) <= 7
    assert beating.value(KEYS.status)["number"] == 49


def test_a_change_that_nobody_announced_is_found_at_the_next_renewal(beating):
    beating.status["state"] = "rejected"
    beating.time.advance(20.1)

    assert beating.value(KEYS.status)["state"] == "rejected"


def test_a_lost_write_is_repaired_in_time(beating):
    beating.server.delete(KEYS.status)
    beating.time.advance(601)

    assert beating.value(KEYS.status) is not None


def test_a_lost_lease_is_replaced_at_once(beating):
    for number in list(beating.server._leases):
        beating.server.revoke(number)
    beating.time.advance(21)

    assert beating.value(KEYS.status) is not None
    assert beating.times(KEYS.status) == [0, 20]


@pytest.mark.parametrize(
    "error",
    [
        MemberUnavailable("e1:2379", "gone"),
        EtcdRefused("e1:2379", "no permission"),
        OutcomeUnknown("no answer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_member_that_fails_is_left_for_the_next(beating, error):
    beating.time.advance(15)
    beating.broken.append(error)
    beating.time.advance(5.1)

    assert beating.asked == ["e1:2379", "e2:2379"]
    assert len(beating.times(KEYS.status)) == 2
    assert len(beating.told.of("status_publish_failed")) == 1
    assert len(beating.told.of("status_publish_back")) == 2


def test_while_nobody_answers_it_is_tried_ever_more_rarely(beating):
    beating.server.stop()
    beating.time.advance(3600)
    assert len(beating.asked) < 3600 / 15 + 20
    assert beating.value(KEYS.status) is None

    beating.server.repair()
    beating.time.advance(31)
    assert beating.value(KEYS.status) is not None


def test_a_lease_that_dies_at_every_use_is_no_storm(beating):
    beating.time.advance(15)
    beating.broken.extend(SessionLost("gone") for _ in range(1000))
    beating.time.advance(60)

    assert len(beating.asked) < 20
    beating.broken.clear()


@pytest.mark.parametrize("error", [EtcdRefused("e1:2379", "no permission"), ZeroDivisionError("a bug")])
def test_who_may_not_write_leaves_no_leases_behind(tmp_path, error):
    beating = Beating(tmp_path)
    beating.broken.extend([error] * 1000)
    beating.run()
    most = 0
    for _ in range(60):
        most = max(most, len(beating.server._leases))
        beating.time.advance(1)

    assert most == 0
    assert len(beating.asked) > 5 or beating.failures
    beating.broken.clear()
    beating.greenlet.kill()


def test_a_member_that_is_away_is_not_asked_to_end_a_lease(beating):
    beating.time.advance(15)
    beating.broken.append(MemberUnavailable("e1:2379", "gone"))
    beating.time.advance(5.1)

    assert len(beating.server._leases) == 2


def test_an_orderly_stop_removes_the_keys(beating):
    beating.stop()

    assert beating.server.items == {}


def test_a_stop_does_not_wait_for_a_pause(beating):
    beating.server.stop()
    beating.time.advance(300)
    beating.stop()


def test_a_status_is_cut_to_its_limit():
    document = {"state": "rejected", "errors": [f"{number} " + "x" * 2000 for number in range(300)]}
    value = status_value(document)
    read = json.loads(value)
    assert len(value) <= 32 * 1024
    assert (read["errors_count"], len(read["errors"]), read["state"]) == (300, 50, "rejected")

    wide = json.loads(status_value({"state": "x", "errors": ["ä" * 2000] * 50}))
    assert (wide["errors_count"], wide["cut"]) == (50, True)
    assert len(wide["errors"]) == 12


def test_a_status_that_fits_in_no_way_says_the_little_that_does():
    value = status_value(
        {"state": "applied", "applied": {f"/key/{n}": "x" * 100 for n in range(1000)}, "errors": []}
    )

    assert json.loads(value) == {"state": "applied", "errors_count": 0, "errors": [], "cut": True}


def test_a_summary_is_cut_to_its_limit():
    document = {
        "health": "ok",
        "worst_files": [{"path": "/var/log/" + "x" * 200, "lag": n} for n in range(50)],
    }
    value = summary_value(document)

    assert len(value) <= 2 * 1024
    assert [one["lag"] for one in json.loads(value)["worst_files"]] == list(range(6))


def test_the_old_api_gets_few_refreshes():
    assert (rhythm("v2").ttl_s, rhythm("v2").renew_s) == (180, 60.0)
    assert (rhythm("v3").ttl_s, rhythm("v3").renew_s) == (60, 20.0)
