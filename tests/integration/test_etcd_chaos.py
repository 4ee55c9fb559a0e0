# SPDX-License-Identifier: Apache-2.0
"""Thirty supervisors on three real members that are killed, frozen, stopped, compacted and flooded."""

import itertools
import json
import random
import signal
import sys
import time

import pytest

from tests.integration.etcd_chaos import SUPERVISORS
from tests.support import ROOT
from tests.support.etcd import ETCD_35, ETCD_NEW, EtcdMissing, find_binaries
from tests.support.processes import Child, tail
from tests.support.waiting import wait_until

CALM_S = 5
SHORT_S, LONG_S = 30, 120
SHORT_FLOOD, LONG_FLOOD = 1000, 3000
FAILURE_S = 7.0
FLOOD_S = 20.0  # a change in the midst of thousands, while a member dies, on a busy machine
IDLE_SHARE = 0.001


def newest():
    try:
        find_binaries(ETCD_NEW)
    except EtcdMissing:
        return ETCD_35
    return ETCD_NEW


class Chaos:
    """Faults at a cluster while a child process with supervisors and a writer runs on it."""

    def __init__(self, cluster, place, flood, seed):
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.faults = []  # name, begun, over
        self.victim = None
        self.floods = 0
        self._out, self._err = place / "report.json", place / "chaos.log"
        argv = [sys.executable, "-m", "tests.integration.etcd_chaos", "chaos", str(place), str(flood)]
        self.child = Child([*argv, *cluster.addresses], stdout=self._out, stderr=self._err, cwd=ROOT)

    def run(self, seconds):
        """Each of the first faults once, then all in turn until the time is over."""
        first = [self.kill9, self.compact, self.freeze, self.kill_leader, self.sigterm, self.flood]
        others = [self.freeze_leader, self.flood_and_kill9, *first]
        until = time.monotonic() + seconds
        for number, fault in enumerate(itertools.chain(first, itertools.cycle(others))):
            if number >= len(first) and time.monotonic() >= until:
                return
            begun = time.monotonic()
            fault()
            self.cluster.wait_ready()
            self.faults.append((fault.__name__, begun, time.monotonic()))
            time.sleep(1)

    def _follower(self):
        """Not the one that was gone last: nobody is connected to that."""
        followers = [one for one in self.cluster.followers() if one is not self.victim]
        self.victim = self.rng.choice(followers)
        return self.victim

    def _back(self, node, after_s):
        time.sleep(after_s)
        node.start()

    def kill9(self):
        node = self._follower()
        node.kill9()
        self._back(node, 2)

    def sigterm(self):
        node = self._follower()
        node.stop()
        self._back(node, 2)

    def kill_leader(self):
        self.victim = self.cluster.leader()
        self.victim.kill9()
        self._back(self.victim, 3)

    def freeze(self):
        self._freeze(self._follower())

    def freeze_leader(self):
        self.victim = self.cluster.leader()
        self._freeze(self.victim)

    def _freeze(self, node):
        node.freeze()
        time.sleep(FAILURE_S + 1)
        node.thaw()

    def compact(self):
        self.cluster.leader().compact()
        time.sleep(1)

    def flood(self):
        self._begin_flood()
        self._end_flood()

    def flood_and_kill9(self):
        self._begin_flood()
        self.kill9()
        self._end_flood()

    def _begin_flood(self):
        self.floods += 1
        self.child.signal(signal.SIGUSR1)

    def _end_flood(self):
        wait_until(
            lambda: self._err.read_text().count("The flood is over.") == self.floods, 90, "the flood ends"
        )

    def report(self):
        self.child.signal(signal.SIGTERM)
        assert self.child.wait(90) == 0, tail(self._err, 20)
        return json.loads(self._out.read_text().splitlines()[-1])

    def close(self):
        self.child.kill()


def percentile(samples, share):
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def latencies(report, begun_s, over_s, since):
    """How long each number written in this time took to each supervisor; `since` 1: its begin, 2: its answer."""
    found = []
    written = [one for one in report["written"] if begun_s <= one[1] < over_s]
    for published in report["published"]:
        ahead = iter(published)
        value, at_s = next(ahead)
        for one in written:
            while value < one[0]:
                value, at_s = next(ahead)
            found.append(max(0.0, at_s - one[since]))
    return found


def check(report, chaos, calm):
    assert report["failures"] == []
    assert report["lasts"] == [report["last"]] * SUPERVISORS
    for published in report["published"]:
        values = [value for value, _ in published]
        assert values == sorted(set(values)), "an older value came after a newer one"

    at_rest = latencies(report, *calm, since=1)
    print(f"\n{report['last']} writes, {report['retries']} retried, {report['lists']:.0f} lists")
    print(
        f"at rest: {len(at_rest)} samples, p50 {percentile(at_rest, 0.5):.3f} s, p99 {percentile(at_rest, 0.99):.3f} s"
    )
    worst_s, flooded_s = 0.0, 0.0
    for name, begun_s, over_s in chaos.faults:
        found = latencies(report, begun_s, over_s, since=2)
        if found:
            if name.startswith("flood"):
                flooded_s = max(flooded_s, *found)
            else:
                worst_s = max(worst_s, *found)
            print(
                f"{name}: {len(found)} samples, p50 {percentile(found, 0.5):.3f} s, worst {max(found):.3f} s"
            )
    assert percentile(at_rest, 0.5) <= 0.5
    assert percentile(at_rest, 0.99) <= 1.0  # thirty list at the same moment in one process
    assert worst_s <= FAILURE_S
    assert flooded_s <= FLOOD_S
    assert any(flood for _, _, _, flood in report["written"]), "there was no flood"

    before, running, after = report["sockets"]
    assert running - before <= 2 * SUPERVISORS + 2
    assert after == before
    assert report["greenlets"][1] <= report["greenlets"][0]


def run(cluster, place, seconds, flood):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chaos = Chaos(cluster, place, flood, seed)
    try:
        time.sleep(2)
        calm = time.monotonic(), time.monotonic() + CALM_S - 1
        time.sleep(CALM_S)
        chaos.run(seconds - 2 - CALM_S)
        check(chaos.report(), chaos, calm)
    finally:
        chaos.close()


def test_all_converge_through_everything(etcd_cluster, tmp_path):
    """The members tell of progress every ten minutes, as they do unless somebody says otherwise."""
    run(etcd_cluster(newest()), tmp_path, SHORT_S, SHORT_FLOOD)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("progress_s", [None, 1], ids=["silent", "telling"])
@pytest.mark.parametrize("version", [ETCD_35, ETCD_NEW])
def test_all_converge_through_two_minutes_of_everything(etcd_cluster, tmp_path, version, progress_s):
    run(etcd_cluster(version, progress_s=progress_s), tmp_path, LONG_S, LONG_FLOOD)


@pytest.mark.soak
@pytest.mark.timeout(200)
def test_nothing_to_do_costs_next_to_nothing(etcd_cluster, tmp_path):
    cluster = etcd_cluster(newest())
    argv = [
        sys.executable,
        "-m",
        "tests.integration.etcd_chaos",
        "idle",
        str(tmp_path),
        "90",
        *cluster.addresses,
    ]
    child = Child(argv, stdout=tmp_path / "report.json", stderr=tmp_path / "idle.log", cwd=ROOT)
    try:
        assert child.wait(150) == 0
    finally:
        child.kill()
    share = json.loads((tmp_path / "report.json").read_text())["cpu"]
    print(f"\nidle: {share:.3%} of a core")
    assert share <= IDLE_SHARE
