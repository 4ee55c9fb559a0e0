# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from logagent.errors import BrokerUnavailable
from logagent.ops.shown import shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"/var/log/a b.log", "/var/log/a b.log"),
        (b"/var/log/\xff\xfe", r"/var/log/\xff\xfe"),
        ("/var/log/ü\udcff", r"/var/log/ü\xff"),
        (b"a\nb\rc\td\x1b[31m", r"a\nb\rc\td\x1b[31m"),
        ("right\u202eleft\u2028line\ud800", r"right\u202eleft\u2028line\ud800"),
        (Path("/a\nb"), r"/a\nb"),
        (7, 7),
        (0.5, 0.5),
        (["a", b"b\n"], r"a, b\n"),
        ((), "none"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied"),
        (ValueError("bad\nthing"), r"ValueError: bad\nthing"),
        (ValueError(), "ValueError"),
        (BrokerUnavailable("k1:9092", "refused"), "k1:9092: refused"),
    ],
)
def test_every_kind_of_value_becomes_one_printable_line(value: object, expected: object) -> None:
    assert shown(value) == expected
