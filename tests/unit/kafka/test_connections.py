# SPDX-License-Identifier: Apache-2.0
"""Faults on loopback. Connections use gevent's sockets, so servers in greenlets of this process will do."""

import errno
import os
import socket
import struct
import sys
from contextlib import ExitStack
from time import monotonic

import gevent
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from logagent.errors import BrokerUnavailable, KafkaError, ProtocolViolation
from logagent.kafka import connection as connection_module
from logagent.kafka import connections
from logagent.kafka.connections import Cluster, Connection
from logagent.kafka.metadata import BrokerAddress, TopicInfo
from logagent.kafka.requests import ProducerId, RequestWriter
from logagent.spawn import Spawner
from tests.unit.kafka import servers
from tests.unit.kafka.servers import (
    Broker,
    black_hole,
    metadata_body,
    refusing,
    says,
    serve,
    silent,
    trickling,
)

METADATA, API_VERSIONS, INIT_PRODUCER_ID = 3, 18, 22
FRAME = RequestWriter("test").api_versions()
SHORT_S = 0.15


def open_files():
    return len(os.listdir("/proc/self/fd"))


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


def cluster(*seeds, timeout_s=2.0):
    return Cluster(seeds, "test", timeout_s, Spawner(fail))


def call_fails(handler, kind, reason, timeout_s=SHORT_S):
    """Each way to fail ends in time, says why and leaves no socket."""
    with serve(handler) as address:
        before = open_files()
        connection = Connection(address, 1.0)
        started = monotonic()
        with pytest.raises(kind) as caught:
            connection.call(FRAME, timeout_s)
        assert monotonic() - started < timeout_s + 1.0
        assert caught.value.address == str(address)
        assert caught.value.reason == reason
        assert not connection.connected
        gevent.sleep(0.01)
        assert open_files() <= before + 1  # the server's end may close a little later


class TestConnecting:
    def test_refused(self):
        with (
            refusing() as address,
            pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:\d+: connection refused"),
        ):
            Connection(address, 1.0)

    @pytest.mark.parametrize("host", ["a..b", "x" * 70, "nul\0byte"])
    def test_what_is_no_host_name_is_an_unknown_host(self, host):
        with pytest.raises(BrokerUnavailable, match="unknown host"):
            Connection(BrokerAddress(host, 9092), 1.0)

    def test_a_host_that_nobody_knows_is_an_unknown_host(self, monkeypatch):
        def nobody_knows(*_args):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(connection_module.socket, "getaddrinfo", nobody_knows)
        with pytest.raises(
            BrokerUnavailable, match=r"kafka1:9092: unknown host \(Name or service not known\)"
        ):
            Connection(BrokerAddress("kafka1", 9092), 1.0)

    def test_a_resolver_that_hangs_is_cut_off(self, monkeypatch):
        monkeypatch.setattr(connection_module.socket, "getaddrinfo", lambda *_args: gevent.sleep(5))
        with pytest.raises(BrokerUnavailable, match=r"timed out after 0\.1 s"):
            Connection(BrokerAddress("kafka1", 9092), 0.1)

    @pytest.mark.parametrize("port", [-1, 0, 65_536 + 9092])
    def test_an_impossible_port_is_unavailable(self, port):
        with pytest.raises(BrokerUnavailable, match=f"{port} is not a port"):
            Connection(BrokerAddress("127.0.0.1", port), 1.0)

    def test_unreachable_network(self, monkeypatch):
        def unreachable(*_args):
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

        monkeypatch.setattr(connection_module.socket.socket, "connect", unreachable)
        before = open_files()
        with pytest.raises(BrokerUnavailable, match="network is unreachable"):
            Connection(BrokerAddress("127.0.0.1", 9092), 1.0)
        assert open_files() == before

    def test_black_hole_costs_the_time_out_and_leaves_no_socket(self):
        with black_hole() as address:
            before, started = open_files(), monotonic()
            with pytest.raises(BrokerUnavailable, match=r"timed out after 0\.15 s"):
                Connection(address, SHORT_S)
            assert SHORT_S * 0.9 < monotonic() - started < SHORT_S + 1.0
            assert open_files() == before

    def test_a_host_with_a_dead_address_is_reached_at_its_other_one(self, monkeypatch):
        with black_hole() as dead, serve(Broker({API_VERSIONS: b"ok"})) as good:
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", tuple(one)) for one in (dead, good)]
            monkeypatch.setattr(connection_module.socket, "getaddrinfo", lambda *_args: found)
            started = monotonic()
            connection = Connection(BrokerAddress("kafka1", 9092), 1.0)
            assert monotonic() - started < 0.9
            assert connection.call(FRAME, 1.0) == b"ok"
            connection.close()

    def test_ipv6_literals_work(self):
        try:
            with serve(Broker({API_VERSIONS: b"ok"}), host="::1") as address:
                assert str(address).startswith("[::1]:")
                connection = Connection(address, 1.0)
                assert connection.call(FRAME, 1.0) == b"ok"
                connection.close()
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")

    def test_small_packets_are_not_delayed_and_idle_connections_are_watched(self):
        with serve(silent) as address:
            connection = Connection(address, 1.0)
            assert connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sys.getsizeof(connection._buff) < 1000
            connection.close()

    def test_control_characters_of_a_host_do_not_reach_the_log(self):
        assert str(BrokerAddress("a\x1b[2J\n", 1)) == "a\\x1b[2J\\n:1"


