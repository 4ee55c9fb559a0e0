# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from logagent.config.proposal import (
    LogFile,
    Proposal,
    Service,
    is_log_name,
    propose,
    render,
    size_text,
)
from logagent.config.services import PathRules
from logagent.config.values import Address
from tests.unit.config.conftest import Load

ROOT = b"/var/log"
RULES = PathRules((), ("/etc", ".ssh"), None, "/var/lib/logagent")
KAFKA = (Address("k1", 9092), Address("::1", 9093))


def proposed(*paths: str | bytes | LogFile) -> Proposal:
    files = [
        path if isinstance(path, LogFile) else LogFile(path.encode() if isinstance(path, str) else path, 100)
        for path in paths
    ]
    return propose(files, ROOT, RULES)


def reasons(proposal: Proposal) -> dict[bytes, str]:
    return {file.path: file.refusal for file in proposal.left_out}


@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("syslog", True),
        ("messages", True),
        ("auth.log", True),
        ("nginx/access.log", True),
        ("httpd/access_log", True),
        ("mysql/host.err", True),
        ("nginx/host.err", False),
        ("app/syslog", False),
        ("syslog.1", False),
        ("auth.log.1", False),
        ("auth.log.2.gz", False),
        ("auth.log-20260101", False),
        ("wtmp", False),
        ("btmp", False),
        ("lastlog", False),
        ("journal/x/system.journal", False),
        ("app/.hidden.log", False),
        ("app/data.bin", False),
    ],
)
def test_a_live_log_is_known_by_its_name(name: str, live: bool) -> None:
    assert is_log_name(ROOT + b"/" + name.encode(), ROOT) is live


@pytest.mark.parametrize(
    ("paths", "service", "log_paths", "topic"),
    [
        (("nginx/access.log", "nginx/error.log"), "nginx", ("/var/log/nginx/*.log",), "nginx_log"),
        (("syslog", "auth.log"), "system", ("/var/log/*.log", "/var/log/syslog"), "system_log"),
        (
            ("httpd/access_log", "httpd/ssl.log"),
            "httpd",
            ("/var/log/httpd/*.log", "/var/log/httpd/*_log"),
            "httpd_log",
        ),
        (("mysql/db.err",), "mysql", ("/var/log/mysql/*.err",), "mysql_log"),
        (
            ("app/a.log", "app/x/b.log"),
            "app",
            ("/var/log/app/*.log", "/var/log/app/x/*.log"),
            "app_log",
        ),
        (("my app, 2/a.log",), "my-app-2", ("/var/log/my app, 2/*.log",), "my-app-2_log"),
        (("grün/a.log",), "gr-n", ("/var/log/grün/*.log",), "gr-n_log"),
        (("a[1]/a.log",), "a-1", ("/var/log/a[[]1]/*.log",), "a-1_log"),
        (tuple(f"pods/{n}/0.log" for n in range(9)), "pods", ("/var/log/pods/**/*.log",), "pods_log"),
    ],
)
def test_a_directory_becomes_a_service(
    paths: tuple[str, ...], service: str, log_paths: tuple[str, ...], topic: str
) -> None:
    (only,) = proposed(*(f"/var/log/{path}" for path in paths)).services
    assert only == Service(service, log_paths, topic, len(paths), 100 * len(paths))


