# SPDX-License-Identifier: Apache-2.0
import random
import re
import sys
from pathlib import Path

import pytest

from logagent.config import ini
from logagent.demo import run as demo_run
from logagent.demo.chaos import Chaos
from logagent.demo.kafka_node import KAFKA_4X, KAFKA_39, find_libs, full_version
from logagent.demo.lines import SERVICES, parse_line
from logagent.demo.place import Place
from logagent.demo.processes import Child, LinePipe
from logagent.demo.run import Options
from logagent.demo.stage import AgentTotals
from logagent.demo.writer import AccessLog
from logagent.errors import DemoFailed, KafkaMissing


class Victims:
    """Writes down what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.agent_running = True

    def kill_agent(self) -> None:
        self.done.append("-agent")

    def start_agent(self) -> None:
        self.done.append("+agent")

    def kill_broker(self) -> None:
        self.done.append("-broker")

    def start_broker(self) -> None:
        self.done.append("+broker")


def test_what_chaos_kills_it_restarts() -> None:
    victims = Victims()
    chaos = Chaos(victims, victims.start_broker, random.Random(1), 0)
    for tenth in range(600):
        chaos.step(tenth / 10)
    chaos.calm()
    chaos.step(1e6)

    for name in ("agent", "broker"):
        mine = [one[0] for one in victims.done if one.endswith(name)]
        assert len(mine) >= 4
        assert mine == ["-", "+"] * (len(mine) // 2)


def test_a_broker_that_is_not_ours_is_left_alone() -> None:
    victims = Victims()
    chaos = Chaos(victims, None, random.Random(1), 0)
    for second in range(60):
        chaos.step(second)

    assert {one[1:] for one in victims.done} == {"agent"}


def test_counts_of_the_agent_go_on_over_its_restart() -> None:
    def status(acked: int) -> dict[str, object]:
        return {
            "state": "running",
            "services": [{"service": "s", "lines_acked": acked, "entries": [{"files": 2}, {"files": 1}]}],
        }

    totals = AgentTotals()
    totals.take(status(100), 1.0)
    totals.take(status(300), 2.0)
    assert totals.rates() == {"s": 200.0}
    totals.restarted()
    totals.take(status(50), 3.0)

    assert (totals.acknowledged, totals.files) == ({"s": 350}, {"s": 3})


def test_the_ini_is_one_that_the_agent_takes(tmp_path: Path) -> None:
    place = Place(tmp_path / "kept")
    place.write_ini("127.0.0.1:1234", "a broker", "nginx_log")

    settings = ini.load(place.ini)
    assert [(one.service, one.send_rate_lines_per_s) for one in settings.entries] == [
        (one.name, one.send_rate_lines_per_s) for one in SERVICES
    ]
    assert {str(one.log_path) for one in settings.entries} == {
        str(tmp_path / "kept" / "logs" / one.file_name) for one in SERVICES
    }
    place.close()
    assert place.ini.exists()


def test_a_directory_of_its_own_vanishes_at_the_end() -> None:
    place = Place(None)
    place.write_ini("127.0.0.1:1234", "a broker", "nginx_log")
    place.close()

    assert not place.directory.exists()


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(DemoFailed, match=r"is not empty; --keep wants a new or an empty directory\.$"):
        Place(tmp_path)


def test_a_name_that_an_ini_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=r"has , # in its name|has # , in its name"):
        Place(tmp_path / "a,b#c")


def test_a_disk_that_takes_nothing_is_a_sentence() -> None:
    with pytest.raises(DemoFailed, match=r"^Nothing can be written to /proc/nothing: .+\.$"):
        Place(Path("/proc/nothing"))


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_run.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(DemoFailed, match=re.escape("pip install 'logagent[demo]'")):
        demo_run.run(Options(), lambda data: {}, console=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "version"),
    [("3.9", KAFKA_39), ("3.9.1", KAFKA_39), ("4.x", KAFKA_4X), ("4.1", KAFKA_4X), ("4.0.0", "4.0.0")],
)
def test_versions_may_be_short(name: str, version: str) -> None:
    assert full_version(name) == version


def test_what_is_no_version_or_not_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(KafkaMissing, match=r"'../x' is no version of Kafka; expected one like 3\.9\.1"):
        full_version("../x")
    monkeypatch.setattr("logagent.demo.kafka_node._java_fault", lambda: "")
    monkeypatch.setenv("LOGAGENT_KAFKA_LIBS", str(tmp_path))
    with pytest.raises(KafkaMissing, match="`make kafka-libs` in the source tree fetches it"):
        find_libs(KAFKA_39)


def test_a_rotating_log_keeps_every_line_in_order(tmp_path: Path) -> None:
    log = AccessLog(SERVICES[0], tmp_path, keep=3)
    for tenth in range(150):  # 15 s: rotations at 3, 7 and 11 s
        log.advance(tenth / 10)

    path = log.path
    parts = [path.with_name(f"{path.name}.{number}") for number in (3, 2, 1)] + [path]
    lines = [parse_line(line) for part in parts for line in part.read_bytes().splitlines()]
    assert log.rotations == 3
    assert [line.sequence for line in lines if line] == list(range(log.lines))
    log.advance(16.0)
    assert log.rotations == 4
    assert not path.with_name(f"{path.name}.4").exists()


def test_a_pipe_gives_whole_lines_without_waiting(tmp_path: Path) -> None:
    pipe = LinePipe()
    assert pipe.take() == []
    child = Child([sys.executable, "-c", "print('a\\nb\\nrest', end='')"], stdout=pipe.write_end)
    pipe.close_write_end()

    assert child.exit_within(20) == 0
    assert pipe.take() == ["a", "b"]
    pipe.close()
