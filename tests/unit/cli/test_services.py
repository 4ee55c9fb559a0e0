# SPDX-License-Identifier: Apache-2.0
"""The commands below `logagent services` on an Etcd in memory."""

import io
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from logagent.cli import services, services_desk, services_edit, services_wait
from logagent.control.cache import Cached, save
from logagent.errors import EtcdError, MemberUnavailable, OutcomeUnknown
from logagent.stores.memory_store import MemoryServer, MemoryStore
from logagent.stores.store import Item, Store

INI = """\
etcd_addr = 127.0.0.1:1
kafka_addr = localhost:9092
[agent]
host_id = h1
data_dir = state
[services]
[[web]]
log_path = /var/log/web.log
topic = ini_log
"""
KEY, AUDIT = "/logagent/h1/logconfig", "/logagent-audit/h1/"
STATUS = "/logagent-agents/h1/status"
NAMES = ("get", "set", "edit", "diff", "history", "rollback")


def document(*paths: str, **fields: object) -> str:
    return json.dumps([{"service": "web", "log_path": path, "topic": "web_log", **fields} for path in paths])


ONE, TWO = document("/var/log/a"), document("/var/log/a", "/var/log/b")


class Etcd:
    """The server, and what happens to the next calls."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.before_commit: list[Callable[[], object]] = []
        self.instead_of_commit: list[EtcdError] = []
        self.instead_of_load: list[EtcdError | None] = []
        self.loaded: list[tuple[str, ...]] = []

    def ask(self, operation: Callable[[Store], Any]) -> Any:
        return operation(self)  # type: ignore[arg-type]

    def load(self, keys: tuple[str, ...]) -> Any:
        self.loaded.append(keys)
        error = self.instead_of_load.pop(0) if self.instead_of_load else None
        if error is not None:
            raise error
        return MemoryStore(self.server).load(keys)

    def commit(self, guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        if self.before_commit:
            self.before_commit.pop(0)()
        if self.instead_of_commit:
            raise self.instead_of_commit.pop(0)
        return MemoryStore(self.server).commit(guards, writes)

    @property
    def value(self) -> str | None:
        item = self.item(KEY)
        return item and item.value.decode()

    def item(self, key: str) -> Item | None:
        return self.server.items.get(key)

    def records(self, prefix: str = AUDIT) -> list[dict[str, Any]]:
        return [json.loads(item.value) for key, item in self.server.items.items() if key.startswith(prefix)]


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Etcd:
    made = Etcd()
    monkeypatch.setattr(services_desk, "connect", lambda settings, host: made.ask)
    monkeypatch.setattr(services_edit, "pause", lambda seconds: None)
    monkeypatch.setenv("SUDO_USER", "ann")
    return made


@pytest.fixture
def ini_path(tmp_path: Path) -> Path:
    path = tmp_path / "logagent.ini"
    path.write_text(INI)
    return path


@pytest.fixture
def call(logagent: Callable[..., Any], ini_path: Path) -> Callable[..., Any]:
    """`logagent services NAME` with the configuration; bytes after --file become a file."""

    def run(name: str, *args: object) -> Any:
        words = []
        for arg in args:
            if isinstance(arg, bytes):
                (ini_path.parent / "given.json").write_bytes(arg)
            words.append(ini_path.parent / "given.json" if isinstance(arg, bytes) else arg)
        return logagent("services", name, "-c", ini_path, *words)

    return run


def put(call: Callable[..., Any], text: str, *args: object) -> Any:
    ended = call("set", "--file", text.encode(), "--json", *args)
    return ended, json.loads(ended.out) if ended.out else None


class TestHelp:
    @pytest.mark.parametrize("name", NAMES)
    def test_has_an_example_and_exit_codes(self, logagent: Callable[..., Any], name: str) -> None:
        ended = logagent("services", name, "--help")
        assert ended.code == 0
        assert f"logagent services {name} " in ended.out.partition("Example: ")[2]
        assert "Exit codes: 0 " in ended.out
        assert f"\n  {name} " in logagent("services", "--help").out

    def test_there_are_no_other_commands(self) -> None:
        assert tuple(services.services.commands) == NAMES

    def test_without_a_command_it_is_wrong_usage(self, logagent: Callable[..., Any]) -> None:
        assert logagent("services").code == 2


@pytest.mark.parametrize("args", [("get",), ("history",), ("rollback",), ("set", "--file", b"[]")])
def test_a_configuration_without_etcd_is_one_sentence(
    call: Callable[..., Any], ini_path: Path, args: tuple[Any, ...]
) -> None:
    ini_path.write_text(INI.replace("etcd_addr = 127.0.0.1:1", ""))
    ended = call(*args)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"{ini_path}: etcd_addr: ")


@pytest.mark.parametrize(
    "args", [("get",), ("get", "--merged"), ("history",), ("rollback",), ("set", "--file", b"[]")]
)
def test_an_etcd_that_is_away_is_one_sentence(
    call: Callable[..., Any], etcd: Etcd, args: tuple[Any, ...]
) -> None:
    etcd.instead_of_load.append(MemberUnavailable("k1:2379", "connection refused"))
    ended = call(*args)
    assert (ended.code, ended.out, ended.err) == (1, "", "k1:2379: connection refused\n")


class TestWhichDocument:
    def test_is_that_of_this_host(self, call: Callable[..., Any], etcd: Etcd) -> None:
        call("get")
        assert etcd.loaded == [(KEY,)], "a host may not read more than its own document"

    def test_can_be_that_of_another_host_or_a_group(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert put(call, ONE, "--host", "h2")[0].code == 0
        assert put(call, TWO, "--group", "default")[0].code == 0
        keys = list(etcd.server.items)
        assert "/logagent/h2/logconfig" in keys
        assert "/logagent-groups/default/logconfig" in keys
        assert len(etcd.records("/logagent-audit/h2/")) == 1
        assert len(etcd.records("/logagent-audit-groups/default/")) == 1
        assert etcd.value is None

    @pytest.mark.parametrize(
        "args",
        [
            ("--host", "a/b"),
            ("--host", ""),
            ("--host", "h2", "--group", "web"),
            ("--group", "a/b"),
            ("--group", "_x"),
            ("--group", "web", "--merged"),
            ("--raw", "--json"),
        ],
    )
    def test_must_be_named_well(self, call: Callable[..., Any], etcd: Etcd, args: tuple[str, ...]) -> None:
        ended = call("get", *args)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert etcd.loaded == []

    def test_knows_the_host_by_what_the_agent_kept(
        self, call: Callable[..., Any], etcd: Etcd, ini_path: Path
    ) -> None:
        ini_path.write_text(INI.replace("host_id = h1", ""))
        state = ini_path.parent / "state"
        state.mkdir()
        (state / "host_id").write_text("kept\n")
        call("get")
        assert etcd.loaded == [("/logagent/kept/logconfig",)]

    def test_makes_no_directory_to_know_the_host(
        self, call: Callable[..., Any], etcd: Etcd, ini_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ini_path.write_text(INI.replace("host_id = h1", ""))
        monkeypatch.setattr(services_desk, "primary_address", lambda: "192.0.2.7")
        call("get")
        assert etcd.loaded == [("/logagent/192.0.2.7/logconfig",)]
        assert not (ini_path.parent / "state").exists()

    def test_asks_for_the_host_if_what_was_kept_cannot_be_read(
        self, call: Callable[..., Any], etcd: Etcd, ini_path: Path
    ) -> None:
        ini_path.write_text(INI.replace("host_id = h1", ""))
        (ini_path.parent / "state" / "host_id").mkdir(parents=True)
        ended = call("get")
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert ended.err.endswith("name the host with --host\n")
        assert call("get", "--host", "h1").code == 0
        assert call("get", "--group", "web").code == 0


class TestGet:
    def test_shows_the_document_with_revision_and_hash(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, document("/var/log/a", send_rate=5))
        ended = call("get")
        assert (ended.code, ended.err) == (0, "")
        words = [line.split() for line in ended.out.splitlines()]
        assert words[0] == [f"{KEY},", "revision", "2"]
        assert words[1][0] == "SHA-256"
        assert ["web", "/var/log/a", "web_log", "5", "raw"] in words

    def test_prints_json(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, document("/var/log/a", colour="red"))
        told = json.loads(call("get", "--json").out)
        assert (told["schema"], told["key"], told["revision"]) == (1, KEY, 2)
        assert len(told["sha256"]) == 64
        assert told["document"] == json.loads(document("/var/log/a", colour="red"))
        assert told["entries"][0]["topic"] == "web_log"
        assert "'colour' is an unknown field" in told["warnings"][0]

    @pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400])
    def test_json_is_json_whatever_is_stored(self, call: Callable[..., Any], etcd: Etcd, number: str) -> None:
        etcd.server.put(KEY, f'[{{"service": "s", "log_path": "/a", "topic": "t", "x": {number}}}]')
        ended = call("get", "--json")
        told = json.loads(ended.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert (ended.code, told["document"]) == (0, None)
        assert "a number that is too large" in told["faults"][0]

    def test_prints_exactly_what_is_stored(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, " [ ]\r\n")
        assert call("get", "--raw").out == " [ ]\r\n"

    @pytest.mark.parametrize("args", [(), ("--json",), ("--raw",)])
    def test_of_nothing_is_fine(self, call: Callable[..., Any], etcd: Etcd, args: tuple[str, ...]) -> None:
        ended = call("get", *args)
        assert (ended.code, ended.err) == (0, "")
        if "--json" in args:
            assert json.loads(ended.out)["revision"] == 0
        assert ("does not exist" in ended.out) is (args == ())

    def test_shows_what_agents_refuse(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, document("relative", "/var/log/a"))
        ended = call("get")
        assert ended.code == 0
        assert "/var/log/a" in ended.out
        assert ended.err.startswith(f"warning: agents refuse this: {KEY}: entry 1: ")
        etcd.server.put(KEY, "[\x1b")
        ended = call("get")
        assert ended.code == 0
        assert "It names no service." in ended.out
        assert "\x1b" not in ended.out + ended.err
        for refused in ("[", "[NaN]"):
            etcd.server.put(KEY, refused)
            assert json.loads(call("get", "--json").out)["document"] is None


class TestMerged:
    @pytest.fixture
    def layers(self, etcd: Etcd) -> Etcd:
        etcd.server.put("/logagent/h1/groups", '["g1"]')
        etcd.server.put(
            KEY,
            json.dumps(
                [
                    {"service": "web", "log_path": "/var/log/web.log", "topic": "host_log"},
                    {"service": "db", "log_path": "/var/log/db", "disabled": True},
                ]
            ),
        )
        db = {"service": "db", "topic": "db_log"}
        etcd.server.put("/logagent-groups/g1/logconfig", json.dumps([db | {"log_path": "/var/log/db"}]))
        etcd.server.put("/logagent-groups/default/logconfig", json.dumps([db | {"log_path": "/var/log/x"}]))
        return etcd

    def test_shows_the_layer_of_each_entry_and_what_is_hidden(
        self, call: Callable[..., Any], layers: Etcd
    ) -> None:
        ended = call("get", "--merged")
        assert (ended.code, ended.err) == (0, "")
        words = [line.split() for line in ended.out.splitlines()]
        assert ["web", "/var/log/web.log", "ini_log", "unlimited", "raw", "ini"] in words
        assert ["db", "/var/log/x", "db_log", "unlimited", "raw", "default"] in words
        assert ["web", "/var/log/web.log", "etcd", "replaced", "ini"] in words
        assert ["db", "/var/log/db", "group", "g1", "disabled", "etcd"] in words

    def test_is_json_too(self, call: Callable[..., Any], layers: Etcd) -> None:
        told = json.loads(call("get", "--merged", "--json").out)
        assert (told["host"], told["ini"], told["groups"]) == ("h1", True, ["g1"])
        assert [(one["topic"], one["source"]) for one in told["entries"]] == [
            ("ini_log", "ini"),
            ("db_log", "default"),
        ]
        assert [(one["source"], one["by"], one["disabled"]) for one in told["hidden"]] == [
            ("etcd", "ini", False),
            ("group g1", "etcd", True),
        ]
        assert told["documents"][KEY]["revision"] == 3

    def test_of_another_host_lacks_its_ini_and_says_so(self, call: Callable[..., Any], layers: Etcd) -> None:
        ended = call("get", "--merged", "--host", "h2")
        assert ended.code == 0
        assert "ini_log" not in ended.out
        assert "/var/log/x" in ended.out
        assert "the INI of host h2 is not known here" in ended.err

    def test_of_nothing_is_what_the_ini_says(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert "ini_log" in call("get", "--merged").out
        assert "No layer names a service." in call("get", "--merged", "--host", "h2").out


class TestSet:
    def test_writes_the_bytes_and_a_record(self, call: Callable[..., Any], etcd: Etcd) -> None:
        ended = call("set", "--file", f" {TWO}\n".encode(), "--comment", "second  file")
        assert (ended.code, ended.err) == (0, "")
        assert etcd.value == f" {TWO}\n"
        record = etcd.records()[0]
        assert (record["who"], record["comment"]) == (f"ann@{socket.gethostname()}", "second file")
        words = [line.split() for line in ended.out.splitlines()]
        assert ["added", "web", "/var/log/b", "topic", "web_log"] in words
        assert f"Wrote {KEY}: revision 2, version " in ended.out

    def test_tells_programs_what_it_did(self, call: Callable[..., Any], etcd: Etcd) -> None:
        ended, told = put(call, ONE)
        assert (ended.code, ended.err) == (0, "")
        assert (told["changed"], told["dry_run"], told["key"], told["revision"]) == (True, False, KEY, 2)
        assert f"{AUDIT}{told['version']}" in etcd.server.items
        assert told["changes"][0]["what"] == "added"
        assert told["diff"].startswith(f"--- {KEY}\n")
        again = put(call, ONE)[1]
        assert (again["changed"], again["revision"], again["version"]) == (False, 2, told["version"])

    def test_takes_standard_input(
        self, call: Callable[..., Any], etcd: Etcd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ONE.encode())))
        assert call("set", "--file", "-").code == 0
        assert etcd.value == ONE

    def test_leaves_alone_what_says_the_same(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, ONE)
        ended = call("set", "--file", json.dumps(json.loads(ONE), indent=4, sort_keys=True).encode())
        assert ended.code == 0
        assert ended.out == f"{KEY} says the same already (revision 2); nothing was written.\n"
        assert etcd.server.revision == 2

    @pytest.mark.parametrize("mode", services_edit.MODES)
    def test_refuses_all_faults_at_once_and_writes_nothing(
        self, call: Callable[..., Any], etcd: Etcd, mode: str
    ) -> None:
        bad = json.dumps(
            [
                {"service": "web", "log_path": "relative", "topic": "t"},
                {"service": "web", "log_path": "/etc/passwd", "topic": "a b"},
                {"service": "ok", "log_path": "/var/log/a", "topic": "t"},
            ]
        )
        ended = call("set", "--mode", mode, "--file", bad.encode())
        assert (ended.code, ended.out) == (2, "")
        lines = ended.err.splitlines()
        assert len(lines) == 3
        assert all("given.json: entry " in line for line in lines)
        assert etcd.server.revision == 1
        assert etcd.loaded == [], "faults are told without Etcd"
        _, told = put(call, bad, "--mode", mode)
        assert (told["changed"], len(told["faults"])) == (False, 3)

    @pytest.mark.parametrize(
        "text", ["", "null", "7", "{}", "[", "[]]", '[{"service": "a", "service": "b"}]']
    )
    def test_refuses_what_is_no_list(self, call: Callable[..., Any], etcd: Etcd, text: str) -> None:
        ended = call("set", "--file", text.encode())
        assert (ended.code, ended.err.count("\n")) == (2, 1)

    def test_keeps_unknown_fields_and_warns(self, call: Callable[..., Any], etcd: Etcd) -> None:
        ended = call("set", "--file", document("/var/log/a", send_rat=1).encode())
        assert ended.code == 0
        assert "warning: " in ended.err
        assert "'send_rat' is an unknown field" in ended.err
        assert "send_rat" in str(etcd.value)

    @pytest.mark.parametrize("name", ["missing.json", "."])
    def test_needs_a_file_that_can_be_read(self, call: Callable[..., Any], etcd: Etcd, name: str) -> None:
        ended = call("set", "--file", name)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert ended.err.startswith("--file = ")

    def test_limits_comments(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert put(call, ONE, "--comment", "x" * 1001)[0].code == 2
        assert put(call, ONE, "--comment", "x" * 1000)[0].code == 0

    def test_is_refused_if_somebody_is_faster(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, ONE)
        etcd.before_commit.append(lambda: put(call, "[]"))
        ended = call("set", "--file", TWO.encode())
        assert ended.code == 1
        assert ended.err.startswith(f"{KEY} was changed meanwhile by ann@")
        assert ended.err.endswith("it is at revision 3 now; nothing was written\n")
        assert etcd.value == "[]"
        etcd.before_commit.append(lambda: etcd.server.put(KEY, ONE))
        assert f"{KEY} was changed meanwhile without logagent" in call("set", "--file", TWO.encode()).err

    def test_may_insist_on_a_revision(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, ONE)
        ended = call("set", "--file", TWO.encode(), "--from-revision", 1)
        assert (ended.code, etcd.value) == (1, ONE)
        assert "is at revision 2, not 1" in ended.err
        assert put(call, TWO, "--from-revision", 2)[1]["changed"] is True
        assert call("set", "--file", ONE.encode(), "--from-revision", 3, "--mode", "seed").code == 2

    def test_dry_run_shows_and_writes_nothing(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, ONE)
        for mode in ("replace", "enforce"):
            ended = call("set", "--file", TWO.encode(), "--dry-run", "--mode", mode)
            assert ended.code == 0
            assert "added  web" in ended.out
            assert '\n+    "log_path": "/var/log/b",' in ended.out
            assert "Nothing was written" in ended.out
            told = put(call, TWO, "--dry-run", "--mode", mode)[1]
            assert (told["changed"], told["dry_run"], told["version"]) == (True, True, None)
            ended, same = put(call, ONE, "--dry-run", "--mode", mode, "--wait", 0)
            assert (ended.code, same["changed"], same["dry_run"]) == (0, False, True)
        assert etcd.server.revision == 2


class TestSeed:
    def test_puts_a_document_only_where_there_is_none(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert put(call, ONE, "--mode", "seed")[1]["changed"] is True
        ended, told = put(call, TWO, "--mode", "seed")
        assert (ended.code, told["changed"], told["revision"]) == (0, False, 2)
        assert etcd.value == ONE
        assert put(call, TWO, "--mode", "seed", "--dry-run")[1]["changed"] is False

    def test_would_put_one(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert put(call, ONE, "--mode", "seed", "--dry-run")[1]["changed"] is True
        assert etcd.value is None

    def test_gives_way_to_a_faster_one(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.before_commit.append(lambda: etcd.server.put(KEY, TWO))
        ended, told = put(call, ONE, "--mode", "seed")
        assert (ended.code, told["changed"], etcd.value) == (0, False, TWO)


class TestEnforce:
    def test_goes_on_until_it_is_equal(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.before_commit += [lambda: etcd.server.put(KEY, ONE), lambda: etcd.server.put(KEY, "[]")]
        ended, told = put(call, TWO, "--mode", "enforce")
        assert (ended.code, told["changed"], etcd.value) == (0, True, TWO)
        assert len(etcd.records()) == 1

    def test_changes_nothing_if_somebody_else_wrote_the_same(
        self, call: Callable[..., Any], etcd: Etcd
    ) -> None:
        etcd.before_commit.append(lambda: etcd.server.put(KEY, TWO))
        ended, told = put(call, TWO, "--mode", "enforce")
        assert (ended.code, told["changed"]) == (0, False)

    def test_gives_up_in_the_end(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.before_commit += [
            lambda number=number: etcd.server.put(KEY, document(f"/var/log/{number}")) for number in range(99)
        ]
        assert put(call, TWO, "--mode", "enforce")[0].code == 1
        assert len(etcd.before_commit) == 99 - services_edit.ATTEMPTS

    def test_repeats_what_did_not_come(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.instead_of_commit.append(OutcomeUnknown("no answer"))
        ended, told = put(call, TWO, "--mode", "enforce")
        assert (ended.code, told["changed"], etcd.value) == (0, True, TWO)


class TestWithoutAnAnswer:
    def test_a_change_in_force_is_told_as_such(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.lose_answers()
        ended, told = put(call, ONE)
        assert (ended.code, told["changed"], told["revision"]) == (0, True, 2)
        assert ended.err.startswith("warning: ")
        assert "the change is in force\n" in ended.err

    def test_one_that_did_not_come_is_1(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.instead_of_commit.append(OutcomeUnknown("no answer"))
        ended, told = put(call, ONE)
        assert (ended.code, told) == (1, None)
        assert ended.err.startswith("no answer; ")
        assert "it was not changed so far; to repeat it is safe" in ended.err

    def test_one_that_was_replaced_is_1(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.lose_answers()

        def next_one(keys: tuple[str, ...]) -> Any:
            if etcd.value == ONE:
                etcd.server.put(KEY, TWO)
            return MemoryStore(etcd.server).load(keys)

        etcd.load = next_one  # type: ignore[method-assign]
        ended, told = put(call, ONE)
        assert (ended.code, told) == (1, None)
        assert "was changed meanwhile without logagent" in ended.err
        assert "before that, this change was in force" in ended.err

    def test_it_is_said_if_nobody_can_tell(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.lose_answers()
        etcd.instead_of_load += [None, MemberUnavailable("k1:2379", "connection refused")]
        ended, told = put(call, ONE)
        assert (ended.code, told, ended.err.count("\n")) == (1, None, 1)
        assert f"whether {KEY} was changed is unknown" in ended.err
        assert "connection refused" in ended.err


class TestDiff:
    def test_shows_entries_and_lines(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, ONE)
        ended = call("diff", "--file", document("/var/log/a", send_rate=9).encode())
        assert (ended.code, ended.err) == (0, "")
        assert ["changed", "web", "/var/log/a", "send_rate:", "-", "->", "9"] in [
            line.split() for line in ended.out.splitlines()
        ]
        assert f"--- {KEY}\n+++ " in ended.out
        assert etcd.server.revision == 2

    def test_is_json_too(self, call: Callable[..., Any], etcd: Etcd) -> None:
        told = json.loads(call("diff", "--json", "--file", ONE.encode()).out)
        assert (told["changed"], told["revision"]) == (True, 0)
        assert told["changes"] == [
            {
                "what": "added",
                "service": "web",
                "log_path": "/var/log/a",
                "fields": [{"name": "topic", "old": "-", "new": "web_log"}],
            }
        ]

    def test_of_the_same_says_so(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, ONE)
        assert "changes nothing" in call("diff", "--file", ONE.encode()).out
        assert json.loads(call("diff", "--json", "--file", ONE.encode()).out)["changed"] is False

    def test_tells_that_only_the_order_changes(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, TWO)
        turned = json.dumps(json.loads(TWO)[::-1])
        assert "No entry changes" in call("diff", "--file", turned.encode()).out

    def test_of_a_faulty_document_is_2(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert call("diff", "--file", b"[7]").code == 2

    def test_escapes_what_moves_a_cursor(self, call: Callable[..., Any], etcd: Etcd) -> None:
        etcd.server.put(KEY, b'["\x9b31m", "\xe2\x80\xae"]\x1b')
        ended = call("diff", "--file", ONE.encode())
        assert all(char.isprintable() or char == "\n" for char in ended.out)


class TestHistory:
    def test_lists_every_change(self, call: Callable[..., Any], etcd: Etcd) -> None:
        first = put(call, ONE, "--comment", "a [red] one")[1]["version"]
        etcd.server.put(KEY, TWO)
        second = put(call, "[]")[1]["version"]
        ended = call("history")
        assert (ended.code, ended.err) == (0, "")
        lines = [line.split() for line in ended.out.splitlines()]
        who = f"ann@{socket.gethostname()}"
        assert [line[0] for line in lines[2:5]] == [second, f"before-{second}", first]
        assert lines[2][3:] == [who, "-", "2", "->", "0", "3", "4", "in", "force"]
        assert lines[3][1:5] == ["-", "written", "without", "logagent"]
        assert lines[4][3:] == [who, "a", "[red]", "one", "0", "->", "1", "0", "2"]

    def test_is_json_too(self, call: Callable[..., Any], etcd: Etcd) -> None:
        version = put(call, ONE)[1]["version"]
        told = json.loads(call("history", "--json").out)
        assert told["key"] == KEY
        assert told["versions"][0] | {"time": "", "who": ""} == {
            "version": version,
            "time": "",
            "who": "",
            "comment": "",
            "entries_before": 0,
            "entries_after": 1,
            "from_revision": 0,
            "revision": 2,
            "in_force": True,
        }
        assert told["versions"][0]["time"].endswith("+00:00")

    def test_of_nothing_says_so(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert call("history").out == f"{KEY} has no history.\n"
        assert json.loads(call("history", "--json").out)["versions"] == []


class TestRollback:
    def test_goes_back_and_can_be_gone_back_on(self, call: Callable[..., Any], etcd: Etcd) -> None:
        first, second = (put(call, text)[1]["version"] for text in (ONE, TWO))
        ended = call("rollback")
        assert (ended.code, ended.err, etcd.value) == (0, "", ONE)
        assert "removed  web" in ended.out
        assert etcd.records()[-1]["comment"] == f"rollback to {first}"
        assert call("rollback").code == 0
        assert etcd.value == TWO
        assert call("rollback", first, "--comment", "why not").code == 0
        assert etcd.value == ONE
        assert etcd.records()[-1]["comment"] == "why not"
        told = json.loads(call("rollback", second, "--json").out)
        assert (told["changed"], etcd.value) == (True, TWO)
        assert json.loads(call("rollback", second, "--json").out)["changed"] is False

    def test_goes_back_to_nothing(self, call: Callable[..., Any], etcd: Etcd) -> None:
        put(call, ONE)
        ended = call("rollback")
        assert (ended.code, etcd.value) == (0, None)
        assert f"Deleted {KEY}: revision 3" in ended.out

    def test_needs_a_version_that_there_is(self, call: Callable[..., Any], etcd: Etcd) -> None:
        assert "has no history" in call("rollback").err
        put(call, ONE)
        ended = call("rollback", "nonsense")
        assert (ended.code, ended.err.count("\n")) == (1, 1)

    def test_is_checked_by_the_rules_of_today(
        self, call: Callable[..., Any], etcd: Etcd, ini_path: Path
    ) -> None:
        put(call, ONE)
        put(call, "[]")
        ini_path.write_text(INI + "[files]\ndenied_paths = /var/log/a\n")
        ended = call("rollback")
        assert (ended.code, etcd.value) == (2, "[]")
        assert "denied_paths" in ended.err

    def test_dry_run_shows_and_writes_nothing(self, call: Callable[..., Any], etcd: Etcd) -> None:
        put(call, ONE)
        ended = call("rollback", "--dry-run")
        assert (ended.code, etcd.value) == (0, ONE)
        assert "removed  web" in ended.out
        assert "Nothing was written" in ended.out

    def test_is_refused_if_somebody_is_faster(self, call: Callable[..., Any], etcd: Etcd) -> None:
        put(call, ONE)
        etcd.before_commit.append(lambda: etcd.server.put(KEY, TWO))
        assert call("rollback").code == 1
        assert etcd.value == TWO


class Person:
    """Somebody at a terminal: what the editor makes of the text, and the answers to questions."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.writes: list[str] = []
        self.answers: list[bool] = []
        self.asked: list[str] = []
        self.saw: list[str] = []
        self.before_editor_ends: Callable[[], object] = lambda: None

    def edit(self, argv: list[str]) -> int:
        path = Path(argv[-1])
        assert path.stat().st_mode & 0o777 == 0o600
        self.saw.append(path.read_text())
        if self.writes:
            path.write_text(self.writes.pop(0))
        self.before_editor_ends()
        self.before_editor_ends = lambda: None
        return 0

    def confirm(self, text: str, default: bool = False, abort: bool = False) -> bool:
        self.asked.append(text)
        answer = self.answers.pop(0)
        if abort and not answer:
            raise click.Abort
        return answer


