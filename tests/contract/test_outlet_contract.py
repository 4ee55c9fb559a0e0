# SPDX-License-Identifier: Apache-2.0
"""What every outlet promises, in memory and on real brokers."""

import time

import gevent
import pytest

from logagent.kafka.record_batch import encode_header_block
from logagent.pipeline.batch import Segment
from logagent.pipeline.outlet import Route
from tests.contract.outlets import ILLEGAL, MemoryWorld, NativeWorld
from tests.contract.worlds import SPAWNER, eventually
from tests.unit.pipeline.sources import Source

pytestmark = pytest.mark.timeout(60)

MIB = 1024 * 1024
LONG_S = 30.0
SOON_S = 10.0


@pytest.fixture(params=["memory", "kafka_39", pytest.param("kafka_4x", marks=pytest.mark.soak)])
def world(request, topic, tmp_path):
    if request.param == "memory":
        made = MemoryWorld(topic)
    else:
        made = NativeWorld(topic, request.getfixturevalue(request.param), tmp_path)
    yield made
    made.close()


@pytest.fixture
def make(world):
    def make(*, budget_bytes=16 * MIB, linger_s=0.01, batch_bytes=MIB):
        return world.open(budget_bytes=budget_bytes, linger_s=linger_s, batch_bytes=batch_bytes)

    return make


@pytest.fixture
def outlet(make):
    return make()


def segment(source, *lines, **more):
    begin = source.acks.end_offset
    return Segment(source, begin, begin + sum(map(len, lines)) + len(lines), lines, **more)


def put(outlet, route, source, *lines, **more):
    assert outlet.wait_room(route, SOON_S) == ""
    outlet.put(route, segment(source, *lines, **more))


def acked(*sources):
    eventually(
        lambda: not any(source.acks.pending for source in sources), SOON_S, "everything is acknowledged"
    )


def values(records):
    return [one.value for one in records]


def test_what_is_put_arrives_once_and_its_position_moves_to_the_end(world, outlet):
    source, route = Source(), Route(world.topic, 1)
    put(outlet, route, source, b"one", b"two", b"", b"four")
    acked(source)
    assert source.acks.acked_offset == len(b"one\ntwo\n\nfour\n")
    assert sum(source.acknowledged) == 4
    assert {number: values(found) for number, found in world.records().items()} == {
        0: [],
        1: [b"one", b"two", b"", b"four"],
        2: [],
    }


def test_lines_of_a_route_stay_in_order_and_files_in_one_partition_do_too(world, outlet):
    sources = {label: Source(label=label) for label in (b"a", b"b", b"c")}
    routes = {b"a": Route(world.topic, 0), b"b": Route(world.topic, 0), b"c": Route(world.topic, 2)}
    for number in range(200):
        for label, source in sources.items():
            put(outlet, routes[label], source, b"%s %d" % (label, number))
    acked(*sources.values())
    found = world.records()
    for label, number in ((b"a", 0), (b"b", 0), (b"c", 2)):
        own = [value for value in values(found[number]) if value.startswith(label)]
        assert own == [b"%s %d" % (label, n) for n in range(200)]
    assert sum(map(len, found.values())) == 600


def test_a_route_keeps_the_partition_that_it_was_given_first(world, outlet):
    source, route = Source(), Route(world.topic, 5)
    put(outlet, route, source, b"one")
    assert route.partition == 5 % 3
    route.partition_key = 0
    put(outlet, route, source, b"two")
    acked(source)
    assert values(world.records()[2]) == [b"one", b"two"]


def test_key_and_headers_arrive_with_their_line(world, outlet):
    source = Source()
    blocks = [encode_header_block([(b"offset", b"%d" % number)]) for number in range(2)]
    put(outlet, Route(world.topic, 0), source, b"one", b"two", key=b"web", headers=blocks)
    acked(source)
    assert world.records()[0] == [(b"web", b"one", blocks[0]), (b"web", b"two", blocks[1])]


def test_no_position_moves_before_its_lines_have_arrived(world, outlet):
    source, route = Source(), Route(world.topic, 0)
    put(outlet, route, source, b"before")
    acked(source)
    world.hold()
    put(outlet, route, source, b"held up")
    gevent.sleep(0.3)  # long enough for what would move it
    assert source.acks.acked_offset == len(b"before\n")
    assert not outlet.empty
    world.let_go()
    acked(source)
    assert source.acks.acked_offset == len(b"before\nheld up\n")
    assert values(world.records()[0]) == [b"before", b"held up"]


