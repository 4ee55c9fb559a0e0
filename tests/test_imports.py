# SPDX-License-Identifier: Apache-2.0
"""Modules import alone and without side effects; only the entry point patches, before anything else."""

import ast
import json
import pkgutil
import subprocess
import sys

import pytest

import logagent
from tests.support import ROOT

MODULES = sorted(module.name for module in pkgutil.walk_packages(logagent.__path__, "logagent."))
pytestmark = pytest.mark.timeout(120)  # the first of them waits for all
QUIET = [name for name in MODULES if name != "logagent.__main__"]

# One interpreter forks per module: none of our modules is loaded in it, so each import starts afresh.
FORK_EACH = """
import importlib, json, os, sys, traceback
import click, gevent, prometheus_client, pykafka  # slow, and not ours
results = {}
for name in json.loads(sys.argv[1]):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "it ended early"
        try:
            importlib.import_module(name)
            monkey = sys.modules.get("gevent.monkey")
            patched = [one for one in ("socket", "threading", "time") if monkey and monkey.is_module_patched(one)]
            said = "patches " + ", ".join(patched) if patched else "fine"
        except Exception:
            said = traceback.format_exc()
        os.write(write_end, said[-60000:].encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        results[name] = pipe.read().decode()
    os.waitpid(pid, 0)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def outcome() -> dict[str, str]:
    """What a fresh interpreter says that imports one module only."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_EACH, json.dumps(["logagent", *MODULES])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["logagent", *QUIET])
def test_a_module_imports_alone_and_patches_nothing(outcome: dict[str, str], name: str) -> None:
    assert outcome[name] == "fine"


def test_the_entry_point_patches_when_it_is_imported(outcome: dict[str, str]) -> None:
    assert outcome["logagent.__main__"] == "patches socket, threading, time"


def test_the_package_itself_imports_nothing() -> None:
    tree = ast.parse((ROOT / "logagent" / "__init__.py").read_text())

    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_entry_point_patches_in_its_first_statement() -> None:
    docstring, first, second, *_ = ast.parse((ROOT / "logagent" / "__main__.py").read_text()).body

    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(first) in ("from gevent import monkey", "import gevent.monkey")
    assert ast.unparse(second).endswith("monkey.patch_all()")


def test_nothing_is_loaded_before_the_patch() -> None:
    script = """
import sys
from gevent import monkey
before = set(sys.modules)
def loaded_so_far(*args, **kwargs):
    print(sorted(set(sys.modules) - before))
    raise SystemExit(0)
monkey.patch_all = loaded_so_far
import logagent.__main__
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['logagent', 'logagent.__main__']"


def test_only_the_entry_point_speaks_of_patching() -> None:
    users = [
        path.name
        for path in (ROOT / "logagent").rglob("*.py")
        if "gevent.monkey" in imports_of(path.read_text())
    ]

    assert users == ["__main__.py"]


def imports_of(source: str) -> set[str]:
    """Every dotted name that a module imports, `from a import b` as a.b as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found
