# SPDX-License-Identifier: Apache-2.0
"""A full dead-letter file holds up the services that need it, or loses what they put there, and says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from logagent.backoff import Backoff
from logagent.ops.events import Events
from logagent.ops.metrics import Metrics
from logagent.pipeline.batch import Segment
from logagent.senders import graveyard
from logagent.senders.dead_letter import letters, remove
from logagent.senders.graveyard import Graveyard
from logagent.spawn import Spawner
from tests.unit.pipeline.sources import Source


def fail(name: str, error: BaseException, _restart_in_s: float | None) -> None:
    raise AssertionError(f"{name} failed") from error


class Yard:
    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.done: list[int] = []
        self.metrics = Metrics()
        self.graveyard = Graveyard(
            path,
            on_done=lambda segments: self.done.extend(one.start_offset for one in segments),
            spawner=Spawner(fail),
            events=Events(self.metrics),
            wall=lambda: 1.7e9,
            **options,
        )

    def bury(self, offset: int, service: str = "web", **options: Any) -> None:
        source = Source(service=service)
        segment = Segment(source, offset, offset + 5, [b"line"], **options)
        self.graveyard.bury(segment, "logs", 10, "too large", None)

    def offsets(self) -> list[int]:
        return [one.record.offset for one in letters(self.path) if one.record]

    def empty(self) -> None:
        remove(self.path, lambda _id: True)

    def until(self, what: Callable[[], bool]) -> None:
        with gevent.Timeout(5):
            while not what():
                gevent.sleep(0.005)

    def counted(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"service": "web"}) or 0.0


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Yard]:
    monkeypatch.setattr(graveyard, "ROOM_AGAIN_S", 0.01)
    return lambda **options: Yard(tmp_path / "dead-letter.jsonl", **options)


def size_of_one(make: Callable[..., Yard]) -> int:
    yard = make()
    yard.bury(0)
    yard.until(lambda: yard.done == [0])
    size = yard.path.stat().st_size
    yard.path.unlink()
    return size


def test_key_and_headers_of_a_record_are_kept(make: Callable[..., Yard]) -> None:
    yard = make()
    yard.bury(7, key=b"k", headers=[b"\0"])
    yard.until(lambda: yard.done == [7])
    (letter,) = letters(yard.path)
    assert letter.record is not None
    assert (letter.record.key, letter.record.header_block, letter.record.value) == (b"k", b"\0", b"line")


def test_a_full_file_holds_up_the_services_that_need_it_until_there_is_room(
    make: Callable[..., Yard],
) -> None:
    yard = make(limit_bytes=size_of_one(make))
    yard.bury(0)
    yard.until(lambda: yard.done == [0])
    assert yard.graveyard.blocked("web") == ""
    yard.bury(5)
    yard.bury(6)
    yard.until(lambda: yard.graveyard.blocked("web") != "")
    gevent.sleep(0.05)
    assert yard.done == [0]
    assert "has reached dead_letter_max_bytes" in yard.graveyard.blocked("web")
    assert yard.graveyard.blocked("shop") == ""
    assert [one.endswith("its services wait: web") for one in yard.graveyard.reasons] == [True]
    for count in (2, 3):
        yard.empty()
        yard.until(lambda count=count: len(yard.done) == count)
    assert yard.graveyard.blocked("web") == ""
    assert yard.graveyard.reasons == []
    assert len(yard.offsets()) == 1
    assert yard.counted("logagent_dead_letter_records_total") == 0.0  # it has one more label
    assert (
        yard.metrics.registry.get_sample_value(
            "logagent_dead_letter_records_total", {"service": "web", "reason": "too large"}
        )
        == 3
    )


def test_letters_of_a_service_stand_in_the_order_in_which_they_were_refused(
    make: Callable[..., Yard],
) -> None:
    yard = make()
    for offset in range(50):
        yard.bury(offset)
    yard.until(lambda: len(yard.done) == 50)
    assert yard.offsets() == yard.done == list(range(50))


def test_a_service_waits_as_long_as_one_of_its_letters_does(make: Callable[..., Yard]) -> None:
    yard = make(limit_bytes=size_of_one(make))
    for offset in (0, 5, 6):
        yard.bury(offset)
    yard.until(lambda: yard.graveyard.blocked("web") != "")
    yard.empty()
    yard.until(lambda: yard.done == [0, 5])
    for _ in range(10):
        assert yard.graveyard.blocked("web") != ""
        gevent.sleep(0.005)
    yard.empty()
    yard.until(lambda: yard.graveyard.blocked("web") == "")
    assert yard.done == [0, 5, 6]


def test_a_service_that_waits_does_not_hold_up_another(make: Callable[..., Yard]) -> None:
    yard = make(limit_bytes=size_of_one(make))
    yard.bury(0)
    yard.until(lambda: yard.done == [0])
    yard.bury(1 << 70)  # one digit more than there will be room for
    yard.until(lambda: yard.graveyard._waiting == {"web"})
    yard.bury(3, service="db ")
    yard.empty()
    yard.until(lambda: 3 in yard.done)
    assert yard.graveyard._waiting == {"web"}


def test_what_is_dropped_is_counted_and_its_file_goes_on(make: Callable[..., Yard]) -> None:
    yard = make(limit_bytes=size_of_one(make), when_full="drop")
    for offset in (0, 5):
        yard.bury(offset)
    yard.until(lambda: len(yard.done) == 2)
    assert len(yard.offsets()) == 1
    assert yard.counted("logagent_dead_letter_dropped_total") == 1
    assert (
        yard.metrics.registry.get_sample_value(
            "logagent_lost_bytes_total", {"service": "web", "reason": "dead_letter_full"}
        )
        == 5
    )
    assert yard.graveyard.blocked("web") == ""


def test_a_file_that_cannot_be_written_holds_up_every_service(
    make: Callable[..., Yard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graveyard, "AGAIN", Backoff(first_s=0.01, limit_s=0.01))
    yard = make()
    yard.path.mkdir()
    yard.bury(0)
    yard.until(lambda: bool(yard.graveyard.failure))
    assert yard.graveyard.blocked("shop") == yard.graveyard.failure == yard.graveyard.reasons[0]
    assert "cannot be written" in yard.graveyard.failure
    yard.path.rmdir()
    yard.until(lambda: yard.done == [0])
    assert yard.graveyard.blocked("shop") == ""
