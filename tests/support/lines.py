# SPDX-License-Identifier: Apache-2.0
"""The line that proves itself: ``label sequence checksum padding``. Writer and checker share nothing else."""

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

_PADDING = b"abcdefghijklmnopqrstuvwxyz0123456789" * 64


class Line(NamedTuple):
    label: str
    sequence: int


def make_line(label: str, sequence: int, size_bytes: int) -> bytes:
    """A line of ``size_bytes`` without its newline (longer when the head alone needs more)."""
    head = b"%s %d " % (label.encode(), sequence)
    wanted = max(0, size_bytes - len(head) - 9)
    start = sequence % 36
    source = _PADDING if start + wanted <= len(_PADDING) else _PADDING * (wanted // len(_PADDING) + 2)
    padding = source[start : start + wanted]
    return b"%s%08x %s" % (head, zlib.crc32(head + padding), padding)


def parse_line(value: bytes) -> Line | None:
    """None when the value is no such line or its checksum does not fit."""
    parts = value.split(b" ", 3)
    if len(parts) != 4 or not parts[1].isdigit():
        return None
    label, sequence, checksum, padding = parts
    if checksum != b"%08x" % zlib.crc32(b"%s %s %s" % (label, sequence, padding)):
        return None
    return Line(label.decode(errors="replace"), int(sequence))


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one label: every sequence from ``first`` to ``last``."""

    label: str
    first: int
    last: int
    rotations: int = 0

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def save_ledger(path: Path, written: Iterable[Written], *, done: bool) -> None:
    """Atomically; ``done`` says that the writer has ended and the ledger is complete."""
    rows = [asdict(one) | {"count": one.count} for one in written]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps({"done": done, "files": rows}, indent=1))
    os.replace(temporary, path)


def load_ledger(path: Path) -> list[Written]:
    """AssertionError when the writer has not finished it: lines could be missing from it."""
    ledger = json.loads(path.read_text())
    assert ledger["done"], f"{path}: the writer has not finished"
    return [Written(row["label"], row["first"], row["last"], row["rotations"]) for row in ledger["files"]]
