# SPDX-License-Identifier: Apache-2.0
"""SIGHUP changes what it names and disturbs nothing else."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.proofs import (
    Services,
    descriptor_of,
    entry_states,
    prove,
    put_lines,
    report,
    sentences,
    stored_offsets,
)
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode
from tests.support.lines import Written
from tests.support.writer import Habits, Writer

RATE = Habits(rate_lines_per_s=4500, burst_lines=5, torn=True)
SLOW = 40


def test_entries_come_change_and_go_while_the_others_flow_on(
    kafka_39: KafkaNode,
    agent: Callable[..., AgentProcess],
    writer: Callable[..., Writer],
    topic: str,
    tmp_path: Path,
) -> None:
    paths = {name: tmp_path / f"{name}.log" for name in ("kept", "moved", "removed", "slow", "added")}
    written_before = {name: put_lines(paths[name], name, 400) for name in ("slow", "added")}

    def services(**changes: dict[str, object]) -> Services:
        first = {
            name: {"log_path": paths[name], "topic": f"{topic}-{name}"}
            for name in ("kept", "moved", "removed")
        }
        return {**first, "slow": {"log_path": paths["slow"], "topic": topic, "send_rate": SLOW}, **changes}

    shipper = agent(kafka_addr=kafka_39.address, services=services())
    load = writer({name: paths[name] for name in ("kept", "moved", "removed")}, RATE)
    shipper.wait_for(lambda: shipper.metric("logagent_lines_acked_total") > 1000, what="lines flow")
    removed_lines = 'logagent_lines_read_total{service="removed"}'
    shipper.wait_for(lambda: shipper.metrics().get(removed_lines), what="what is to be removed flows, too")
    held = descriptor_of(shipper, paths["kept"])

    changed = services(
        moved={"log_path": paths["moved"], "topic": f"{topic}-elsewhere"},
        slow={"log_path": paths["slow"], "topic": topic, "send_rate": "unlimited"},
        added={"log_path": paths["added"], "topic": f"{topic}-added"},
    )
    del changed["removed"]
    shipper.write_ini(changed)
    shipper.hup()
    shipper.wait_for(
        lambda: sentences(shipper, "Entries started: 1; changed: 2; stopped: 1"), what="the reload is told"
    )
    shipper.wait_for(
        lambda: shipper.metrics().get('logagent_lines_acked_total{service="slow"}') == 400,
        timeout_s=5,
        what="the slow service is not slow any more",
    )
    assert descriptor_of(shipper, paths["kept"]) == held
    assert str(paths["removed"]) not in entry_states(shipper)
    gone = shipper.metrics()[removed_lines]
    acked = shipper.metric("logagent_lines_acked_total")
    shipper.wait_for(
        lambda: shipper.metric("logagent_lines_acked_total") > acked + 3000, what="lines flow on"
    )
    assert shipper.metrics()[removed_lines] == gone, "it is read no more"

    # Back again: it goes on exactly where it was taken away.
    shipper.write_ini({**changed, "removed": {"log_path": paths["removed"], "topic": f"{topic}-removed"}})
    shipper.hup()
    shipper.wait_for(lambda: str(paths["removed"]) in entry_states(shipper), what="the entry is back")
    ledger = {one.label: one for one in load.stop()}
    shipper.wait_acked()
    assert descriptor_of(shipper, paths["kept"]) == held
    shipper.stop()

    for name in ("kept", "removed"):
        prove(kafka_39, f"{topic}-{name}", tmp_path, [ledger[name]], min_lines=1500)
    prove(kafka_39, f"{topic}-added", tmp_path, [written_before["added"]], min_lines=400)
    prove(kafka_39, topic, tmp_path, [written_before["slow"]], min_lines=400)
    moved = report(kafka_39, [f"{topic}-moved", f"{topic}-elsewhere"], tmp_path, [ledger["moved"]])
    moved.require_exact(min_lines=1500)
    assert len(moved.partitions["moved"]) == 2, "lines went to both topics"


def test_a_faulty_configuration_changes_nothing_and_is_told_until_it_is_mended(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    good: Services = {"s": {"log_path": path, "topic": topic}}
    put_lines(path, "a", 200)
    shipper = agent(kafka_addr=kafka_39.address, services=good)
    shipper.wait_acked()
    held = descriptor_of(shipper, path)

    shipper.write_ini({"s": {"log_path": path, "topic": "no topic", "send_rate": -1}})
    shipper.hup()
    reasons = shipper.wait_for(lambda: shipper.fetch_status().get("reasons"), what="/status has reasons")
    assert "'no topic'" in reasons[0]
    assert "send_rate" in reasons[0]
    assert shipper.http("/healthz")[0] == 503
    assert shipper.run_cli("status", "-c", str(shipper.ini)).returncode == 2, "the INI is faulty for all"
    assert len(sentences(shipper, "ERROR", "refused", "The old one stays in force")) == 1
    put_lines(path, "a", 200, first=200)
    shipper.wait_acked()

    shipper.ini.unlink()
    shipper.hup()
    shipper.wait_for(lambda: "no topic" not in shipper.http("/healthz")[1], what="a missing INI is told")
    assert str(shipper.ini) in shipper.http("/healthz")[1]
    shipper.write_ini(good, top={"thread_num": 7})
    shipper.hup()
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, what="/healthz is well again")
    warned = sentences(shipper, "WARNING", "only a restart", "thread_num")
    assert len(warned) == 1
    assert descriptor_of(shipper, path) == held
    put_lines(path, "a", 200, first=400)
    shipper.wait_acked()
    shipper.stop()

    assert stored_offsets(shipper) == {bytes(path): path.stat().st_size}
    prove(kafka_39, topic, tmp_path, [Written("a", 0, 599)], min_lines=600)
