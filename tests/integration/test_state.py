# SPDX-License-Identifier: Apache-2.0
"""The agent's own state is damaged, or cannot be written: lines go on, nothing is lost, and somebody is told."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.integration.proofs import prove, put_lines, report, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.lines import Written
from tests.support.small_disk import SmallDisk

FAILED_SAVES = 'logagent_events_total{event="positions_failed"}'
Agents = Callable[..., AgentProcess]


def reasons(shipper: AgentProcess) -> str:
    """Why it is not well."""
    return " | ".join(json.loads(shipper.http("/healthz")[1])["reasons"])


def whole(parts: list[Written]) -> Written:
    """What was written in parts, one behind the other."""
    return replace(parts[0], last=parts[-1].last)


def wait_saved(shipper: AgentProcess, path: Path) -> None:
    wanted = {bytes(path): path.stat().st_size}

    def saved() -> bool:
        try:
            return stored_offsets(shipper) == wanted
        except sqlite3.Error:
            return False  # nothing could be written yet

    shipper.wait_for(saved, what="the position is on disk")


def test_case_76_a_damaged_state_is_replaced_by_its_copy_and_told(
    kafka_39: KafkaNode, agent: Agents, topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    written = [put_lines(path, "a", 300)]
    shipper = agent(kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}})
    shipper.wait_acked()
    shipper.stop()
    written.append(put_lines(path, "a", 200, first=300))
    state = shipper.data_dir / "state.db"
    damaged = state.read_bytes()[: 4096 + 100]
    state.write_bytes(damaged)

    shipper.start()
    shipper.wait_acked()

    assert shipper.metric("logagent_state_recovered_total") == 1
    assert "the state was found damaged" in reasons(shipper)
    assert shipper.http("/healthz")[0] == 503
    [kept] = shipper.data_dir.glob("state.db.bad-*Z")
    assert kept.read_bytes() == damaged
    assert str(kept) in shipper.said()
    shipper.stop()
    shipper.start()
    shipper.wait_ready()
    assert shipper.http("/healthz")[0] == 200
    prove(kafka_39, topic, tmp_path, [whole(written)], min_lines=500)


def test_case_76_with_the_copy_damaged_too_lines_come_twice_rather_than_never(
    kafka_39: KafkaNode, agent: Agents, topic: str, tmp_path: Path
) -> None:
    """Even where new entries begin at the end: this one is not new, its position is lost."""
    path = tmp_path / "a.log"
    path.touch()
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"s": {"log_path": path, "topic": topic}},
        files={"start_at": "end"},
    )
    shipper.wait_ready()
    first = put_lines(path, "a", 300)
    shipper.wait_acked()
    shipper.stop()
    second = put_lines(path, "a", 200, first=300)
    for name in ("state.db", "state.db.bak"):
        (shipper.data_dir / name).write_bytes(b"garbage" * 1000)

    shipper.start()
    shipper.wait_acked()

    found = report(kafka_39, [topic], tmp_path, [whole([first, second])])
    assert not [*found.lost, *found.corrupt, *found.foreign], str(found)
    assert len(found.doubled) == 300, str(found)
    assert "positions come from nowhere" in reasons(shipper)


def test_case_78_while_data_dir_is_full_lines_go_on_and_afterwards_positions_are_saved(
    kafka_39: KafkaNode, agent: Agents, topic: str, tmp_path: Path, small_disk: Callable[[Path], SmallDisk]
) -> None:
    path = tmp_path / "a.log"
    written = [put_lines(path, "a", 100)]
    shipper = agent(
        kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}}, start=False
    )
    disk = small_disk(shipper.data_dir)
    shipper.start()
    shipper.wait_acked()
    wait_saved(shipper, path)
    disk.fill()
    # The write-ahead log has room for some saves yet.
    while "cannot be written" not in reasons(shipper):
        written.append(put_lines(path, "a", 50, first=written[-1].last + 1))
        shipper.wait_acked()

    assert shipper.fetch_status()["state"] == "degraded"
    written.append(put_lines(path, "a", 500, first=written[-1].last + 1))
    shipper.wait_acked()
    failures = shipper.metrics()[FAILED_SAVES]
    shipper.wait_for(lambda: shipper.metrics()[FAILED_SAVES] > failures, what="it was tried once more")
    assert stored_offsets(shipper)[bytes(path)] < path.stat().st_size
    disk.empty()
    wait_saved(shipper, path)
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, what="it is well again")
    shipper.kill9()
    shipper.start()
    written.append(put_lines(path, "a", 100, first=written[-1].last + 1))
    shipper.wait_acked()
    prove(kafka_39, topic, tmp_path, [whole(written)], min_lines=700)


def test_case_78_an_agent_starts_on_a_read_only_data_dir_and_saves_as_soon_as_it_can(
    kafka_39: KafkaNode, agent: Agents, topic: str, tmp_path: Path, small_disk: Callable[[Path], SmallDisk]
) -> None:
    path = tmp_path / "a.log"
    written = [put_lines(path, "a", 100)]
    shipper = agent(
        kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}}, start=False
    )
    disk = small_disk(shipper.data_dir)
    shipper.start()
    shipper.wait_acked()
    wait_saved(shipper, path)
    shipper.kill9()  # what is saved lies in the write-ahead log
    (shipper.data_dir / "admin.addr").unlink()
    written.append(put_lines(path, "a", 400, first=100))
    disk.read_only(True)

    # The harness would remove admin.addr, which is not possible now, and find the address in it.
    shipper.data_dir = tmp_path / "elsewhere"
    shipper.data_dir.mkdir()
    shipper.start()
    address = shipper.wait_for(lambda: _address(shipper), what="it tells its address")
    (shipper.data_dir / "admin.addr").write_text(address)
    shipper.wait_acked()
    assert "cannot be" in reasons(shipper)
    assert shipper.running
    second = shipper.run_cli("run", "-c", str(shipper.ini))
    assert second.returncode == 4, second.stderr

    disk.read_only(False)
    shipper.data_dir = disk.path
    wait_saved(shipper, path)
    shipper.kill9()
    shipper.start()
    written.append(put_lines(path, "a", 100, first=500))
    shipper.wait_acked()
    prove(kafka_39, topic, tmp_path, [whole(written)], min_lines=600)


def _address(shipper: AgentProcess) -> str:
    """Where it answers since it was started last, as it says in its log; empty until then."""
    told = [line for line in shipper.said().splitlines() if "Answering on 127.0.0.1:" in line]
    return told[-1].rpartition(" ")[2].rstrip(".") if len(told) == shipper.starts else ""


def test_case_78_an_agent_starts_for_the_first_time_on_a_full_disk(
    kafka_39: KafkaNode, agent: Agents, topic: str, tmp_path: Path, small_disk: Callable[[Path], SmallDisk]
) -> None:
    path = tmp_path / "a.log"
    written = [put_lines(path, "a", 300)]
    shipper = agent(
        kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}}, start=False
    )
    disk = small_disk(shipper.data_dir)
    disk.fill()
    shipper.start()
    address = shipper.wait_for(lambda: _address(shipper), what="it tells its address")
    shipper.wait_for(lambda: "Positions cannot be saved" in shipper.said(), what="it tells of the full disk")
    disk.empty()
    (shipper.data_dir / "admin.addr").write_text(address)
    shipper.wait_acked()
    wait_saved(shipper, path)
    shipper.kill9()
    shipper.start()
    shipper.wait_acked()
    prove(kafka_39, topic, tmp_path, [whole(written)], min_lines=300)


def test_explain_and_positions_around_a_running_agent(
    kafka_39: KafkaNode, agent: Agents, topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    written = put_lines(path, "a", 300)
    shipper = agent(kafka_addr=kafka_39.address, services={"s": {"log_path": path, "topic": topic}})
    shipper.wait_acked()
    wait_saved(shipper, path)
    ini = ("-c", str(shipper.ini))

    told = shipper.run_cli("explain", str(path), *ini, "--json")
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["from"] == "the running agent"
    [file] = document["entries"][0]["files"]
    assert file["acked_offset_bytes"] == path.stat().st_size == document["positions"][0]["offset_bytes"]
    assert shipper.http(f"/explain?path={path}")[0] == 404  # only who may use data_dir may ask
    listed = shipper.run_cli("positions", "list", *ini)  # while the agent has the database open
    assert str(path.stat().st_size) in listed.stdout
    assert shipper.run_cli("positions", "reset", *ini, "--yes").returncode == 4

    shipper.stop()
    assert shipper.run_cli("positions", "reset", *ini, "--path", str(path), "--yes").returncode == 0
    shipper.start()
    shipper.wait_acked()
    found = report(kafka_39, [topic], tmp_path, [written])
    assert not found.lost
    assert len(found.doubled) == 300, str(found)
