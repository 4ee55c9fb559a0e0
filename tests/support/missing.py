# SPDX-License-Identifier: Apache-2.0
"""What a test does without something that it needs."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test at home; under CI=true something missing is a failure, not a hole."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
