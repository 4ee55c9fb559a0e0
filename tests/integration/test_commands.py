# SPDX-License-Identifier: Apache-2.0
"""The command line around a running agent: exit codes, and a sentence for every one of them."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.proofs import prove, put_lines, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode


def test_a_second_agent_on_the_same_data_dir_is_refused_and_the_first_goes_on(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    services = {"s": {"log_path": path, "topic": topic}}
    first = agent(kafka_addr=kafka_39.address, services=services)
    first.wait_ready()
    second = agent(kafka_addr=kafka_39.address, services=services, agent={"data_dir": first.data_dir})

    assert second.wait_exit() == 4
    said = second.said().strip()
    assert len(said.splitlines()) == 1
    assert f"data_dir {first.data_dir} is in use by another agent (process {first.pid})" in said
    written = put_lines(path, "a", 300)
    first.wait_acked()
    assert first.run_cli("status", "-c", str(first.ini)).returncode == 0
    saved = {bytes(path): path.stat().st_size}
    first.wait_for(lambda: stored_offsets(first) == saved, what="the position is on disk")
    first.kill9()
    second.start()  # the lock of a killed agent is no lock
    second.wait_for(lambda: "started as host" in second.said(), what="the second agent starts")
    second.stop()
    prove(kafka_39, topic, tmp_path, [written], min_lines=300)


def test_status_tells_by_its_exit_code_whether_an_agent_runs_and_is_well(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    put_lines(path, "a", 300)
    well = agent(kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}}, start=False)
    ill = agent(kafka_addr="127.0.0.1:1", services={"s": {"log_path": path, "topic": topic}})

    nobody = well.run_cli("status", "-c", str(well.ini))
    assert nobody.returncode == 3
    assert f"no agent works on {well.data_dir}" in nobody.stderr
    assert not well.data_dir.exists(), "asking makes no directory"

    well.start()
    well.wait_acked()
    table = well.run_cli("status", "-c", str(well.ini))
    assert (table.returncode, table.stderr) == (0, "")
    assert str(path) in table.stdout
    document = well.status()
    assert document["schema"] == 1
    assert document["state"] == "running"
    assert document["pid"] == well.pid
    assert document["files"][0]["acked_offset_bytes"] == path.stat().st_size
    assert [broker["address"] for broker in document["brokers"]] == [kafka_39.address]
    assert document["services"][0]["lines_acked"] == 300

    ill.wait_for(lambda: ill.http("/healthz")[0] == 503, what="/healthz fails")
    told = ill.run_cli("status", "-c", str(ill.ini))
    assert told.returncode == 5
    assert "not well:" in told.stdout
    assert "127.0.0.1:1" in told.stdout
    assert ill.http("/readyz")[0] == 200, "ready means configured, not connected"

    well.kill9()
    assert well.run_cli("status", "-c", str(well.ini)).returncode == 3, "a stale socket is nobody"
    well.start()  # and no hindrance
    well.wait_ready()
    well.wait_for(lambda: well.run_cli("status", "-c", str(well.ini)).returncode == 0, what="status is well")
    ill.child.signal(signal.SIGINT)
    assert ill.wait_exit() == 0


def test_check_prints_what_is_in_force_and_touches_nothing(
    agent: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    shipper = agent(
        kafka_addr="127.0.0.1:1",
        services={"s": {"log_path": tmp_path / "a.log", "topic": "t", "send_rate": 7}},
        start=False,
    )
    done = shipper.run_cli("check", "-c", str(shipper.ini))
    assert (done.returncode, done.stderr) == (0, "")
    for shown in ("thread_num", "127.0.0.1:1", str(shipper.data_dir), str(tmp_path / "a.log")):
        assert shown in done.stdout
    document = json.loads(shipper.run_cli("check", "-c", str(shipper.ini), "--json").stdout)
    assert document["services"][0]["entries"][0]["send_rate_lines_per_s"] == 7
    assert not shipper.data_dir.exists()


FAULTY: dict[str, tuple[bytes, list[str]]] = {
    "unknown key": (b"kafka_addr = k:1\netcd_adr = e:1\n", ["etcd_adr", "etcd_addr"]),
    "several faults": (
        b"kafka_addr = k:1\nkafka_addr = k:2\nthread_num = 0\nlevel = loud\n",
        ["kafka_addr", "thread_num", "level"],
    ),
    "not UTF-8": (b"kafka_addr = k\xff:1\n", ["UTF-8"]),
    "NULs": (b"kafka_addr = k:1\n\0\0\0\n", ["NUL"]),
    "denied file": (b"kafka_addr = k:1\n[services]\n[[s]]\nlog_path = /etc/shadow\ntopic = t\n", ["/etc"]),
}
"""How each kind of fault reaches the terminal; what the faults are is a matter of the configuration's own tests."""


@pytest.mark.parametrize("name", FAULTY)
def test_every_fault_of_a_configuration_is_a_sentence_and_exit_code_2(
    agent: Callable[..., AgentProcess], name: str
) -> None:
    text, needles = FAULTY[name]
    shipper = agent(kafka_addr="unused:1", services={}, start=False)
    shipper.ini.write_bytes(text)
    done = shipper.run_cli("check", "-c", str(shipper.ini))

    assert done.returncode == 2
    assert all(needle in done.stderr for needle in needles), done.stderr
    assert all(line.startswith(str(shipper.ini)) for line in done.stderr.splitlines()), done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there_or_no_file_is_a_sentence(
    agent: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    shipper = agent(kafka_addr="unused:1", services={}, start=False)
    for command, path in (
        ("check", tmp_path),
        ("run", tmp_path / "none.ini"),
        ("status", tmp_path / "none.ini"),
    ):
        done = shipper.run_cli(command, "-c", str(path))
        assert done.returncode == 2
        assert str(path) in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert shipper.run_cli("chekc").returncode == 2
    assert shipper.run_cli("run", "--nonsense").returncode == 2


def test_without_services_run_says_so_and_with_etcd_it_starts_and_says_that_nobody_answers(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    none = agent(kafka_addr=kafka_39.address, services={})
    assert none.wait_exit() == 2
    assert "names no service" in none.said()

    path = tmp_path / "a.log"
    written = put_lines(path, "a", 300)
    some = agent(
        kafka_addr=kafka_39.address,
        services={"s": {"log_path": path, "topic": topic}},
        top={"etcd_addr": "127.0.0.1:1", "etcd_timeout": 1},
    )
    some.wait_acked()
    code, body = some.http("/healthz")
    assert code == 503
    assert "Etcd has not answered yet" in body
    prove(kafka_39, topic, tmp_path, [written], min_lines=300)
