# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from logagent.cli.main import execute

INI = """\
kafka_addr = localhost:9092
[agent]
data_dir = state
[services]
[[web]]
log_path = /var/log/web/*.log, /var/log/web.err
topic = web_log
send_rate = 500
[[db]]
log_path = /var/log/db.log
topic = db_log
"""


class Ended:
    """How a command line ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def ini_path(tmp_path: Path) -> Path:
    path = tmp_path / "logagent.ini"
    path.write_text(INI)
    return path


@pytest.fixture
def logagent(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*args: object) -> Ended:
        code = execute([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Ended(code, out, err)

    return call
