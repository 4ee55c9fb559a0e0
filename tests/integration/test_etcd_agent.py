# SPDX-License-Identifier: Apache-2.0
"""The whole agent steered through a real Etcd: put, edited, removed, refused, away, wiped."""

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.proofs import entry_states, file_state, prove, put_lines, sentences, stored_offsets
from tests.support.agent import AgentProcess
from tests.support.etcd import EtcdCluster, EtcdNode
from tests.support.kafka import KafkaNode
from tests.support.lines import Written
from tests.support.waiting import wait_until

HOST_ID = "10.0.0.7"

Steered = Callable[..., AgentProcess]


@pytest.fixture
def steered(kafka_39: KafkaNode, agent: Steered, key_root: str) -> Steered:
    """Makes agents that follow Etcd: ``steered(addresses, services={}, **sections)``."""

    def make(
        addresses: Sequence[str],
        *,
        services: Mapping[str, Mapping[str, object]] | None = None,
        top: Mapping[str, object] | None = None,
        **sections: Any,
    ) -> AgentProcess:
        etcd = {
            "etcd_addr": ", ".join(addresses),
            "etcd_timeout": 2,
            "etcd_watch_key": f"{key_root}/%s/logconfig",
        }
        return agent(
            kafka_addr=kafka_39.address,
            services=services or {},
            top={**etcd, **(top or {})},
            agent={"host_id": HOST_ID},
            **sections,
        )

    return make


def entry(service: str, path: Path | str, topic: str, **more: object) -> dict[str, object]:
    return {"service": service, "log_path": str(path), "topic": topic, **more}


def put(etcd: EtcdNode | EtcdCluster, key: str, value: object) -> None:
    etcd.etcdctl("put", key, value if isinstance(value, str) else json.dumps(value))


def read_json(etcd: EtcdNode, key: str) -> dict[str, Any]:
    text = etcd.etcdctl("get", key, "--print-value-only")
    return dict(json.loads(text)) if text else {}


def reads(agent: AgentProcess, *paths: Path) -> bool:
    """Whether the agent has just these entries, and a file open for each."""
    states = entry_states(agent)
    return set(states) == {str(path) for path in paths} and all(one["files"] for one in states.values())


def open_paths(agent: AgentProcess) -> set[str]:
    found = set()
    for number in os.listdir(f"/proc/{agent.pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{agent.pid}/fd/{number}"))
        except FileNotFoundError:
            continue
    return found