@pytest.fixture
def person(etcd: Etcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    made = Person(tmp_path)
    monkeypatch.setattr(services_edit, "on_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", made.confirm)
    monkeypatch.setattr("logagent.cli.editor.subprocess.call", made.edit)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return made


def drafts(person: Person) -> list[Path]:
    return list(person.place.glob("logagent-services.*"))


class TestEdit:
    def test_shows_the_difference_asks_and_writes(
        self, call: Callable[..., Any], etcd: Etcd, person: Person
    ) -> None:
        etcd.server.put(KEY, document("/var/log/a", colour="red"))
        person.writes, person.answers = [document("/var/log/a", "/var/log/b", colour="red")], [True]
        ended = call("edit", "--comment", "by hand")
        assert (ended.code, person.asked) == (0, ["Put this in place?"])
        assert json.loads(person.saw[0]) == json.loads(document("/var/log/a", colour="red"))
        assert person.saw[0].count("\n") == 8, "a field per line"
        assert "added  web" in ended.out
        assert "+++ edited" in ended.out
        assert json.loads(str(etcd.value))[1]["colour"] == "red"
        assert etcd.records()[0]["comment"] == "by hand"
        assert drafts(person) == []

    def test_begins_with_an_empty_list(self, call: Callable[..., Any], etcd: Etcd, person: Person) -> None:
        person.writes, person.answers = [ONE], [True]
        assert call("edit", "--group", "web").code == 0
        assert person.saw == ["[]\n"]
        assert etcd.item("/logagent-groups/web/logconfig") == Item(ONE.encode(), 2)

    @pytest.mark.parametrize("stored", [None, ONE])
    def test_left_alone_changes_nothing(
        self, call: Callable[..., Any], etcd: Etcd, person: Person, stored: str | None
    ) -> None:
        if stored:
            etcd.server.put(KEY, stored)
        ended = call("edit")
        assert (ended.code, person.asked, etcd.value) == (0, [], stored)
        assert "Nothing changed" in ended.out
        assert drafts(person) == []

    def test_half_a_surrogate_pair_is_shown_as_json_escapes_it(
        self, call: Callable[..., Any], etcd: Etcd, person: Person
    ) -> None:
        stored = document("/var/log/a", colour="\ud800ü")
        etcd.server.put(KEY, stored)
        ended = call("edit")
        assert (ended.code, etcd.value) == (0, stored)
        assert "Nothing changed" in ended.out
        assert '"colour": "\\ud800ü"' in person.saw[0]
        assert drafts(person) == []
        etcd.server.put(KEY, document("/var/log/\ud800"))
        person.writes, person.answers = [ONE], [True]
        assert call("edit").code == 0
        assert etcd.value == ONE

    def test_declined_keeps_the_draft(self, call: Callable[..., Any], etcd: Etcd, person: Person) -> None:
        person.writes, person.answers = [ONE], [False]
        ended = call("edit")
        assert (ended.code, etcd.value) == (1, None)
        assert drafts(person)[0].read_text() == ONE
        assert str(drafts(person)[0]) in ended.err

    def test_with_faults_opens_again(self, call: Callable[..., Any], etcd: Etcd, person: Person) -> None:
        person.writes, person.answers = [document("relative"), ONE], [True, True]
        ended = call("edit")
        assert (ended.code, etcd.value) == (0, ONE)
        assert person.asked[0] == "Edit again?"
        assert "log_path" in ended.err
        assert person.saw[1] == document("relative")

    def test_with_faults_may_be_left(self, call: Callable[..., Any], etcd: Etcd, person: Person) -> None:
        person.writes, person.answers = ["[7]"], [False]
        ended = call("edit")
        assert (ended.code, etcd.value) == (2, None)
        assert len(drafts(person)) == 1

    def test_tells_who_was_faster_and_goes_on_from_theirs(
        self, call: Callable[..., Any], etcd: Etcd, person: Person
    ) -> None:
        etcd.server.put(KEY, ONE)
        person.writes, person.answers = [TWO, document("/var/log/m")], [True, True, True, True]
        person.before_editor_ends = lambda: put(call, document("/var/log/theirs"))
        ended = call("edit")
        assert ended.code == 0
        assert f"{KEY} was changed meanwhile by ann@" in ended.err
        assert [question[:9] for question in person.asked] == [
            "Put this ",
            "Show thei",
            "Edit your",
            "Put this ",
        ]
        assert person.saw[1] == TWO, "mine"
        assert json.loads(str(etcd.value))[0]["log_path"] == "/var/log/m"
        shown = ended.out.partition("+++ now")[2]
        assert '+    "log_path": "/var/log/theirs",' in shown
        assert '-    "log_path": "/var/log/theirs",' in shown.partition("+++ edited")[2]

    def test_may_give_way_to_a_faster_one(self, call: Callable[..., Any], etcd: Etcd, person: Person) -> None:
        etcd.server.put(KEY, ONE)
        person.writes, person.answers = [TWO], [True, False, False]
        person.before_editor_ends = lambda: etcd.server.put(KEY, "[]")
        assert call("edit").code == 130
        assert etcd.value == "[]"
        assert drafts(person)[0].read_text() == TWO

    def test_with_yes_asks_nothing(self, call: Callable[..., Any], etcd: Etcd, person: Person) -> None:
        person.writes = [ONE]
        assert call("edit", "--yes").code == 0
        person.writes = ["[7]"]
        assert call("edit", "--yes").code == 2
        person.writes = [TWO]
        person.before_editor_ends = lambda: etcd.server.put(KEY, "[]")
        assert call("edit", "--yes").code == 1
        assert (person.asked, etcd.value) == ([], "[]")

    def test_needs_somebody_to_ask(
        self, call: Callable[..., Any], person: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services_edit, "on_terminal", lambda: False)
        ended = call("edit")
        assert (ended.code, person.saw) == (2, [])
        assert ended.err.startswith("--yes: ")


class TestTheEditor:
    @pytest.fixture
    def started(self, person: Person, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        started: list[list[str]] = []
        monkeypatch.setattr(
            "logagent.cli.editor.subprocess.call", lambda argv: started.append(argv) or person.edit(argv)
        )
        return started

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            ({"VISUAL": "code -w", "EDITOR": "nano"}, ["code", "-w"]),
            ({"EDITOR": "'my editor' -x"}, ["my editor", "-x"]),
            ({}, ["vi"]),
        ],
    )
    def test_is_that_of_the_environment(
        self,
        call: Callable[..., Any],
        started: list[list[str]],
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
        words: list[str],
    ) -> None:
        for name in ("VISUAL", "EDITOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        call("edit")
        assert started[0][:-1] == words

    @pytest.mark.parametrize("editor", ["no-such-editor-here", "false", "'"])
    def test_that_fails_is_one_sentence(
        self, call: Callable[..., Any], etcd: Etcd, monkeypatch: pytest.MonkeyPatch, editor: str
    ) -> None:
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", editor)
        ended = call("edit", "--yes")
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert editor in ended.err


class TestWait:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> "Clock":
        made = Clock()
        monkeypatch.setattr(services_wait, "monotonic", lambda: made.now_s)
        monkeypatch.setattr(services_wait, "pause", made.pause)
        return made

    def test_is_over_when_the_agent_applied_it(
        self, call: Callable[..., Any], etcd: Etcd, clock: "Clock"
    ) -> None:
        tell(etcd, revision=1)
        clock.at(2.0, lambda: tell(etcd, revision=3))
        ended, told = put(call, ONE, "--wait", 10)
        assert (ended.code, told["changed"], told["applied"], told["revision"]) == (0, True, True, 3)
        assert 2.0 <= clock.now_s < 2.5

    def test_is_over_when_the_agent_refused_it(
        self, call: Callable[..., Any], etcd: Etcd, clock: "Clock"
    ) -> None:
        errors = ["/logagent-groups/default/logconfig: theirs", f"{KEY}: entry 1: may not be read"]
        clock.at(1.0, lambda: tell(etcd, revision=9, errors=errors, state="rejected"))
        ended, told = put(call, ONE, "--wait", 10)
        assert (ended.code, told["changed"], told["applied"]) == (1, True, False)
        assert told["reason"] == ended.err[:-1]
        assert ended.err.endswith(f"the agent of h1 refused it: {KEY}: entry 1: may not be read\n")
        assert clock.now_s < 1.5

    def test_is_over_in_the_end(self, call: Callable[..., Any], etcd: Etcd, clock: "Clock") -> None:
        ended = call("set", "--file", ONE.encode(), "--wait", 3.1)
        assert ended.code == 1
        assert f"there is no {STATUS}" in ended.err
        assert clock.now_s == pytest.approx(3.1)
        tell(etcd, revision=1, state="unreachable", error="no member")
        ended = call("set", "--file", TWO.encode(), "--wait", 0)
        assert "its state is unreachable (no member), it has revision 1" in ended.err
        assert etcd.value == TWO

    def test_goes_on_while_etcd_is_away(self, call: Callable[..., Any], etcd: Etcd, clock: "Clock") -> None:
        away = MemberUnavailable("k1:2379", "connection refused")
        etcd.instead_of_load = [None, away, away]
        clock.at(0.4, lambda: tell(etcd, revision=2))
        ended, told = put(call, ONE, "--wait", 3)
        assert (ended.code, told["applied"]) == (0, True)
        etcd.instead_of_load = [None, *[away] * 99]
        assert call("set", "--file", TWO.encode(), "--wait", 3).err.endswith("connection refused\n")

    def test_holds_for_a_document_that_is_equal_already(
        self, call: Callable[..., Any], etcd: Etcd, clock: "Clock"
    ) -> None:
        etcd.server.put(KEY, ONE)
        tell(etcd, revision=1)
        assert put(call, ONE, "--mode", "enforce", "--wait", 1)[0].code == 1
        tell(etcd, revision=2)
        told = put(call, ONE, "--mode", "enforce", "--wait", 1)[1]
        assert (told["changed"], told["applied"]) == (False, True)

    def test_holds_for_a_document_that_is_gone(
        self, call: Callable[..., Any], etcd: Etcd, clock: "Clock"
    ) -> None:
        put(call, ONE)
        assert call("rollback", "--wait", 0).code == 1, "nobody said anything yet"
        put(call, ONE)
        tell(etcd, revision=2)
        clock.at(1.0, lambda: etcd.server.put(STATUS, '{"state": "applied", "applied": {}}'))
        assert call("rollback", "--wait", 5).code == 0
        assert 1.0 <= clock.now_s < 1.5

    @pytest.mark.parametrize(
        "status", ["", "[]", "null", '{"applied": 7}', '{"applied": {"' + KEY + '": 7}}']
    )
    def test_takes_no_rubbish_for_an_answer(
        self, call: Callable[..., Any], etcd: Etcd, clock: "Clock", status: str
    ) -> None:
        etcd.server.put(STATUS, status)
        assert put(call, ONE, "--wait", 1)[0].code == 1

    def test_is_for_a_host(self, call: Callable[..., Any], etcd: Etcd) -> None:
        ended = call("set", "--file", ONE.encode(), "--group", "web", "--wait", 1)
        assert (ended.code, etcd.server.revision) == (2, 1)
        assert ended.err.startswith("--wait ")


class Clock:
    """Time that passes only in pauses; something happens at a moment."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._at_s = float("inf")
        self._then: Callable[[], object] = lambda: None

    def at(self, seconds: float, then: Callable[[], object]) -> None:
        self._at_s, self._then = seconds, then

    def pause(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds
        if self.now_s >= self._at_s:
            self._at_s = float("inf")
            self._then()


def tell(etcd: Etcd, *, revision: int, state: str = "applied", errors: Any = (), error: str = "") -> None:
    """What the agent says of itself."""
    applied = {KEY: {"revision": revision, "sha256": ""}}
    etcd.server.put(
        STATUS, json.dumps({"state": state, "error": error, "applied": applied, "errors": errors})
    )


class Members:
    """A cluster whose first member is asked which API it has."""

    def __init__(self) -> None:
        self.warning = ""
        self.remembered: list[str] = []
        self.server = MemoryServer()

    def remember(self, api: str) -> None:
        self.remembered.append(api)

    def first_answering(self, operation: Callable[[Store], Any]) -> Any:
        self.warning = "there are keys in both"
        return operation(MemoryStore(self.server))


class TestConnecting:
    @pytest.fixture
    def members(self, monkeypatch: pytest.MonkeyPatch) -> Members:
        made = Members()
        cluster = SimpleNamespace(members=lambda: made)
        monkeypatch.setattr(services_desk, "Cluster", lambda settings, host, spawner: cluster)
        return made

    def test_tells_what_was_found_out_about_the_server(
        self, call: Callable[..., Any], members: Members
    ) -> None:
        ended = put(call, ONE)[0]
        assert (ended.code, ended.err) == (0, "warning: there are keys in both\n")

    def test_takes_the_api_that_the_agent_took(
        self, call: Callable[..., Any], members: Members, ini_path: Path
    ) -> None:
        call("get")
        assert members.remembered == []
        cached = Cached("v2", "c", 1, 1, "/logagent/%s/logconfig", "h1", {}, (), 0.0)
        (ini_path.parent / "state").mkdir()
        save(ini_path.parent / "state" / "etcd-cache.json", cached)
        call("get")
        assert members.remembered == ["v2"]


def test_who_is_the_login_name_without_sudo(
    call: Callable[..., Any], etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("LOGNAME", "bob")
    put(call, ONE)
    assert etcd.records()[0]["who"] == f"bob@{socket.gethostname()}"

    def nobody() -> str:
        raise OSError

    monkeypatch.setattr("getpass.getuser", nobody)
    put(call, TWO)
    assert etcd.records()[1]["who"] == f"uid {os.getuid()}@{socket.gethostname()}"
