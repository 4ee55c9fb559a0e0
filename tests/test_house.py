# SPDX-License-Identifier: Apache-2.0
"""House rules that no linter knows."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.etcd import VERSIONS as ETCD_VERSIONS
from tests.support.kafka import VERSIONS

MODULE_LINES = 400
FUNCTION_LINES = 60
# Each exception to the two budgets would stand here with its reason.
LARGER_ON_PURPOSE: dict[str, str] = {}

# An outside client is known to one module, so that it can be replaced or repaired there.
ONLY_IMPORTER = {
    "pykafka": "logagent/kafka/pykafka_parts.py",
    "configobj": "logagent/config/ini.py",
    "inotify_simple": "logagent/sources/watcher.py",
    "prometheus_client": "logagent/ops/metrics.py",
    "sqlite3": "logagent/state/database.py",
    "confluent_kafka": "logagent/demo/clients.py",
    "urllib3": "logagent/stores/gateway.py",
    "etcd": "logagent/stores/etcd_v2.py",
}

# Nothing of one machine belongs into the tree: its paths, hosts of package registries and their mirrors.
FORBIDDEN = re.compile(
    r"(?<![\w.])/(?:work|tmp/scratch)/"
    r"|\b(?:pypi|pythonhosted|maven(?:\.apache)?|npmjs|debian|ubuntu)\.(?:org|com|io)\b"
    r"|\b(?:mirrors?|nexus|artifactory|registry|proxy)\.[a-z0-9-]+\.[a-z]{2,}",
    re.IGNORECASE,
)
TEXT = {
    ".py",
    ".pyi",
    ".md",
    ".toml",
    ".sh",
    ".ini",
    ".sample",
    ".cfg",
    ".in",
    ".yml",
    ".conf",
    ".service",
    ".j2",
    ".txt",
}
TEXT_NAMES = {"Makefile", "run", ".gitignore"}


def tree() -> Iterator[Path]:
    """Every file of the source tree that people write."""
    for place, directories, names in os.walk(ROOT):
        directories[:] = [
            name
            for name in directories
            if name in (".ci", ".config")
            or not (name.startswith(".") or name in ("__pycache__", "build", "dist", "results"))
        ]
        yield from (Path(place, name) for name in names if not place.endswith(".egg-info"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


PYTHON = sorted(path for path in tree() if path.suffix == ".py")
PACKAGE = [path for path in PYTHON if path.is_relative_to(ROOT / "logagent")]
BUDGETED = [path for path in PYTHON if not path.name.startswith("test_")]
every_python_file = pytest.mark.parametrize("path", PYTHON, ids=shown)


@every_python_file
def test_a_module_starts_with_its_licence(path: Path) -> None:
    assert path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")


@pytest.mark.parametrize("path", BUDGETED, ids=shown)
def test_modules_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()
    too_large = []
    if (lines := source.count("\n")) > MODULE_LINES:
        too_large.append(f"{shown(path)}: {lines} lines")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                too_large.append(f"{shown(path)}: {node.name} has {lines} lines")

    assert [one for one in too_large if one.partition(":")[0] not in LARGER_ON_PURPOSE] == []


def imported_roots(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(("client", "owner"), ONLY_IMPORTER.items(), ids=ONLY_IMPORTER)
def test_an_outside_client_is_imported_by_one_module(client: str, owner: str) -> None:
    assert [shown(path) for path in PACKAGE if client in imported_roots(path)] == [owner]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_greenlets_start_only_through_spawn() -> None:
    starters = {"gevent.spawn", "gevent.spawn_later", "Greenlet", "Greenlet.spawn", "gevent.Greenlet.spawn"}
    users = {shown(path) for path in PACKAGE for name, _ in calls(path) if name in starters}

    assert users <= {"logagent/spawn.py"}


def test_nobody_yields_with_a_sleep_of_zero() -> None:
    """Timers starve for some fifty switches after gevent.sleep(0); a microsecond does not have that effect."""
    users = [
        f"{shown(path)}:{call.lineno}"
        for path in PACKAGE
        for name, call in calls(path)
        if name in ("sleep", "gevent.sleep", "time.sleep")
        and (not call.args or (isinstance(call.args[0], ast.Constant) and call.args[0].value == 0))
    ]

    assert users == []


def test_no_exception_is_passed_over() -> None:
    silent = [
        f"{shown(path)}:{node.lineno}"
        for path in PACKAGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and all(isinstance(one, ast.Pass) for one in node.body)
    ]

    assert silent == []


def test_nothing_in_the_tree_belongs_to_one_machine() -> None:
    found = [
        f"{shown(path)}: {match[0]}"
        for path in tree()
        if (path.suffix in TEXT or path.name in TEXT_NAMES) and path != Path(__file__).resolve()
        for match in FORBIDDEN.finditer(path.read_text(errors="replace"))
    ]

    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "https://pypi.org/simple",
        "repo.maven.apache.org",
        "http://nexus.example.com/",
        "=/work/x",
    ],
)
def test_what_belongs_to_one_machine_is_recognised(text: str) -> None:
    assert FORBIDDEN.search(text)


def test_make_help_shows_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))

    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = subprocess.run(
        ["make", "help"], cwd=ROOT, env=outside, capture_output=True, text=True, check=True
    ).stdout

    assert {line.split()[0] for line in said.splitlines() if len(line.split()) > 2} == targets
    assert set(re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[0].split()) == targets


@pytest.mark.parametrize(
    ("script", "versions"), [("kafka-libs.sh", VERSIONS), ("etcd-bins.sh", ETCD_VERSIONS)]
)
def test_the_scripts_fetch_the_servers_that_the_tests_start(script: str, versions: tuple[str, ...]) -> None:
    default = re.search(r"set -- ([\d. ]+) #", (ROOT / "scripts" / script).read_text())

    assert default
    assert tuple(default[1].split()) == versions


@pytest.mark.parametrize(
    "name", ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"]
)
def test_the_papers_are_there(name: str) -> None:
    assert (ROOT / name).is_file()


def test_the_architecture_fits_two_hundred_lines() -> None:
    assert (ROOT / "ARCHITECTURE.md").read_text().count("\n") <= 200


def test_shell_scripts_stop_at_the_first_error() -> None:
    scripts = [*(path for path in tree() if path.suffix == ".sh"), ROOT / ".ci" / "run"]

    assert scripts
    for path in scripts:
        assert "\nset -eu\n" in path.read_text(), shown(path)
        assert os.access(path, os.X_OK), shown(path)
