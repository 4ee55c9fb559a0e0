# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest

from logagent.control.members import Members
from logagent.errors import EtcdRefused, MemberUnavailable, OutcomeUnknown
from logagent.stores.store import Access
from tests.unit.control.twins import ADDRESSES

ACCESS = Access(5.0)


class Store:
    def __init__(self, api, address):
        self.api = api
        self.member = str(address)
        self.closed = False

    def close(self):
        self.closed = True


class Cluster:
    """Opens stores and detects APIs, and remembers what it was asked."""

    def __init__(self, found="v3", warning=""):
        self.found = SimpleNamespace(api=found, warning=warning)
        self.detected = []
        self.stores = []

    def open(self, api, address, access):
        assert access is ACCESS
        self.stores.append(Store(api, address))
        return self.stores[-1]

    def detect(self, address, access):
        self.detected.append(str(address))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def members(self, api="auto", rand=0.0, count=3):
        return Members(ADDRESSES[:count], ACCESS, api, self.open, self.detect, rand=lambda: rand)


@pytest.fixture
def cluster():
    return Cluster()


@pytest.mark.parametrize(("rand", "first"), [(0.0, "e1"), (0.34, "e2"), (0.999, "e3"), (1.0, "e1")])
def test_a_fleet_begins_at_different_members(cluster, rand, first):
    assert cluster.members(rand=rand).current.host == first


def test_all_members_have_their_turn(cluster):
    members = cluster.members(rand=0.5)

    assert [members.next().host for _ in range(4)] == ["e3", "e1", "e2", "e3"]


def test_the_api_is_detected_once(cluster):
    cluster.found = SimpleNamespace(api="v2", warning="there are two copies")
    members = cluster.members()
    first = members.open()
    members.next()
    second = members.open()

    assert cluster.detected == ["e1:2379"]
    assert (first.api, second.api, second.member) == ("v2", "v2", "e2:2379")
    assert (members.api, members.warning) == ("v2", "there are two copies")


def test_siblings_share_the_api_and_go_their_own_ways(cluster):
    members = cluster.members()
    other = members.sibling()
    members.next()
    members.open()

    assert other.open().member == "e1:2379"
    assert cluster.detected == ["e2:2379"]


def test_what_could_not_be_detected_is_detected_at_the_next_member(cluster):
    cluster.found = MemberUnavailable("e1:2379", "refused")
    members = cluster.members()
    with pytest.raises(MemberUnavailable):
        members.open()
    cluster.found = SimpleNamespace(api="v3", warning="")
    members.next()

    assert members.open().api == "v3"
    assert cluster.detected == ["e1:2379", "e2:2379"]


def test_a_remembered_api_is_not_detected_again(cluster):
    members = cluster.members()
    members.remember("v2")

    assert members.open().api == "v2"
    assert cluster.detected == []


def test_the_configured_api_beats_the_remembered_one(cluster):
    members = cluster.members("v3")
    members.remember("v2")

    assert members.open().api == "v3"
    assert cluster.detected == []


def test_a_command_takes_the_first_member_that_answers_and_stays_there(cluster):
    members = cluster.members("v3")

    def operation(store):
        if store.member == "e1:2379":
            raise MemberUnavailable(store.member, "refused")
        return store.member

    assert members.first_answering(operation) == "e2:2379"
    assert members.first_answering(operation) == "e2:2379"
    assert len(cluster.stores) == 3
    assert all(store.closed for store in cluster.stores)


def test_a_write_of_unknown_outcome_is_not_tried_elsewhere(cluster):
    def operation(store):
        raise OutcomeUnknown("no answer")

    with pytest.raises(OutcomeUnknown):
        cluster.members("v3").first_answering(operation)
    assert [store.closed for store in cluster.stores] == [True]


def test_a_refusal_is_told_rather_than_a_member_that_is_away(cluster):
    def operation(store):
        if store.member == "e2:2379":
            raise EtcdRefused(store.member, "wrong password")
        raise MemberUnavailable(store.member, "refused")

    with pytest.raises(EtcdRefused, match="e2:2379: wrong password"):
        cluster.members("v3").first_answering(operation)


def test_when_nobody_answers_all_are_named(cluster):
    def operation(store):
        raise MemberUnavailable(store.member, "timed out" if store.member == "e2:2379" else "refused")

    with pytest.raises(MemberUnavailable) as caught:
        cluster.members("v3").first_answering(operation)
    said = "e1:2379, e2:2379, e3:2379: no member can be reached (refused; timed out)"
    assert str(caught.value) == said


def test_a_single_member_says_it_in_its_own_words(cluster):
    def operation(store):
        raise MemberUnavailable(store.member, "refused")

    with pytest.raises(MemberUnavailable, match=r"^e1:2379: refused$"):
        cluster.members("v3", count=1).first_answering(operation)


def test_a_detection_that_fails_counts_as_a_member_that_is_away(cluster):
    cluster.found = EtcdRefused("e1:2379", "this is not Etcd")

    with pytest.raises(EtcdRefused, match="this is not Etcd"):
        cluster.members().first_answering(lambda store: store)
    assert len(cluster.detected) == 3


def gone_v2(store):
    if store.api == "v2":
        raise EtcdRefused(store.member, "does not serve the v2 API")
    return store.api


def test_a_remembered_v2_is_found_out_anew_when_the_server_does_not_serve_it_any_more(cluster):
    members = cluster.members()
    members.remember("v2")

    assert members.first_answering(gone_v2) == "v3"
    assert members.api == "v3"
    assert cluster.detected == ["e1:2379"]


def test_a_v2_that_refuses_for_another_reason_ends_in_its_words(cluster):
    cluster.found = SimpleNamespace(api="v2", warning="")
    with pytest.raises(EtcdRefused, match="does not serve"):
        cluster.members().first_answering(gone_v2)
    assert len(cluster.stores) == 4, "each member once, and the first one once more"


@pytest.mark.parametrize("api", ["v2", "v3"])
def test_a_configured_api_and_v3_are_never_doubted(cluster, api):
    configured = cluster.members(api=api)
    assert not configured.doubt(EtcdRefused("e1:2379", "no"))
    remembered = cluster.members()
    remembered.remember("v3")
    assert not remembered.doubt(EtcdRefused("e1:2379", "no"))
    remembered = cluster.members()
    remembered.remember("v2")
    assert not remembered.doubt(MemberUnavailable("e1:2379", "gone"))
    assert remembered.api == "v2"
