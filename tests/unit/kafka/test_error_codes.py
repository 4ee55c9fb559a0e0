# SPDX-License-Identifier: Apache-2.0
import pytest

from logagent.kafka import error_codes
from logagent.kafka.error_codes import PRODUCER_RESETS, RECORD_REFUSALS, TOPIC_REFUSALS, describe


@pytest.mark.parametrize("code", [-1, 2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 56, 72, 74, 75, 89, 100])
def test_what_passes_by_itself_is_retriable(code):
    assert describe(code).retriable


@pytest.mark.parametrize("code", [10, 17, 18, 21, 29, 31, 32, 35, 45, 46, 47, 59, 76, 87, 90])
def test_sending_the_same_bytes_again_does_not_help_with_the_others(code):
    assert not describe(code).retriable


def test_an_unknown_code_is_retried_and_named():
    assert describe(12345).retriable
    assert describe(12345).name == "ERROR_12345"
    assert "12345" in describe(12345).sentence


def test_the_groups_hold_the_codes_that_the_senders_act_on():
    assert {3, 17, 29} == TOPIC_REFUSALS
    assert {10, 18, 87} == RECORD_REFUSALS
    assert {45, 47, 59, 90} == PRODUCER_RESETS


def test_named_numbers_agree_with_the_table():
    named = {
        name: value for name, value in vars(error_codes).items() if name.isupper() and isinstance(value, int)
    }
    assert named
    for name, code in named.items():
        assert describe(code).name == name
