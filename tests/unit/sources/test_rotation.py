# SPDX-License-Identifier: Apache-2.0

import pytest

from logagent.sources.rotation import Fate, FileKey, fate, finished, truncated

HELD = FileKey(1, 10)


@pytest.mark.parametrize(
    ("at_path", "expected"),
    [
        (FileKey(1, 10), Fate.SAME),
        (FileKey(1, 11), Fate.ROTATED),
        (FileKey(2, 10), Fate.ROTATED),
        (None, Fate.GONE),
    ],
)
def test_the_fate_of_a_file_follows_from_what_is_at_its_path(at_path: FileKey | None, expected: Fate) -> None:
    assert fate(HELD, at_path) is expected


@pytest.mark.parametrize(
    ("position", "size", "expected"), [(10, 9, True), (10, 10, False), (10, 11, False), (0, 0, False)]
)
def test_only_a_file_shorter_than_what_was_read_is_truncated(
    position: int, size: int, expected: bool
) -> None:
    assert truncated(position, size) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"read_offset": 99}, False),
        ({"unacked": True}, False),
        ({"quiet_s": 9.9}, False),
        ({"unfinished_line": True}, False),
    ],
)
def test_a_file_is_finished_when_read_acknowledged_and_quiet(
    change: dict[str, float], expected: bool
) -> None:
    facts = {
        "read_offset": 100,
        "size_bytes": 100,
        "unacked": False,
        "quiet_s": 10.0,
        "rotate_wait_s": 10.0,
        "unfinished_line": False,
    }

    assert finished(**(facts | change)) is expected  # type: ignore[arg-type]