def test_everything_acknowledged_is_empty(outlet, world):
    assert outlet.empty
    source = Source()
    put(outlet, Route(world.topic, 0), source, b"line")
    assert not outlet.empty
    acked(source)
    eventually(lambda: outlet.empty, SOON_S, "it is empty")
    assert outlet.memory_bytes == 0


def test_room_ends_with_the_budget_and_comes_back_with_acknowledgements(world, make):
    outlet = make(budget_bytes=MIB)
    source, route, line = Source(), Route(world.topic, 0), b"x" * 100_000
    put(outlet, route, source, b"first")
    acked(source)
    world.hold()
    taken = 0
    while outlet.wait_room(route, 0.2) == "":
        outlet.put(route, segment(source, line))
        taken += 1
    assert 0 < taken <= 12
    begun = time.monotonic()
    assert world.topic in outlet.wait_room(route, 0.2)
    assert 0.15 < time.monotonic() - begun < 2
    waiting = SPAWNER.once("waiting", lambda: told.append(outlet.wait_room(route, SOON_S)))
    told = []
    gevent.sleep(0.05)
    assert told == []
    world.let_go()
    waiting.join(SOON_S)
    assert told == [""]
    acked(source)
    assert values(world.records()[0]) == [b"first", *[line] * taken]


def test_a_partition_that_holds_nothing_takes_a_chunk_although_its_neighbour_used_up_the_budget(world, make):
    outlet = make(budget_bytes=MIB)
    greedy, modest, route = Source(label=b"greedy"), Source(label=b"modest"), Route(world.topic, 0)
    put(outlet, route, greedy, b"first")
    acked(greedy)
    world.hold()
    while outlet.wait_room(route, 0.2) == "":
        outlet.put(route, segment(greedy, b"x" * 100_000))
    other = Route(world.topic, 1)
    assert outlet.has_room(other)
    outlet.put(other, segment(modest, b"little"))
    world.let_go()
    acked(greedy, modest)
    assert values(world.records()[1]) == [b"little"]


def test_flush_does_not_wait_for_the_linger(world, make):
    outlet = make(linger_s=LONG_S)
    source, route = Source(), Route(world.topic, 0)
    put(outlet, route, source, b"line")
    outlet.flush()
    begun = time.monotonic()
    acked(source)
    assert time.monotonic() - begun < SOON_S
    put(outlet, route, source, b"later")
    acked(source)
    assert values(world.records()[0]) == [b"line", b"later"]


def test_a_full_batch_does_not_wait_for_the_linger(world, make):
    outlet = make(linger_s=LONG_S, batch_bytes=100_000)
    source, route = Source(), Route(world.topic, 0)
    for number in range(30):
        put(outlet, route, source, b"%d " % number + b"x" * 20_000)
    eventually(lambda: sum(source.acknowledged) >= 20, SOON_S, "full batches are delivered")
    outlet.flush()
    acked(source)
    assert [int(value.split()[0]) for value in values(world.records()[0])] == list(range(30))


def test_a_segment_without_lines_moves_the_position_behind_those_before_it(world, outlet):
    source, route = Source(), Route(world.topic, 0)
    put(outlet, route, source, b"first")
    acked(source)
    world.hold()
    put(outlet, route, source, b"line")
    outlet.put(route, Segment(source, 11, 500, ()))
    gevent.sleep(0.1)
    assert source.acks.acked_offset == 6
    world.let_go()
    acked(source)
    assert source.acks.acked_offset == 500


def test_a_buried_line_is_put_aside_and_its_position_moves(world, outlet):
    source, route = Source(), Route(world.topic, 0)
    put(outlet, route, source, b"good")
    acked(source)
    outlet.bury(route, segment(source, b"beginning of a long one"), "too long", 1000)
    put(outlet, route, source, b"also good")
    acked(source)
    assert values(world.records()[0]) == [b"good", b"also good"]
    assert world.buried() == [b"beginning of a long one"]


def test_a_topic_that_cannot_be_has_no_room_and_the_reason_names_it(outlet):
    route = Route(ILLEGAL, 0)
    assert not outlet.has_room(route)
    eventually(lambda: ILLEGAL in outlet.wait_room(route, 0.2), SOON_S, "the reason names the topic")
    assert not outlet.has_room(route)


def test_after_a_stop_nothing_moves_any_more(world, outlet):
    source, route = Source(), Route(world.topic, 0)
    put(outlet, route, source, b"first")
    acked(source)
    world.hold()
    put(outlet, route, source, b"unsent")
    gevent.sleep(0.05)
    outlet.stop()
    world.let_go()
    gevent.sleep(0.3)
    assert source.acks.acked_offset == len(b"first\n")
