# SPDX-License-Identifier: Apache-2.0
"""Writes an INI file and loads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from logagent.config import ini
from logagent.config.settings import Settings
from logagent.errors import ConfigError

Load = Callable[[str | bytes], Settings]
Faults = Callable[[str | bytes], list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(content: str | bytes) -> Settings:
        path = tmp_path / "logagent.ini"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ini.load(path, environ={"HOME": "/home/operator"}, root=False)

    return load


@pytest.fixture
def faults(load: Load, tmp_path: Path) -> Faults:
    """The faults of a file as sentences, without the directory in front."""

    def faults(content: str | bytes) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(content)
        return [str(fault).replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return faults
