# SPDX-License-Identifier: Apache-2.0
"""A full dead-letter file stops the service that needs it, and nobody else."""

from collections.abc import Callable

import pytest

from logagent.pipeline.outlet import Route
from logagent.senders import graveyard
from logagent.senders.dead_letter import remove
from tests.unit.pipeline.sources import Source
from tests.unit.senders.conftest import Rig
from tests.unit.sources.twins import until

WEB, SHOP = Route("logs", 0, service="web"), Route("logs", 0, service="shop")


@pytest.fixture
def full(make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    """A sender whose dead-letter file has room for one record, and holds one of the service web."""
    monkeypatch.setattr(graveyard, "ROOM_AGAIN_S", 0.01)

    def make(when_full: str) -> Rig:
        rig = make_rig(dead_letter_max_bytes=300, dead_letter_full=when_full)
        rig.cluster.judge = lambda sent: 87 if b"bad" in sent.values else None
        source = Source()
        rig.put(source, b"bad", route=WEB)
        rig.until_acked(source)
        return rig

    return make


def test_a_full_dead_letter_file_stops_its_service_and_nobody_else(full: Callable[..., Rig]) -> None:
    rig = full("block")
    web, shop = Source(), Source(service="shop")
    rig.put(web, b"bad", route=WEB)
    until(lambda: not rig.sender.has_room(WEB))
    assert "has reached dead_letter_max_bytes = 300" in rig.sender.wait_room(WEB, 0.01)
    assert any("its services wait: web" in reason for reason in rig.sender.reasons.all())

    rig.put(shop, b"good", route=SHOP)
    rig.until_acked(shop)
    assert rig.cluster.log("logs", 0).values == [b"good"]
    assert web.acks.acked_offset == 0

    remove(rig.dead_letter, lambda _id: True)
    rig.until_acked(web)
    rig.put(web, b"more", route=WEB)
    rig.until_acked(web)
    assert rig.sender.reasons.all() == []
    assert len(rig.told.of("dead_letter_room")) == 1


def test_what_finds_no_room_is_dropped_if_that_is_wanted(full: Callable[..., Rig]) -> None:
    rig = full("drop")
    web = Source()
    rig.put(web, b"bad", route=WEB)
    rig.put(web, b"good", route=WEB)
    rig.until_acked(web)
    assert len(rig.told.of("record_dropped")) == 1
    assert rig.cluster.log("logs", 0).values == [b"good"]