class TestCalling:
    def test_answers_come_back_one_after_the_other(self):
        with serve(Broker({API_VERSIONS: b"x" * 300_000})) as address:
            connection = Connection(address, 1.0)
            assert [len(connection.call(FRAME, 2.0)) for _ in range(3)] == [300_000] * 3
            connection.close()

    def test_an_http_server(self):
        call_fails(
            says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            ProtocolViolation,
            "does not speak Kafka (answered HTTP)",
        )

    def test_a_tls_port(self):
        alert = b"\x15\x03\x03\x00\x02\x02\x50"
        call_fails(says(alert), ProtocolViolation, "does not speak plain Kafka (answered with a TLS alert)")

    @pytest.mark.parametrize("head", ["ff ff ff ff", "00 00 00 03", "01 00 00 01"])
    def test_garbage_in_place_of_a_size(self, head):
        reason = f"does not speak Kafka (answered the bytes {head})"
        call_fails(says(bytes.fromhex(head) + b"garbage"), ProtocolViolation, reason)

    def test_the_answer_to_another_request(self):
        other = struct.pack(">ii", 6, 77) + b"ok"
        call_fails(says(other), ProtocolViolation, "answered another request than the one sent")

    def test_silence(self):
        call_fails(silent, BrokerUnavailable, "timed out after 0.15 s")

    def test_half_an_answer_then_silence(self):
        call_fails(says(struct.pack(">i", 100) + b"half"), BrokerUnavailable, "timed out after 0.15 s")

    def test_half_a_size_then_silence(self):
        call_fails(says(b"\0\0"), BrokerUnavailable, "timed out after 0.15 s")

    def test_an_answer_that_trickles_for_ever(self):
        call_fails(trickling, BrokerUnavailable, "timed out after 0.15 s")

    def test_hanging_up_at_once(self):
        call_fails(lambda link: None, BrokerUnavailable, "the broker closed the connection")

    def test_hanging_up_in_the_middle_of_an_answer(self):
        def handle(link):
            servers.read_request(link)
            link.sendall(struct.pack(">i", 100) + b"half")

        call_fails(handle, BrokerUnavailable, "the broker closed the connection")

    def test_a_peer_that_does_not_read_is_bounded_too(self):
        with serve(lambda link: gevent.sleep(2)) as address:
            connection = Connection(address, 1.0)
            with pytest.raises(BrokerUnavailable, match="timed out"):
                connection.call(FRAME + bytes(50_000_000), SHORT_S)

    def test_a_closed_connection_says_so(self):
        with serve(silent) as address:
            connection = Connection(address, 1.0)
            connection.close()
            connection.close()
            with pytest.raises(BrokerUnavailable, match="the connection is closed"):
                connection.call(FRAME, 1.0)

    def test_closing_a_connection_from_outside_ends_the_call(self):
        with serve(silent) as address:
            connection = Connection(address, 1.0)
            gevent.spawn_later(0.02, connection.close)
            with pytest.raises(BrokerUnavailable):
                connection.call(FRAME, 5.0)

    def test_a_killed_greenlet_leaves_no_half_used_connection(self):
        with serve(silent) as address:
            connection = Connection(address, 1.0)
            greenlet = gevent.spawn(connection.call, FRAME, 5.0)
            gevent.sleep(0.02)
            greenlet.kill()
            assert not connection.connected


