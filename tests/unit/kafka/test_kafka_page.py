# SPDX-License-Identifier: Apache-2.0
"""docs/kafka.md knows every counter, every label and every setting of exactly once."""

import re

import pytest

from logagent.config.settings import KEYS
from logagent.ops import delivery_events
from logagent.ops.events import catalogue
from logagent.recovery.actions import Doubt, Finding
from tests.support import ROOT

PAGE = (ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")


def rows(first_column: str) -> set[str]:
    """What stands in the first column of the table with this heading."""
    table = PAGE.split(f"| {first_column} |", 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))


def test_every_answer_is_explained() -> None:
    assert rows("`answer`") == {finding.value for finding in Finding}


def test_every_reason_for_a_possible_duplicate_is_explained_and_has_a_fault() -> None:
    assert rows("`reason`") == {doubt.value for doubt in Doubt}
    faults = PAGE.split("## Fault, promise, counter")[1].split("\n## ")[0]
    assert set(re.findall(r'reason="(\w+)"', faults)) == {doubt.value for doubt in Doubt}


def test_every_counter_of_delivery_is_there() -> None:
    declared = {
        metric
        for one in catalogue()
        if hasattr(delivery_events.DeliveryEvents, one.name)
        for metric in one.metrics
        if "events_total" not in metric
    }
    assert declared
    assert not {metric for metric in declared if metric not in PAGE}


def test_every_metric_that_is_named_exists() -> None:
    known = {metric.partition("{")[0] for one in catalogue() for metric in one.metrics}
    named = set(re.findall(r"logagent_[a-z_]+_total", PAGE))
    assert named <= known | {"logagent_events_total"}


@pytest.mark.parametrize(
    "name", ["delivery", "state_sync", "intent_give_up_s", "dead_letter_max_bytes", "dead_letter_full"]
)
def test_every_setting_of_delivery_is_there_and_exists(name: str) -> None:
    assert f"{name}`" in PAGE
    assert name in {key.name for key in KEYS}
