# SPDX-License-Identifier: Apache-2.0
"""A bench for real files, with the pauses of the real thing made short."""

from collections.abc import Callable, Iterator

import pytest

from logagent.sources import sweeper, tailer
from tests.unit.sources.twins import Bench


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailer, "COALESCE_S", 0.002)
    monkeypatch.setattr(tailer, "ROTATED_POLL_S", 0.005)
    monkeypatch.setattr(tailer, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(sweeper, "RESCAN_DELAY_S", 0.002)


@pytest.fixture
def make_bench(short_pauses: None) -> Iterator[Callable[..., Bench]]:
    """Makes benches; when the test ends they are stopped, and no greenlet may have failed."""
    made: list[Bench] = []

    def make(*args: object, **options: object) -> Bench:
        made.append(Bench(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        bench.stop()
    assert [failure for bench in made for failure in bench.failures] == []


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