class TestMetadata:
    @pytest.mark.parametrize("bad", ["refusing", "black_hole", "silent", "http", "gone"])
    def test_a_bad_first_seed_costs_nothing(self, bad):
        with ExitStack() as stack:
            first = {
                "refusing": lambda: stack.enter_context(refusing()),
                "black_hole": lambda: stack.enter_context(black_hole()),
                "silent": lambda: stack.enter_context(serve(silent)),
                "http": lambda: stack.enter_context(serve(says(b"HTTP/1.1 400 Bad Request\r\n"))),
                "gone": lambda: stack.enter_context(serve(lambda link: None)),
            }[bad]()
            broker = Broker()
            good = stack.enter_context(serve(broker))
            broker.bodies[METADATA] = metadata_body({1: good}, {"t": (0, {0: 1, 1: -1})})
            started = monotonic()
            metadata = cluster(first, good, timeout_s=5.0).refresh(["t"])
            assert monotonic() - started < 1.0
            assert metadata.brokers == {1: good}
            assert metadata.topics == {"t": TopicInfo(0, {0: 1, 1: -1})}

    def test_a_topic_in_the_making_is_reported_with_its_code(self):
        broker = Broker()
        with serve(broker) as address:
            broker.bodies[METADATA] = metadata_body({1: address}, {"new": (3, {})})
            assert cluster(address).refresh(["new"]).topics == {"new": TopicInfo(3, {})}

    def test_no_topics_asks_for_none_instead_of_all(self):
        broker = Broker()
        with serve(broker) as address:
            broker.bodies[METADATA] = metadata_body({1: address})
            cluster(address).refresh([])
            assert broker.requests == [struct.pack(">hhih", 3, 1, 1, 4) + b"test" + struct.pack(">i", 0)]

    def test_a_known_broker_is_asked_before_the_seeds(self):
        seed, known = Broker(), Broker()
        with serve(seed) as seed_address, serve(known) as known_address:
            seed.bodies[METADATA] = known.bodies[METADATA] = metadata_body({1: known_address})
            one = cluster(seed_address)
            for _ in range(3):
                one.refresh([])
            assert (len(seed.requests), len(known.requests)) == (1, 2)

    def test_a_known_broker_that_hangs_is_overtaken_by_the_others(self):
        seed = Broker()
        with serve(seed) as seed_address, serve(silent) as hung:
            seed.bodies[METADATA] = metadata_body({1: hung})
            one = cluster(seed_address, timeout_s=5.0)
            one.refresh([])
            started = monotonic()
            one.refresh([])
            assert monotonic() - started < 2.0

    def test_a_slow_known_broker_still_counts(self):
        seed = Broker()
        slow = Broker(delay_s=0.5)
        with ExitStack() as stack:
            slow_address = stack.enter_context(serve(slow))
            slow.bodies[METADATA] = metadata_body({1: slow_address}, {"from-slow": (0, {})})
            with serve(seed) as seed_address:
                seed.bodies[METADATA] = metadata_body({1: slow_address})
                one = cluster(seed_address)
                one.refresh([])
            assert "from-slow" in one.refresh([]).topics
            assert len(slow.requests) == 1

    def test_a_moved_broker_is_followed(self):
        seed = Broker()
        with serve(seed) as seed_address:
            one = cluster(seed_address)
            for _ in range(2):
                with serve(Broker({API_VERSIONS: b"ok"})) as moved:
                    seed.bodies[METADATA] = metadata_body({1: moved})
                    one.refresh([])
                    connection = one.connect(1)
                    assert connection.address == moved
                    assert connection.call(FRAME, 1.0) == b"ok"
                    connection.close()

    def test_when_nobody_answers_each_address_is_named_with_its_reason(self):
        with refusing() as a, serve(silent) as b, serve(says(b"HTTP/1.1 400")) as c:
            before, started = open_files(), monotonic()
            with pytest.raises(BrokerUnavailable) as caught:
                cluster(a, b, c, timeout_s=0.3).refresh([])
            assert monotonic() - started < 1.3
            assert str(caught.value) == (
                f"kafka_addr: no broker answers ({a}: connection refused; {b}: {said(caught, b)}; "
                f"{c}: does not speak Kafka (answered HTTP))"
            )
            gevent.sleep(0.02)
            assert open_files() <= before + 2

    def test_the_text_stays_short_when_there_are_many_addresses(self):
        with ExitStack() as stack:
            seeds = [stack.enter_context(refusing()) for _ in range(30)]
            with pytest.raises(BrokerUnavailable, match=r"and 22 more\)$") as caught:
                cluster(*seeds).refresh([])
            assert len(str(caught.value)) < 1500

    def test_a_broker_without_brokers_is_no_answer(self):
        broker = Broker({METADATA: metadata_body({})})
        with (
            serve(broker) as address,
            pytest.raises(BrokerUnavailable, match="does not know its cluster yet"),
        ):
            cluster(address).refresh([])

    def test_old_metadata_stays_when_a_refresh_fails(self):
        broker = Broker()
        with serve(broker) as address:
            broker.bodies[METADATA] = metadata_body({1: address})
            one = cluster(address, timeout_s=0.3)
            found = one.refresh([])
        with pytest.raises(BrokerUnavailable):
            one.refresh([])
        assert one.metadata is found

    def test_losers_of_the_race_hang_up(self):
        accepted, hung_up = Event(), Event()

        def loser(link):
            accepted.set()
            silent(link)
            hung_up.set()

        winner = Broker()

        def slow_winner(link):
            accepted.wait()
            winner(link)

        with serve(slow_winner) as winner_address, serve(loser) as loser_address:
            winner.bodies[METADATA] = metadata_body({1: winner_address})
            cluster(loser_address, winner_address, timeout_s=20.0).refresh([])
            assert hung_up.wait(5.0)

    def test_an_advertised_host_that_nobody_knows_fails_when_connecting(self):
        broker = Broker()
        with serve(broker) as address:
            broker.bodies[METADATA] = metadata_body({1: BrokerAddress("no..where", 9092)})
            one = cluster(address)
            one.refresh([])
            with pytest.raises(BrokerUnavailable, match=r"no\.\.where:9092: unknown host"):
                one.connect(1)

    def test_a_broker_that_metadata_does_not_list_is_unavailable(self):
        with pytest.raises(BrokerUnavailable, match="broker 7: the cluster's metadata does not list it"):
            cluster().connect(7)

    @given(st.binary(max_size=120) | st.just(metadata_body({1: BrokerAddress("h", 1)}, {"t": (0, {0: 1})})))
    def test_garbage_is_a_kafka_error_and_nothing_else(self, data):
        for cut in (0, 1, 7):
            try:
                connections._parse_metadata(data[: len(data) - cut], "b:1")
            except KafkaError:
                continue


