# SPDX-License-Identifier: Apache-2.0
"""What the writer wrote down: all that the consumer knows of it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """Every sequence from 0 to ``lines`` - 1 is in the files."""

    lines: int = 0
    rotations: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """``done`` says that the writer has ended and nothing is missing here."""

    services: Mapping[str, Written] = field(default_factory=dict)
    done: bool = False


def save(path: Path, ledger: Ledger) -> None:
    """Atomically. Raises OSError."""
    rows = {name: asdict(written) for name, written in ledger.services.items()}
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps({"done": ledger.done, "services": rows}))
    os.replace(temporary, path)


def load(path: Path) -> Ledger:
    """Empty before the writer has written anything. Raises OSError."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return Ledger()
    return Ledger({name: Written(**row) for name, row in found["services"].items()}, found["done"])
