# SPDX-License-Identifier: Apache-2.0
"""The generated texts are those in the tree, and they are true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from logagent.config import ini, report
from logagent.config.reference import PAGE_PATH, SAMPLE_PATH, reference_page, sample
from logagent.config.settings import ALL_KEYS, KEYS, SECTIONS, value_of
from tests.unit.config.conftest import Load

TREE = Path(__file__).parents[3]


@pytest.mark.parametrize(("name", "text"), [(SAMPLE_PATH, sample()), (PAGE_PATH, reference_page())])
def test_the_file_in_the_tree_is_the_generated_one(name: str, text: str) -> None:
    assert (TREE / name).read_text(encoding="utf-8") == text, (
        "run: python -m logagent.config.reference --write"
    )


def test_the_shipped_sample_loads_and_has_one_service() -> None:
    loaded = ini.load(TREE / SAMPLE_PATH)
    assert loaded.etcd_addr == ()
    assert [str(address) for address in loaded.kafka_addr] == ["localhost:9092"]
    assert {entry.service for entry in loaded.entries} == {"nginx"}
    assert loaded.warnings == ()


def test_the_sample_with_every_line_active_means_the_same(load: Load) -> None:
    plain, active = load(sample()), load(re.sub(r"(?m)^# (\w+ =)", r"\1", sample()))
    assert set(active.origins) >= {key.dotted for key in KEYS}
    assert [value_of(active, key) for key in KEYS] == [value_of(plain, key) for key in KEYS]
    assert active.entries == plain.entries


def test_every_key_is_in_both_texts() -> None:
    for key in ALL_KEYS:
        assert re.search(rf"(?m)^(# )?{key.name} =", sample())
        assert f"\n| `{key.name}` | " in reference_page()


def test_every_default_is_a_value_that_its_key_takes_and_shows() -> None:
    for key in ALL_KEYS:
        assert key.section in SECTIONS
        if key.default is not None:
            assert key.kind.read(key.show(key.default_value())) == key.default_value()


def test_the_report_has_a_row_for_every_key_with_its_origin(load: Load) -> None:
    loaded = load(
        "kafka_addr = [::1]:1,b\n[files]\nstart_at = end\n[services]\n"
        "[[web]]\nlog_path = /a\\,b, /c\ntopic = t\nsend_rate = 5\n"
    )
    rows = report.rows(loaded)
    assert [(row.section, row.key) for row in rows[: len(KEYS)]] == [(key.section, key.name) for key in KEYS]
    assert report.Row("", "kafka_addr", "[::1]:1, b:9092", "logagent.ini:1") in rows
    assert report.Row("", "thread_num", "4", "default") in rows
    assert report.Row("", "log", "(standard error)", "default") in rows
    assert report.Row("agent", "memory_limit", "96MiB", "default") in rows
    assert rows[len(KEYS) :] == [
        report.Row("services.web", "log_path", "/a\\,b, /c", "logagent.ini:6"),
        report.Row("services.web", "topic", "t", "logagent.ini:7"),
        report.Row("services.web", "send_rate", "5", "logagent.ini:8"),
        report.Row("services.web", "format", "raw", "default"),
        report.Row("services.web", "headers", "none", "default"),
        report.Row("services.web", "key", "none", "default"),
        report.Row("services.web", "start_at", "end", "default"),
        report.Row("services.web", "exclude", "", "default"),
        report.Row("services.web", "ignore_older_s", "", "default"),
        report.Row("services.web", "encoding", "utf-8", "default"),
        report.Row("services.web", "multiline_start", "", "default"),
        report.Row("services.web", "multiline_timeout_s", "5", "default"),
    ]


@pytest.mark.parametrize("module", ["values", "lines", "services", "settings", "report", "reference"])
def test_a_pure_module_imports_no_outside_package(module: str) -> None:
    code = f"import sys, logagent.config.{module}; print(*{{'configobj', 'gevent'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TREE)
    assert done.stdout.strip() == ""


def test_without_write_the_generator_prints_both_texts() -> None:
    command = [sys.executable, "-m", "logagent.config.reference"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TREE)
    assert sample() in done.stdout
    assert reference_page() in done.stdout