def test_directories_that_would_have_the_same_name_are_told_apart() -> None:
    services = proposed(
        "/var/log/a b/x.log", "/var/log/a,b/x.log", "/var/log/system/y.log", "/var/log/syslog"
    )
    assert [one.name for one in services.services] == ["system", "a-b", "a-b-2", "system-2"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"/var/log/app/b\xff.log", "its name is not UTF-8, so the INI cannot name it"),
        (b"/var/log/app/b\n.log", "its name has control characters or quotes, so the INI cannot name it"),
        (b'/var/log/app/b".log', "its name has control characters or quotes, so the INI cannot name it"),
        (b"/var/log/app/a-20260131.log", "it is a rotated a.log"),
        (b"/var/log/app/a.2026-01-31.log", "it is a rotated a.log"),
        (b"/var/log/app/a.1.log", "it is a rotated a.log"),
        (b"/var/log/app/.ssh/b.log", ".ssh is in denied_paths"),
        (b"/var/log/logagent/agent.log", "it is the agent's own log by its place"),
        (b"/var/log/app/b.log.gz", "its name is not that of a live log"),
    ],
)
def test_what_is_left_out_has_a_reason_and_no_pattern_matches_it(path: bytes, reason: str) -> None:
    proposal = proposed("/var/log/app/a.log", path)
    assert reasons(proposal) == {path: reason}
    (only,) = proposal.services
    in_app_itself = path.startswith(b"/var/log/app/") and path.count(b"/") == 4 and path.endswith(b".log")
    assert only.log_paths == ("/var/log/app/a.log" if in_app_itself else "/var/log/app/*.log",)


@pytest.mark.parametrize("name", ["postgresql-2026-01-31.log", "worker-1.log", "worker.1.log"])
def test_a_dated_or_numbered_name_alone_is_a_live_log(name: str) -> None:
    assert proposed(f"/var/log/app/{name}").left_out == ()


def test_an_unreadable_file_has_its_directory_named_file_by_file() -> None:
    proposal = proposed(
        "/var/log/app/a.log",
        "/var/log/app/b[1], c.log",
        LogFile(b"/var/log/app/z.log", refusal="it cannot be opened: Permission denied", advice="do this"),
    )
    (only,) = proposal.services
    assert only.log_paths == ("/var/log/app/a.log", "/var/log/app/b[[]1], c.log")
    assert "#   /var/log/app/z.log: it cannot be opened: Permission denied; do this\n" in render(
        proposal, KAFKA
    )


def test_a_directory_with_nothing_readable_is_no_service() -> None:
    proposal = proposed(LogFile(b"/var/log/nginx/", refusal="it cannot be listed: Permission denied"))
    assert proposal.services == ()
    assert len(proposal.left_out) == 1


def test_the_file_means_what_was_proposed(load: Load) -> None:
    proposal = proposed(
        "/var/log/syslog",
        "/var/log/nginx/access.log",
        "/var/log/a #1/x.log",
        "/var/log/b, c/x.log",
        b"/var/log/b, c/\xff\x1b.log",
        "/var/log/b, c/y\\,.log",
    )
    loaded = load(render(proposal, KAFKA))
    assert loaded.kafka_addr == KAFKA
    assert loaded.warnings == ()
    assert [(entry.service, entry.log_path, entry.topic) for entry in loaded.entries] == [
        (service.name, path, service.topic) for service in proposal.services for path in service.log_paths
    ]
    assert {entry.send_rate_lines_per_s for entry in loaded.entries} == {None}


def test_every_commented_line_may_be_made_active(load: Load) -> None:
    text = render(proposed("/var/log/nginx/access.log"), KAFKA)
    loaded = load(text.replace("# send_rate = ", "send_rate = ").replace("# start_at =", "start_at ="))
    assert loaded.entries[0].send_rate_lines_per_s == 5000
    assert "# data_dir =\n" in text


def test_nothing_found_gives_an_example_that_loads_as_it_is_and_made_active(load: Load) -> None:
    text = render(proposed(), KAFKA)
    assert load(text).entries == ()
    example = text[text.index("# [[app]]") :]
    active = text.replace(example, example.replace("# ", ""))
    assert [entry.service for entry in load(active).entries] == ["app"]


def test_a_long_list_of_what_is_left_out_is_cut() -> None:
    files = [LogFile(b"/var/log/x/%d.log" % number, refusal="no") for number in range(130)]
    text = render(proposed(*files), KAFKA)
    assert text.count(": no\n") == 100
    assert "#   and 30 more\n" in text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 bytes"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes_are_for_people(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_the_module_is_pure() -> None:
    code = "import sys, logagent.config.proposal; print(*{'configobj', 'gevent'} & set(sys.modules))"
    tree = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tree)
    assert done.stdout.strip() == ""
