# SPDX-License-Identifier: Apache-2.0
"""What a cluster is asked about itself, its topics and its producers."""

import struct

import pytest

from logagent.errors import BrokerUnavailable, ProtocolViolation
from logagent.kafka.connections import Connection
from logagent.kafka.metadata import BrokerAddress, Described, PartitionView, TopicInfo, TopicView
from logagent.kafka.requests import API_VERSIONS, DESCRIBE_CONFIGS, DESCRIBE_PRODUCERS, METADATA
from tests.unit.kafka.servers import (
    Broker,
    configs_body,
    described_body,
    metadata_body,
    refusing,
    serve,
    versions_body,
)
from tests.unit.kafka.test_connections import cluster
from tests.unit.kafka.test_requests import FOUND, PRODUCERS, producers_answer

VIEW = TopicView(0, {0: PartitionView(1, 4, (1,), (1,))})
EXPIRATION = "producer.id.expiration.ms"


def asked(broker, api_key):
    """The requests with this key, without the keys of the others."""
    return [one for one in broker.requests if struct.unpack_from(">h", one) == (api_key,)]


def new_broker(greatest=13):
    return Broker({API_VERSIONS: versions_body({METADATA: (0, greatest), DESCRIBE_PRODUCERS: (0, 0)})})


@pytest.mark.parametrize(("greatest", "version"), [(13, 7), (7, 7), (5, 5), (4, 4)])
def test_topics_are_described_in_the_version_that_the_broker_knows(greatest, version):
    broker = new_broker(greatest)
    with serve(broker) as address:
        expected = Described("c", {1: address}, {"logs": VIEW})
        broker.bodies[METADATA] = described_body(expected, version)
        found = cluster(address).describe(["logs"])
        assert (found.cluster_id, found.brokers, found.topics["logs"].leaders) == ("c", {1: address}, {0: 1})
        (question,) = asked(broker, METADATA)
        assert struct.unpack_from(">h", question, 2) == (version,)


@pytest.mark.parametrize("create", [False, True])
def test_topics_are_created_only_if_that_is_wanted(create):
    broker = new_broker()
    with serve(broker) as address:
        broker.bodies[METADATA] = described_body(Described("c", {1: address}, {}), 7)
        cluster(address).describe(["logs"], create=create)
        (question,) = asked(broker, METADATA)
        assert question[-1] == create


def test_a_description_keeps_leaders_and_takes_over_brokers():
    broker, seed = new_broker(), Broker()
    with serve(broker) as address, serve(seed) as seed_address:
        seed.bodies[METADATA] = metadata_body({1: address}, {"other": (0, {0: 1})})
        one = cluster(seed_address)
        one.refresh(["other"])
        moved = BrokerAddress("moved", 1)
        broker.bodies[METADATA] = described_body(Described("c", {1: address, 2: moved}, {"logs": VIEW}), 7)
        one.describe(["logs"])
        assert one.metadata.topics == {"other": TopicInfo(0, {0: 1})}
        assert one.metadata.brokers == {1: address, 2: moved}


def test_a_broker_that_is_too_old_is_named_and_another_one_answers():
    old, good = new_broker(3), new_broker()
    with serve(old) as old_address, serve(good) as address:
        good.bodies[METADATA] = described_body(Described("c", {1: address}, {}), 7)
        assert cluster(old_address, address).describe([]).cluster_id == "c"
        with pytest.raises(BrokerUnavailable, match=r"is older than Kafka 0\.11"):
            cluster(old_address).describe([])


def test_a_broker_that_knows_nobody_is_unavailable_and_brokers_stay():
    broker, seed = new_broker(), Broker()
    with serve(broker) as address, serve(seed) as seed_address:
        seed.bodies[METADATA] = metadata_body({1: address})
        broker.bodies[METADATA] = described_body(Described("c", {}, {}), 7)
        one = cluster(seed_address)
        known = one.refresh([])
        with pytest.raises(BrokerUnavailable, match="does not know its cluster yet"):
            one.describe([])
        assert one.metadata is known


@pytest.mark.parametrize(("code", "values", "least"), [(0, {"min.insync.replicas": "2"}, 2), (29, {}, None)])
def test_the_least_number_of_replicas_is_told_or_not(code, values, least):
    broker = Broker({DESCRIBE_CONFIGS: configs_body(code, values)})
    with serve(broker) as address:
        assert cluster(address).least_in_sync("logs") == least
        assert b"\2\0\4logs" in broker.requests[0]


class TestExpiration:
    def ask(self, *answers):
        """Brokers 1, 2... with these answers; None: nobody there."""
        brokers = [Broker({DESCRIBE_CONFIGS: answer}) for answer in answers if answer is not None]
        with serve(brokers[0]) as first, serve(brokers[-1]) as last, refusing() as dead:
            addresses = {1: first, 2: last if len(brokers) > 1 else dead}
            brokers[0].bodies[METADATA] = metadata_body(addresses)
            one = cluster(first)
            one.refresh([])
            found = one.producer_expiration_ms()
        questions = [asked(broker, DESCRIBE_CONFIGS) for broker in brokers]
        assert [len(one) for one in questions] == [1] * len(brokers)
        assert all(b"\4\0\1%d" % number in one[0] for number, one in enumerate(questions, 1))
        return found

    def test_each_broker_is_asked_about_itself_and_the_least_counts(self):
        assert self.ask(configs_body(0, {EXPIRATION: "500"}), configs_body(0, {EXPIRATION: "70"})) == 70

    def test_it_is_unknown_if_one_does_not_tell(self):
        assert self.ask(configs_body(0, {EXPIRATION: "500"}), configs_body(31, {})) is None
        assert self.ask(configs_body(0, {}), configs_body(0, {EXPIRATION: "500"})) is None

    def test_a_broker_that_is_down_is_left_out(self):
        assert self.ask(configs_body(0, {EXPIRATION: "500"}), None) == 500

    def test_without_any_answer_the_brokers_are_unavailable(self):
        seed = Broker()
        with serve(seed) as address, refusing() as dead:
            seed.bodies[METADATA] = metadata_body({1: dead})
            one = cluster(address)
            one.refresh([])
            with pytest.raises(BrokerUnavailable, match="connection refused"):
                one.producer_expiration_ms()


class TestProducers:
    def test_one_partition_is_described(self):
        with serve(Broker({DESCRIBE_PRODUCERS: producers_answer(PRODUCERS[:1])})) as address:
            assert cluster(address).describe_producers(Connection(address, 1.0), "logs", 0) == FOUND[0]

    @pytest.mark.parametrize("given", [PRODUCERS, PRODUCERS[1:], []])
    def test_an_answer_about_others_is_refused(self, given):
        with (
            serve(Broker({DESCRIBE_PRODUCERS: producers_answer(given)})) as address,
            pytest.raises(ProtocolViolation, match="another partition than the one asked for"),
        ):
            cluster(address).describe_producers(Connection(address, 1.0), "logs", 0)

    @pytest.mark.parametrize(("ranges", "able"), [({DESCRIBE_PRODUCERS: (0, 0)}, True), ({0: (0, 9)}, False)])
    def test_a_broker_is_asked_once_per_connection_what_it_knows(self, ranges, able):
        broker = Broker({API_VERSIONS: versions_body(ranges)})
        with serve(broker) as address:
            one = cluster(address)
            connection = Connection(address, 1.0)
            assert [one.knows_describe_producers(connection) for _ in range(3)] == [able] * 3
            assert len(broker.requests) == 1
            one.knows_describe_producers(Connection(address, 1.0))
            assert len(broker.requests) == 2
