# SPDX-License-Identifier: Apache-2.0
"""What only a process of its own can show: patching, warnings, signals, terminals, pipes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def python(*args: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )


def on_a_terminal(*args: object, **environ: str) -> bytes:
    """What the command writes when its standard output is a terminal."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "logagent", *map(str, args)],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "200", **environ},
    ):
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:
            # EIO is how a pseudo terminal says that nobody has the other end any more.
            pass
        os.close(ours)
    return written


def test_the_module_runs_and_the_version_is_all_it_prints() -> None:
    ended = python("-m", "logagent", "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "logagent 0.1.0\n", "")


def test_importing_main_patches_before_anything_of_logagent_is_loaded() -> None:
    code = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("logagent.cli"):
            from gevent import monkey
            assert monkey.is_module_patched("socket") and monkey.is_module_patched("threading")
            print("patched")
            sys.meta_path.remove(self)
sys.meta_path.insert(0, Watch())
import logagent.__main__
print(callable(logagent.__main__.main))
"""
    ended = python("-c", code)
    assert (ended.stdout, ended.stderr) == ("patched\nTrue\n", "")


def test_importing_the_command_line_does_not_patch() -> None:
    code = "import logagent.cli.main; from gevent import monkey; print(monkey.is_anything_patched())"
    assert python("-c", code).stdout == "False\n"


def test_only_the_warning_about_pkg_resources_is_kept_from_the_user() -> None:
    code = """
import logagent.__main__, warnings
warnings.warn("pkg_resources is deprecated as an API. See https://setuptools.pypa.io", UserWarning)
warnings.warn("pkg_resources is deprecated as an API. See https://setuptools.pypa.io", DeprecationWarning)
warnings.warn("something else")
"""
    ended = python("-W", "default", "-c", code)
    assert "pkg_resources" not in ended.stderr
    assert "something else" in ended.stderr


def test_ctrl_c_before_the_agent_starts_is_quiet() -> None:
    code = """
import os, signal
import logagent.__main__ as entry
from logagent.cli import check
check.load = lambda config: os.kill(os.getpid(), signal.SIGINT)
import sys
sys.argv = ["logagent", "check"]
sys.exit(entry.main())
"""
    ended = python("-c", code)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (130, "", "")


def test_ctrl_c_in_the_middle_of_the_imports_is_quiet() -> None:
    code = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "logagent.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
import logagent.__main__
"""
    ended = python("-c", code)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_a_terminal_gets_a_table_and_colours_only_if_it_wants_them(ini_path: Path) -> None:
    ini_path.write_text(ini_path.read_text().replace("/var/log/web/", "/var/log/[red]/"))
    coloured = on_a_terminal("check", "-c", ini_path)
    assert "│".encode() in coloured
    assert b"\x1b[" in coloured
    assert b"/var/log/[red]/" in coloured
    assert b"\x1b" not in on_a_terminal("check", "-c", ini_path, NO_COLOR="1")
    assert "│" not in python("-m", "logagent", "check", "-c", ini_path).stdout


def test_a_reader_that_leaves_is_no_error_on_the_screen(ini_path: Path) -> None:
    for options in ("", "--json"):
        ended = subprocess.run(
            f"{sys.executable} -m logagent check -c {ini_path} {options} | true",
            shell=True,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert ended.stderr == ""