def test_the_seeds_two_entries_ship_at_their_rates_and_every_edit_is_followed(
    etcd: EtcdNode, kafka_39: KafkaNode, steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    slow, fast = tmp_path / "ping_access_log", tmp_path / "srv_access_log"
    written = [put_lines(slow, "slow", 2500), put_lines(fast, "fast", 5000)]
    shipper = steered([etcd.address])
    shipper.wait_ready()
    key = f"{key_root}/{HOST_ID}/logconfig"
    first = entry("test_service", slow, f"{topic}-a", send_rate=1000)
    second = entry("srv.android.shouji.sogou.com", fast, f"{topic}-b", send_rate=2000)
    begun_s = time.monotonic()
    put(etcd, key, [first, second])
    shipper.wait_for(lambda: reads(shipper, slow, fast), what="both files are read")
    shipper.wait_acked()
    # 2,500 lines at 1,000 a second: the first 20 ms of them are free.
    assert time.monotonic() - begun_s >= 2.4, "the rates hold"

    token = base64.b64encode
    value = json.dumps([{**first, "send_rate": 4000}, second]).encode()
    body = json.dumps({"key": token(key.encode()).decode(), "value": token(value).decode()}).encode()
    assert etcd.http("POST", "/v3/kv/put", body)[0] == 200
    rates = {"test_service": 4000, "srv.android.shouji.sogou.com": 2000}
    shipper.wait_for(
        lambda: (
            rates
            == {one["service"]: one["send_rate_lines_per_s"] for one in shipper.fetch_status()["services"]}
        ),
        timeout_s=5,
        what="the edit by curl is in force",
    )

    document = tmp_path / "services.json"
    document.write_text(json.dumps([{**second, "topic": f"{topic}-c"}]))
    done = shipper.run_cli(
        "services", "set", "-c", str(shipper.ini), "--file", str(document), "--wait", "10", "--json"
    )
    assert (done.returncode, json.loads(done.stdout)["changed"]) == (0, True), done.stderr
    assert reads(shipper, fast), "it is applied when the command is back"
    assert str(slow) not in open_paths(shipper)
    later = put_lines(fast, "fast", 500, first=5000)
    shipper.wait_acked()
    shipper.stop()
    prove(kafka_39, f"{topic}-a", tmp_path, written[:1], min_lines=2500)
    prove(kafka_39, f"{topic}-b", tmp_path, written[1:], min_lines=5000)
    prove(kafka_39, f"{topic}-c", tmp_path, [later], min_lines=500)


def test_entries_come_and_go_without_a_leak_and_go_on_where_they_were(
    etcd_new: EtcdNode, kafka_39: KafkaNode, steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    kept, other = tmp_path / "kept.log", tmp_path / "other.log"
    written = [put_lines(kept, "kept", 300), put_lines(other, "other", 300)]
    key = f"{key_root}/{HOST_ID}/logconfig"
    both = [entry("kept", kept, topic), entry("other", other, topic)]
    put(etcd_new, key, both)
    shipper = steered([etcd_new.address])
    shipper.wait_for(lambda: reads(shipper, kept, other), what="both files are read")
    shipper.wait_acked()

    put(etcd_new, key, both[:1])
    shipper.wait_for(
        lambda: str(other) not in open_paths(shipper), timeout_s=1.5, what="the descriptor is closed"
    )
    # What is written meanwhile is there when it comes back.
    written.append(put_lines(other, "other", 200, first=300))
    put(etcd_new, key, both)
    shipper.wait_for(lambda: reads(shipper, kept, other), timeout_s=5, what="it is back")
    shipper.wait_acked()

    others = [tmp_path / f"other{number}.log" for number in range(10)]
    written += [put_lines(one, one.stem, 1) for one in others]
    many = [*both, *(entry("many", one, topic) for one in others)]
    put(etcd_new, key, many)
    applied(shipper, etcd_new, key)
    descriptors, memory_bytes = shipper.open_fds(), shipper.rss_bytes()
    for turn in range(1, 11):
        put(etcd_new, key, both)
        applied(shipper, etcd_new, key)
        put(etcd_new, key, many)
        applied(shipper, etcd_new, key)
        written += [put_lines(one, one.stem, 1, first=turn) for one in others]
    shipper.wait_acked()
    assert shipper.open_fds() <= descriptors + 2
    assert shipper.rss_bytes() <= memory_bytes + 4 * 1024 * 1024
    shipper.stop()
    prove(kafka_39, topic, tmp_path, joined(written), min_lines=300 + 500 + 110)


def joined(written: Sequence[Written]) -> list[Written]:
    """What was written in parts, as one each."""
    last = {one.label: one.last for one in written}
    return [Written(label, 0, number) for label, number in last.items()]


def applied(shipper: AgentProcess, etcd: EtcdNode, key: str) -> None:
    """Wait until what the key holds now is in force."""
    found = json.loads(etcd.etcdctl("get", key, "--write-out=json"))
    revision = found["kvs"][0]["mod_revision"]

    def in_force() -> bool:
        state = shipper.fetch_status().get("etcd") or {}
        return bool(state.get("applied", {}).get(key, {}).get("revision") == revision)

    shipper.wait_for(in_force, timeout_s=5, what=f"revision {revision} is applied")


def test_a_refused_list_changes_nothing_and_says_why_everywhere(
    etcd_new: EtcdNode, kafka_39: KafkaNode, steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    path, second = tmp_path / "a.log", tmp_path / "b.log"
    put_lines(path, "a", 10), put_lines(second, "b", 10)
    key, status_key = f"{key_root}/{HOST_ID}/logconfig", f"{key_root}-agents/{HOST_ID}/status"
    put(etcd_new, key, [entry("a", path, topic)])
    shipper = steered([etcd_new.address])
    shipper.wait_for(lambda: reads(shipper, path), what="the file is read")
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, what="it is well")
    for refused, words in (
        ("[{", "JSON"),
        ("null", "list"),
        ([entry("a", path, topic, send_rate=True)], "send_rate"),
        ([entry("a", path, topic, send_rate=1e30)], "send_rate"),
        ([entry("a", path, "a/b")], "topic"),
    ):
        put(etcd_new, key, refused)
        shipper.wait_for(lambda: shipper.http("/healthz")[0] == 503, timeout_s=5, what="it is not well")
        assert words in shipper.http("/healthz")[1]
        assert reads(shipper, path), refused
        wait_until(
            lambda words=words: words in str(read_json(etcd_new, status_key).get("errors")),  # type: ignore[misc]
            5,
            "the status key says why",
        )
        put(etcd_new, key, [entry("a", path, topic)])
        shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, timeout_s=5, what="it is well again")

    # Of a list in which one object is faulty the others count.
    put(etcd_new, key, [entry("a", path, "a/b"), entry("b", second, topic)])
    shipper.wait_for(lambda: reads(shipper, path, second), timeout_s=5, what="the good one is taken")
    status = shipper.run_cli("status", "-c", str(shipper.ini))
    assert status.returncode == 5
    assert "topic" in status.stdout
    shipper.stop()
    assert not read_json(etcd_new, status_key), "what it told of itself goes with it"


def test_without_etcd_it_starts_from_its_cache_and_follows_again_when_etcd_is_back(
    etcd_node: Callable[..., EtcdNode],
    kafka_39: KafkaNode,
    steered: Steered,
    key_root: str,
    topic: str,
    tmp_path: Path,
) -> None:
    node = etcd_node()
    path, ini_path, later = tmp_path / "a.log", tmp_path / "ini.log", tmp_path / "later.log"
    written = [put_lines(path, "a", 100), put_lines(ini_path, "ini", 100), put_lines(later, "later", 100)]
    key = f"{key_root}/{HOST_ID}/logconfig"
    put(node, key, [entry("a", path, topic), entry("ini", ini_path, "never-there")])
    shipper = steered([node.address], services={"ini": {"log_path": ini_path, "topic": topic}})
    shipper.wait_for(lambda: reads(shipper, path, ini_path), what="both are read")
    sources = {one["log_path"]: one["source"] for one in entry_states(shipper).values()}
    assert sources == {str(path): "etcd", str(ini_path): "ini"}, "the INI wins"
    shipper.wait_acked()

    node.kill9()
    written.append(put_lines(path, "a", 100, first=100))
    shipper.wait_acked()
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 503, what="it says that Etcd is away")
    shipper.stop()

    shipper.start()
    shipper.wait_ready()
    assert reads(shipper, path, ini_path), "the cache is in force when it is ready"
    assert sentences(shipper, "cache")
    assert shipper.fetch_status()["etcd"]["state"] == "from-cache"
    node.start()
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, timeout_s=30, what="Etcd is back")
    put(node, key, [entry("a", path, topic), entry("later", later, topic)])
    shipper.wait_for(lambda: reads(shipper, path, later, ini_path), timeout_s=5, what="it follows again")
    shipper.wait_acked()
    shipper.stop()
    prove(kafka_39, topic, tmp_path, joined(written), min_lines=400)


