# SPDX-License-Identifier: Apache-2.0
"""`logagent services` as an operator runs it, on a real Etcd in both APIs."""

import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logagent.config.ini import load
from logagent.control import edits
from logagent.control.connect import Cluster
from logagent.control.edits import Author, Place
from logagent.control.keys import Keys
from logagent.spawn import Spawner
from logagent.stores.store import Store
from tests.support import ROOT
from tests.support.agent import AgentProcess, ini_text
from tests.support.certificates import Certificates
from tests.support.etcd import ETCD_35, EtcdNode
from tests.support.waiting import wait_until


def document(*paths: str, **fields: object) -> str:
    return json.dumps([{"service": "web", "log_path": path, "topic": "web_log", **fields} for path in paths])


ONE, TWO, NONE = document("/var/log/a"), document("/var/log/a", "/var/log/b"), "[]"


class Desk:
    """The command line with one configuration."""

    def __init__(self, place: Path, address: str, root: str, **etcd: object) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.ini = place / "logagent.ini"
        self.keys = Keys(f"{root}/%s/logconfig", "h1")
        top = {
            "etcd_addr": address,
            "etcd_timeout": 3,
            "etcd_watch_key": self.keys.watch_key,
            "kafka_addr": "127.0.0.1:1",
        }
        sections = {"agent": {"host_id": "h1", "data_dir": place / "data"}, "etcd": etcd}
        self.ini.write_text(ini_text(top, {}, **sections))

    def start(self, name: str, *args: object, given: str = "", **options: Any) -> "subprocess.Popen[str]":
        (self.place / "given.json").write_text(given)
        return subprocess.Popen(
            [sys.executable, "-m", "logagent", "services", name, "-c", str(self.ini), *map(str, args)],
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            text=True,
            cwd=self.place,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SUDO_USER": "ann", "VISUAL": "", **options},
        )

    def call(self, name: str, *args: object, given: str = "") -> "subprocess.CompletedProcess[str]":
        with self.start(name, *args, given=given) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def put(self, text: str, *args: object) -> dict[str, Any]:
        """What `set --json` says."""
        done = self.call("set", "--file", "given.json", "--json", *args, given=text)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def json(self, name: str, *args: object) -> dict[str, Any]:
        done = self.call(name, "--json", *args)
        assert (done.returncode, done.stderr) == (0, "")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def ask(self, operation: Callable[[Store], Any]) -> Any:
        """What the command does, in this process."""
        return Cluster(load(self.ini), "h1", Spawner(_fail)).members().first_answering(operation)


def _fail(name: str, error: BaseException, _restart_in_s: float | None) -> None:
    raise AssertionError(f"{name}: {error}")


