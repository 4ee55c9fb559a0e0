# SPDX-License-Identifier: Apache-2.0
"""What the role says twice, it says alike; and it knows of the agent what the agent says of itself."""

import re
from typing import Any

import yaml

from logagent import __version__
from logagent.config.settings import KEYS
from tests.support import ROOT
from tests.support.kafka import VERSIONS

ROLE = ROOT / "ansible" / "roles" / "logagent"


def read(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text())


def test_every_variable_has_a_specification_with_its_default() -> None:
    options = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]

    assert {name: option.get("default") for name, option in options.items()} == read("defaults/main.yml")
    assert all(option["description"] for option in options.values())


def test_the_role_rolls_out_the_agent_of_this_tree() -> None:
    assert read("defaults/main.yml")["logagent_version"] == __version__


def test_the_role_knows_which_keys_need_no_restart() -> None:
    reloadable = {f"{key.section or 'top'}.{key.name}" for key in KEYS if key.reloadable}

    assert set(read("vars/main.yml")["_logagent_reloadable"]) == reloadable


def test_the_variables_of_the_example_exist() -> None:
    example = yaml.safe_load((ROOT / "ansible/inventory.example/group_vars/logagent.yml").read_text())
    hosts = yaml.safe_load((ROOT / "ansible/inventory.example/hosts.yml").read_text())
    used = {name for host in hosts["logagent"]["hosts"].values() if host for name in host}

    assert {*example, *used} <= set(read("defaults/main.yml"))


def test_the_machines_have_a_kafka_that_the_tests_fetch() -> None:
    script = (ROOT / "molecule/machines/image.sh").read_text()

    assert re.findall(r"^kafka=(.*)$", script, re.MULTILINE) == [VERSIONS[0]]
