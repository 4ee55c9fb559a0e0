# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from logagent import __version__
from logagent.ops.metrics import GaugeSample, Metrics


def test_all_names_have_the_prefix_but_those_of_the_process() -> None:
    lines = Metrics().exposition().decode().splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert all(name.startswith(("logagent_", "process_")) for name in names)
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= names


def test_counters_of_a_service_show_on_the_page() -> None:
    metrics = Metrics()
    metrics.service("web").lines_read += 7
    assert metrics.service("web") is metrics.service("web")
    assert b'logagent_lines_read_total{service="web"} 7.0\n' in metrics.exposition()


def test_two_registries_do_not_share_values() -> None:
    one, other = Metrics(), Metrics()
    one.inotify_overflow.inc()
    assert b"logagent_inotify_overflow_total 0.0\n" in other.exposition()


def test_gauges_of_a_callback_are_computed_at_each_scrape() -> None:
    metrics = Metrics()
    lag_bytes = [5.0]
    metrics.on_collect(lambda: [GaugeSample("logagent_file_lag_bytes", {"service": "web"}, lag_bytes[0])])
    metrics.on_collect(
        lambda: [
            GaugeSample("logagent_file_lag_bytes", {"service": "db"}, 1),
            GaugeSample("logagent_files_open", {}, 2),
        ]
    )
    assert b'logagent_file_lag_bytes{service="web"} 5.0\n' in metrics.exposition()
    lag_bytes[0] = 6.0
    page = metrics.exposition()
    assert b'logagent_file_lag_bytes{service="web"} 6.0\n' in page
    assert b'logagent_file_lag_bytes{service="db"} 1.0\n' in page
    assert b"logagent_files_open 2.0\n" in page
    assert page.count(b"# TYPE logagent_file_lag_bytes gauge") == 1


def test_the_version_is_a_label_and_no_series_is_doubled_by_created_stamps() -> None:
    metrics = Metrics()
    metrics.service("web").lines_read += 1
    page = metrics.exposition().decode()
    assert f'logagent_build_info{{version="{__version__}"}} 1.0' in page
    assert "_created" not in page


def test_no_other_module_imports_prometheus_client() -> None:
    found = subprocess.run(
        ["grep", "-rlE", "^ *(import|from) prometheus_client", "--include=*.py", "logagent"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert found == ["logagent/ops/metrics.py"], sys.executable
