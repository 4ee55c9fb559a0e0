# SPDX-License-Identifier: Apache-2.0
"""The manual page in the tree is the generated one, and it is whole."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from logagent import __version__
from logagent.cli.main import COMMANDS, main
from logagent.cli.man import PAGE_PATH, manual

TREE = Path(__file__).parents[3]
SUBCOMMANDS = ("get", "set", "edit", "diff", "history", "rollback")


def plain(page: str) -> str:
    """The words of a page without its macros."""
    text = re.sub(r"\\f[BIR]", "", page)
    for escaped, char in ((r"\-", "-"), (r"\(ga", "`"), (r"\(aq", "'"), (r"\(ti", "~"), (r"\&", "")):
        text = text.replace(escaped, char)
    return text


def test_the_page_in_the_tree_is_the_generated_one() -> None:
    assert (TREE / PAGE_PATH).read_text(encoding="utf-8") == manual(), (
        "run: python -m logagent.cli.man --write"
    )


def test_the_page_names_the_version() -> None:
    assert f'"logagent {__version__}"' in manual()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_it_with_its_options_its_help_and_its_example(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help
    assert command.epilog
    section = re.split(r"(?m)^\.S[SH] ", plain(manual()).partition(f".SS logagent {name}")[2])[0]
    for param in command.params:
        if isinstance(param, click.Option):
            assert all((f"{option}" in section) is not param.hidden for option in param.opts)
    assert " ".join(command.help.split("\n\n")[0].split()) in section
    assert "Example: " in section


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_command_below_services_is_in_it(name: str) -> None:
    group = main.get_command(click.Context(main), "services")
    assert isinstance(group, click.Group)
    section = re.split(r"(?m)^\.S[SH] ", plain(manual()).partition(f".SS logagent services {name} ")[2])[0]
    for param in group.commands[name].params:
        assert all(option in section for option in param.opts if option.startswith("-"))
    assert "Example: " in section
    assert "Exit codes: 0 " in section
    synopsis = section.splitlines()[0]
    assert ("--file FILE|-" in synopsis) is (name in ("set", "diff"))
    assert "[--file" not in synopsis, "it is required"


def test_without_write_the_generator_prints_the_page() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "logagent.cli.man"], capture_output=True, text=True, check=True, cwd=TREE
    )
    assert ended.stdout == manual()


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_groff_finds_nothing_wrong_with_it() -> None:
    ended = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z"], input=manual(), capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_no_escape_is_left_on_the_screen() -> None:
    ended = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c"], input=manual(), capture_output=True, text=True, check=True
    )
    screen = re.sub(r".\x08", "", ended.stdout)
    assert "\\" not in screen
    assert "logagent init [--kafka HOST:PORT[,...]] [--output FILE] [--yes]" in screen