def said(caught, address):
    """Two clocks run out at the same moment; either may be the one that is reported."""
    one, other = "timed out after 0.3 s", "no answer within 0.3 s"
    return one if f"{address}: {one}" in str(caught.value) else other


class TestProducerId:
    def test_it_comes_from_any_broker_that_gives_one(self):
        loading = Broker({INIT_PRODUCER_ID: struct.pack(">ihqh", 0, 14, -1, -1)})
        good = Broker({INIT_PRODUCER_ID: struct.pack(">ihqh", 0, 0, 4000, 0)})
        with serve(loading) as a, serve(good) as b:
            assert cluster(a, b).init_producer_id() == ProducerId(4000, 0)

    def test_a_cluster_that_still_loads_is_unavailable_and_gives_no_substitute(self):
        broker = Broker({INIT_PRODUCER_ID: struct.pack(">ihqh", 0, 14, -1, -1)})
        with serve(broker) as address, pytest.raises(BrokerUnavailable, match="COORDINATOR_LOAD_IN_PROGRESS"):
            cluster(address).init_producer_id()

    def test_a_known_broker_is_asked_alone(self):
        broker, seed = Broker(), Broker()
        with serve(broker) as address, serve(seed) as seed_address:
            broker.bodies[INIT_PRODUCER_ID] = struct.pack(">ihqh", 0, 0, 1, 0)
            seed.bodies[METADATA] = metadata_body({1: address})
            one = cluster(seed_address)
            one.refresh([])
            one.init_producer_id()
            assert (len(seed.requests), len(broker.requests)) == (1, 1)


def test_api_versions_are_read_over_a_connection():
    with serve(Broker({API_VERSIONS: struct.pack(">hihhh", 0, 1, 1, 4, 18)})) as address:
        connection = Connection(address, 1.0)
        assert cluster(address).api_versions(connection).kafka_line == "4.x"
        connection.close()