def test_a_frozen_etcd_delays_neither_a_start_for_long_nor_a_stop(
    etcd_node: Callable[..., EtcdNode], steered: Steered, topic: str, tmp_path: Path
) -> None:
    node = etcd_node()
    path = tmp_path / "ini.log"
    put_lines(path, "ini", 5)
    node.freeze()
    options: dict[str, object] = {"etcd_timeout": 60}
    shipper = steered([node.address], services={"ini": {"log_path": path, "topic": topic}}, top=options)
    shipper.wait_for(lambda: sentences(shipper, "started as host"), what="it begins")
    begun_s = time.monotonic()
    shipper.stop()
    assert time.monotonic() - begun_s < 4, "a stop does not wait for Etcd"

    shipper.start()
    shipper.wait_ready(timeout_s=12)
    assert reads(shipper, path)
    shipper.stop()


def test_a_wiped_etcd_stops_nothing_until_somebody_says_so(
    etcd_node: Callable[..., EtcdNode], steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    node = etcd_node()
    path = tmp_path / "a.log"
    put_lines(path, "a", 10)
    key = f"{key_root}/{HOST_ID}/logconfig"
    put(node, key, [entry("a", path, topic)])
    shipper = steered([node.address])
    shipper.wait_for(lambda: reads(shipper, path), what="the file is read")
    shipper.wait_acked()
    node.close()  # its data goes
    node.start()
    shipper.wait_for(
        lambda: "not believed" in shipper.http("/healthz")[1], timeout_s=15, what="it does not believe it"
    )
    assert reads(shipper, path)
    shipper.write_ini({}, etcd={"accept_empty": "yes"})
    shipper.hup()
    shipper.wait_for(lambda: reads(shipper), timeout_s=10, what="accept_empty stops everything")
    shipper.wait_for(lambda: shipper.http("/healthz")[0] == 200, timeout_s=10, what="it is well")
    # Deleting the only list of a cluster that is believed is an order.
    put(node, key, [entry("a", path, topic)])
    shipper.wait_for(lambda: reads(shipper, path), timeout_s=10, what="the list is back")
    shipper.write_ini({}, etcd={"accept_empty": "no"})
    shipper.hup()
    node.etcdctl("del", key)
    shipper.wait_for(lambda: reads(shipper), timeout_s=10, what="a deleted list stops everything")


def test_changes_come_through_while_members_die_and_hang(
    etcd_cluster: Callable[..., EtcdCluster], steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    cluster = etcd_cluster()
    key = f"{key_root}/{HOST_ID}/logconfig"
    shipper = steered(cluster.addresses)
    shipper.wait_ready()
    for turn, fault in enumerate(("kill9", "freeze")):
        member = shipper.fetch_status()["etcd"]["member"]
        hit = next(one for one in cluster.members if one.address == member)
        paths = [tmp_path / f"{turn}-{number}.log" for number in range(2)]
        for one in paths:
            put_lines(one, one.stem, 10)
        getattr(hit, fault)()
        follow(shipper, next(one for one in cluster.members if one is not hit), key, paths, topic)
        (hit.start if fault == "kill9" else hit.thaw)()
    shipper.stop()


def follow(shipper: AgentProcess, writer: EtcdNode, key: str, paths: Sequence[Path], topic: str) -> None:
    """Write a list as soon as that is possible again, and see it applied in time."""
    wait_until(lambda: put_works(writer, key, paths, topic), 15, "another member takes the change")
    begun_s = time.monotonic()
    shipper.wait_for(lambda: reads(shipper, *paths), timeout_s=15, what="the change is applied")
    assert time.monotonic() - begun_s < 7


def put_works(member: EtcdNode, key: str, paths: Sequence[Path], topic: str) -> bool:
    try:
        put(member, key, [entry(one.stem, one, topic) for one in paths])
    except AssertionError:
        return False
    return True


def test_v2_is_followed_too(
    etcd_35: EtcdNode, kafka_39: KafkaNode, steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    path, second = tmp_path / "a.log", tmp_path / "b.log"
    written = [put_lines(path, "a", 100), put_lines(second, "b", 100)]
    key = f"{key_root}/{HOST_ID}/logconfig"
    etcd_35.etcdctl("set", key, json.dumps([entry("a", path, topic)]), api=2)
    etcd_35.etcdctl("set", f"{key_root}/{HOST_ID}/groups", '["web"]', api=2)
    shipper = steered([etcd_35.address])
    shipper.wait_for(lambda: reads(shipper, path), what="the file is read")
    assert shipper.fetch_status()["etcd"]["api"] == "v2", "the key is only there"
    etcd_35.etcdctl("set", f"{key_root}-groups/web/logconfig", json.dumps([entry("b", second, topic)]), api=2)
    shipper.wait_for(lambda: reads(shipper, path, second), timeout_s=5, what="its group is followed")
    shipper.wait_acked()
    told = json.loads(etcd_35.etcdctl("get", f"{key_root}-agents/{HOST_ID}/status", api=2))
    assert told["host_id"] == HOST_ID
    shipper.stop()
    prove(kafka_39, topic, tmp_path, written, min_lines=200)


def test_groups_and_default_are_merged_below_the_host(
    etcd_new: EtcdNode, steered: Steered, key_root: str, topic: str, tmp_path: Path
) -> None:
    names = ("host", "strong", "weak", "default", "off")
    paths = {name: tmp_path / f"{name}.log" for name in names}
    for name, path in paths.items():
        put_lines(path, name, 5)
    groups = f"{key_root}-groups"
    everywhere = [entry("s", path, f"{topic}-default", send_rate=10) for path in paths.values()]
    put(etcd_new, f"{groups}/default/logconfig", everywhere)
    put(
        etcd_new,
        f"{groups}/weak/logconfig",
        [entry("s", paths["weak"], f"{topic}-weak"), entry("s", paths["strong"], "x")],
    )
    put(
        etcd_new, f"{groups}/strong/logconfig", [entry("s", paths["strong"], f"{topic}-strong", send_rate=20)]
    )
    put(etcd_new, f"{key_root}/{HOST_ID}/groups", '["strong", "weak"]')
    off = {"service": "s", "log_path": str(paths["off"]), "disabled": True}
    put(etcd_new, f"{key_root}/{HOST_ID}/logconfig", [entry("s", paths["host"], f"{topic}-host"), off])
    shipper = steered([etcd_new.address])
    shipper.wait_for(lambda: len(entry_states(shipper)) == 4, what="four entries are in force")
    assert {one["topic"] for one in entry_states(shipper).values()} == {
        f"{topic}-{name}" for name in names if name != "off"
    }
    sources = {Path(path).stem: one["source"] for path, one in entry_states(shipper).items()}
    assert sources == {"host": "etcd", "strong": "group strong", "weak": "group weak", "default": "default"}
    assert shipper.fetch_status()["services"][0]["send_rate_lines_per_s"] == 20
    put(etcd_new, f"{key_root}/{HOST_ID}/groups", "[]")
    shipper.wait_for(
        lambda: {one["source"] for one in entry_states(shipper).values()} == {"etcd", "default"},
        timeout_s=5,
        what="without groups",
    )
    assert file_state(shipper, paths["strong"]), "it is read on"
    shipper.stop()
    assert stored_offsets(shipper)