@pytest.fixture
def desk(etcd_new: EtcdNode, key_root: str, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk", etcd_new.address, key_root)


@pytest.fixture
def desk_v2(etcd_35: EtcdNode, key_root: str, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk", etcd_35.address, key_root, api="v2")


@pytest.fixture(params=["desk", "desk_v2"])
def any_desk(request: pytest.FixtureRequest) -> Desk:
    """Both APIs."""
    found: Desk = request.getfixturevalue(request.param)
    return found


def test_a_document_is_put_changed_listed_and_rolled_back(any_desk: Desk) -> None:
    desk = any_desk
    seeded = desk.put(ONE, "--mode", "seed", "--comment", "first")
    assert seeded["changed"] is True
    assert desk.put(TWO, "--mode", "seed")["changed"] is False
    assert desk.put(json.dumps(json.loads(ONE), indent=2), "--mode", "enforce")["changed"] is False
    enforced = desk.put(TWO, "--mode", "enforce")
    assert enforced["changed"] is True

    got = desk.json("get")
    assert (got["document"], got["revision"]) == (json.loads(TWO), enforced["revision"])
    listed = desk.json("history")["versions"]
    assert [one["version"] for one in listed] == [enforced["version"], seeded["version"]]
    assert [(one["entries_before"], one["entries_after"]) for one in listed] == [(1, 2), (0, 1)]
    assert listed[0]["from_revision"] == seeded["revision"]
    assert listed[1]["comment"] == "first"
    assert listed[1]["who"].startswith("ann@")

    back = desk.call("rollback", seeded["version"])
    assert (back.returncode, back.stderr) == (0, "")
    assert desk.call("get", "--raw").stdout == ONE
    assert desk.call("rollback", f"before-{seeded['version']}").returncode == 0
    assert desk.json("get")["revision"] == 0
    assert desk.call("rollback").returncode == 0
    assert desk.call("get", "--raw").stdout == ONE


def test_what_etcdctl_wrote_is_found_again_after_a_compaction(desk: Desk, etcd_new: EtcdNode) -> None:
    etcd_new.etcdctl("put", desk.keys.services, stdin=ONE)
    made = [desk.put(text)["version"] for text in (TWO, NONE)]
    etcd_new.compact()

    names = [one["version"] for one in desk.json("history")["versions"]]
    assert names == [made[1], made[0], f"before-{made[0]}"]
    for name, text in zip(names, (NONE, TWO, ONE), strict=True):
        desk.call("rollback", name)
        assert etcd_new.etcdctl("get", "--print-value-only", desk.keys.services) == f"{text}\n"
    record = etcd_new.etcdctl("get", "--prefix", "--print-value-only", desk.keys.audit).splitlines()[0]
    assert json.loads(record)["old"] == ONE


def test_who_was_not_fast_enough_writes_nothing_and_is_told(any_desk: Desk) -> None:
    desk = any_desk
    desk.put(ONE)
    (desk.place / "theirs.json").write_text(NONE)
    (desk.place / "mine.json").write_text(TWO)
    editor = desk.place / "editor"
    theirs = [
        sys.executable,
        "-m",
        "logagent",
        "services",
        "set",
        "-c",
        str(desk.ini),
        "--file",
        "theirs.json",
    ]
    editor.write_text(f'#!/bin/sh\nSUDO_USER=bob {shlex.join(theirs)} >&2 && cat mine.json >"$1"\n')
    editor.chmod(0o755)
    with desk.start("edit", "--yes", EDITOR=shlex.quote(str(editor))) as process:
        out, err = process.communicate(timeout=60)

    assert process.returncode == 1, out
    assert f"{desk.keys.services} was changed meanwhile by bob@" in err
    assert desk.call("get", "--raw").stdout == NONE
    assert len(desk.json("history")["versions"]) == 2
    draft = Path(err.splitlines()[-2].removeprefix("What you wrote is in ").removesuffix("."))
    assert draft.read_text() == TWO
    draft.unlink()


def test_nothing_is_written_if_anything_is_faulty(desk: Desk, etcd_new: EtcdNode) -> None:
    done = desk.call("set", "--file", "given.json", given=document("relative", "/etc/passwd"))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2
    assert etcd_new.etcdctl("get", "--prefix", desk.keys.root) == ""


def test_a_server_that_is_away_or_hangs_is_one_sentence(
    etcd_node: Callable[..., EtcdNode], key_root: str, tmp_path: Path
) -> None:
    node = etcd_node()
    desk = Desk(tmp_path / "desk", node.address, key_root)
    desk.put(ONE)
    node.freeze()
    hung = desk.call("set", "--file", "given.json", given=TWO)
    node.thaw()
    node.wait_ready()
    assert desk.call("get", "--raw").stdout == ONE
    node.stop()
    away = desk.call("get")
    for done in (hung, away):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{node.address}: ")
        assert done.stderr.count("\n") == 1


def test_another_member_is_asked_if_one_is_away(
    etcd_cluster: Callable[..., Any], key_root: str, tmp_path: Path
) -> None:
    cluster = etcd_cluster()
    cluster.followers()[0].kill9()
    desk = Desk(tmp_path / "desk", ", ".join(cluster.addresses), key_root)
    assert all(desk.put(text)["changed"] for text in (ONE, TWO, NONE, ONE))


def test_roles_decide_who_may_change_what(
    etcd_node: Callable[..., EtcdNode], key_root: str, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path / "certificates")
    node = etcd_node(ETCD_35, tls=certificates)
    access = {"ca": certificates.ca, "password_file": tmp_path / "password"}
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    host = Desk(tmp_path / "host", node.address, key_root, user="host", **access)
    operator = Desk(tmp_path / "operator", node.address, key_root, user="operator", **access)
    for user, rights in (
        ("host", [("read", f"{key_root}/h1/"), ("readwrite", f"{key_root}-agents/h1/")]),
        ("operator", [("readwrite", f"{key_root}/"), ("readwrite", f"{key_root}-audit/")]),
    ):
        node.etcdctl("user", "add", f"{user}:secret")
        node.etcdctl("role", "add", user)
        for right, prefix in rights:
            node.etcdctl("role", "grant-permission", user, "--prefix=true", right, prefix)
        node.etcdctl("user", "grant-role", user, user)
    node.enable_auth()

    assert operator.put(ONE)["changed"] is True
    assert host.json("get")["document"] == json.loads(ONE)
    for refused in (
        host.call("set", "--file", "given.json", given=TWO),
        host.call("get", "--host", "h10"),
        operator.call("get", "--group", "web"),
    ):
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "permission denied" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert host.json("get")["document"] == json.loads(ONE)


def test_it_waits_for_what_the_agent_says(any_desk: Desk) -> None:
    desk = any_desk
    status = {"state": "applied", "error": "", "errors": []}
    waiting = desk.start("set", "--file", "given.json", "--wait", "30", "--json", given=ONE)
    found = wait_until(
        lambda: desk.ask(lambda store: store.load([desk.keys.services])).items.get(desk.keys.services),
        20,
        "it is written",
    )
    assert waiting.poll() is None

    def say(revision: int, **fields: object) -> None:
        value = json.dumps({**status, "applied": {desk.keys.services: {"revision": revision}}, **fields})
        desk.ask(lambda store: store.commit({}, {desk.keys.status: value.encode()}))

    say(found.revision - 1)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    say(found.revision)
    out, err = waiting.communicate(timeout=10)
    assert (waiting.returncode, err, json.loads(out)["applied"]) == (0, "", True)

    say(10**9, errors=[f"{desk.keys.services}: entry 1: it is outside allowed_paths"])
    refused = desk.call("set", "--file", "given.json", "--wait", "30", given=TWO)
    assert refused.returncode == 1
    assert refused.stderr.endswith("entry 1: it is outside allowed_paths\n")
    late = desk.call("set", "--file", "given.json", "--host", "h2", "--wait", "0.5", given=TWO)
    assert late.returncode == 1
    assert "does it run" in late.stderr


def test_a_person_edits_at_a_terminal(desk: Desk, tmp_path: Path) -> None:
    desk.put(document("/var/log/a", colour="red"))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/web_log/other_log/ "$2"\n')
    editor.chmod(0o755)
    ours, theirs = pty.openpty()
    with desk.start(
        "edit", stdin=theirs, stdout=theirs, stderr=theirs, EDITOR=f"{shlex.quote(str(editor))} -x"
    ) as process:
        os.close(theirs)
        os.write(ours, b"y\n")
        said = b""
        while chunk := _read(ours):
            said += chunk
        process.wait(30)
    os.close(ours)

    assert process.returncode == 0, said
    assert b"topic: web_log -> other_log" in said
    assert b'"topic": "other_log"' in said
    assert b"Put this in place?" in said
    assert desk.json("get")["document"] == json.loads(
        document("/var/log/a", colour="red").replace("web_log", "other_log")
    )


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that nobody is on the other side any more
        return b""


def test_a_long_history_of_large_documents_fits_the_server(any_desk: Desk) -> None:
    desk = any_desk
    place = Place(desk.keys.services, desk.keys.audit)

    def read(store: Store) -> edits.State:
        return edits.read(place, store.load([place.key, place.audit]).items)

    def write(text: str, number: int) -> None:
        sent = edits.change(desk.ask(read), text.encode(), Author("ann", ""), 1e9 + number, "x")
        assert desk.ask(lambda store: store.commit(sent.guards, sent.writes)) is not None

    for number in range(edits.KEPT_RECORDS + 3):
        write(document(f"/var/log/{number}"), number)
    assert len(desk.ask(read).sizes) == edits.KEPT_RECORDS
    # Almost all quotes: nothing grows more in JSON and in a form.
    large = "[" + '"' + '\\"' * ((edits.OLD_BYTES - 20) // 2) + '"' + "]"
    for number in range(100, 112):
        write(large if number % 2 else large.replace("[", "[ "), number)
    state = desk.ask(read)
    assert sum(state.sizes.values()) <= edits.KEPT_BYTES
    assert len(state.records) >= 3
    assert state.recorded


def test_a_running_agent_is_waited_for(
    etcd_new: EtcdNode, agent: Callable[..., AgentProcess], key_root: str, tmp_path: Path
) -> None:
    shipper = agent(
        kafka_addr="127.0.0.1:1",
        services={},
        top={"etcd_addr": etcd_new.address, "etcd_watch_key": f"{key_root}/%s/logconfig"},
        agent={"host_id": "h1"},
        files={"allowed_paths": tmp_path},
    )
    shipper.wait_ready()
    desk = Desk(tmp_path / "desk", etcd_new.address, key_root)

    mine = document(str(tmp_path / "a.log"))
    assert desk.put(mine, "--wait", "20")["applied"] is True
    assert [one["service"] for one in shipper.status()["services"]] == ["web"]
    refused = desk.call("set", "--file", "given.json", "--wait", "20", given=ONE)
    assert refused.returncode == 1
    assert "the agent of h1 refused it" in refused.stderr
    assert "outside allowed_paths" in refused.stderr
    assert desk.call("rollback", "--wait", "20").returncode == 0
    assert desk.call("get", "--raw").stdout == mine
