# SPDX-License-Identifier: Apache-2.0
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_settings_come_with_their_origin_then_services_then_warnings(
    logagent: Callable[..., Any], ini_path: Path
) -> None:
    password = "[etcd]\nuser = a\npassword_file = p\n"
    ini_path.write_text("etcd_addr = etcd1:2379\n" + ini_path.read_text() + password)
    ended = logagent("check", "-c", ini_path)
    assert ended.code == 0
    words = [line.split() for line in ended.out.splitlines()]
    assert ["kafka_addr", "localhost:9092", "logagent.ini:2"] in words
    assert ["kafka", "linger_ms", "50", "default"] in words
    assert ["services.web", "topic", "web_log", "logagent.ini:8"] in words
    assert ["web", "/var/log/web/*.log", "web_log", "500", "raw", "ini"] in words
    assert ["db", "/var/log/db.log", "db_log", "unlimited", "raw", "ini"] in words
    assert ended.err.startswith("warning: [etcd] user is set")


def test_columns_are_aligned(logagent: Callable[..., Any], ini_path: Path) -> None:
    lines = logagent("check", "-c", ini_path).out.split("Services\n")[1].splitlines()
    head, *rows = [line for line in lines if line]
    for column in ("log_path", "topic", "lines/s"):
        start = head.index(column)
        assert all(row[start - 1] == " " and row[start] != " " for row in rows)


def test_json_has_settings_services_and_warnings(logagent: Callable[..., Any], ini_path: Path) -> None:
    document = json.loads(logagent("check", "-c", ini_path, "--json").out)
    assert set(document) == {"schema", "file", "settings", "services", "warnings"}
    assert {"section": "kafka", "key": "linger_ms", "value": "50", "origin": "default"} in document[
        "settings"
    ]
    assert [service["service"] for service in document["services"]] == ["web", "db"]
    assert [entry["log_path"] for entry in document["services"][0]["entries"]] == [
        "/var/log/web/*.log", "/var/log/web.err",
    ]  # fmt: skip
    assert document["services"][0]["entries"][0]["send_rate_lines_per_s"] == 500


def test_json_has_the_faults_with_their_parts(logagent: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "bad.ini"
    path.write_text("kafka_addr = localhost:9092\nthread_num = many\n")
    ended = logagent("check", "-c", path, "--json")
    (fault,) = json.loads(ended.out)["faults"]
    assert (fault["key"], fault["value"]) == ("thread_num", "many")
    assert ended.code == 2
    assert ended.err.count("\n") == 1


def test_nothing_is_written(logagent: Callable[..., Any], ini_path: Path) -> None:
    logagent("check", "-c", ini_path)
    assert os.listdir(ini_path.parent) == ["logagent.ini"]


def test_control_characters_of_a_path_are_shown_escaped(logagent: Callable[..., Any], ini_path: Path) -> None:
    ini_path.write_text(ini_path.read_text().replace("/var/log/db.log", '"/var/log/\x1b[31mdb.log"'))
    ended = logagent("check", "-c", ini_path)
    assert "\x1b" not in ended.out + ended.err
