# SPDX-License-Identifier: Apache-2.0
"""Exact or not: what the writer wrote down against what the reader read. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.lines import Line, Written, parse_line

_NAMED = 5


class _Record(Protocol):
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Report:
    """What differs. ``exact`` is false as well when nothing was written: no proof without lines."""

    lines: int  # written
    records: int  # read
    faults: int  # that really happened, as counted by the test
    rotations: int
    lost: Sequence[Line] = ()
    doubled: Sequence[Line] = ()  # once per copy too many
    out_of_order: Sequence[Line] = ()  # came after a later line of its file in the same partition
    corrupt: Sequence[str] = ()  # "partition/offset value": no line of ours, or its checksum is wrong
    foreign: Sequence[Line] = ()  # intact, but the writer does not know it
    partitions: dict[str, set[int]] = field(default_factory=dict)  # label -> where its lines were

    @property
    def exact(self) -> bool:
        wrong = self.lost or self.doubled or self.out_of_order or self.corrupt or self.foreign
        return self.lines > 0 and not wrong

    def __str__(self) -> str:
        parts = [f"{self.lines} lines written, {self.records} records read"]
        parts += [f"{self.rotations} rotations, {self.faults} faults"]
        for name in ("lost", "doubled", "out_of_order", "corrupt", "foreign"):
            if found := getattr(self, name):
                first = ", ".join(
                    one if isinstance(one, str) else f"{one[0]} {one[1]}" for one in found[:_NAMED]
                )
                parts.append(f"{len(found)} {name.replace('_', ' ')} (first: {first})")
        return "; ".join(parts)

    def require_exact(self, *, min_lines: int = 1, min_faults: int = 0, min_rotations: int = 0) -> None:
        """AssertionError with the whole report unless it is exact and as much really happened."""
        assert self.exact, f"Not exact: {self}."
        assert self.lines >= min_lines, f"Only {self.lines} lines, wanted {min_lines}: {self}."
        assert self.faults >= min_faults, f"Only {self.faults} faults, wanted {min_faults}: {self}."
        assert self.rotations >= min_rotations, (
            f"Only {self.rotations} rotations, wanted {min_rotations}: {self}."
        )


def check(
    ledger: Iterable[Written],
    records: Iterable[_Record],
    *,
    faults: int = 0,
    torn: Collection[bytes] = (),
) -> Report:
    """Compare; ``records`` in any order, those of one partition are sorted by offset.

    ``torn``: beginnings of lines with which copies end that were made while somebody wrote; they may arrive.
    """
    written = list(ledger)
    known = {one.label: range(one.first, one.last + 1) for one in written}
    seen: dict[str, Counter[int]] = {label: Counter() for label in known}
    highest: dict[tuple[str, int], int] = {}
    doubled, out_of_order, corrupt, foreign = [], [], [], []
    partitions: dict[str, set[int]] = {}
    ordered = sorted(records, key=lambda record: (record.partition, record.offset))
    for record in ordered:
        line = parse_line(record.value or b"")
        if line is None:
            if (record.value or b"") not in torn:
                corrupt.append(f"{record.partition}/{record.offset} {(record.value or b'')[:80]!r}")
            continue
        if line.sequence not in known.get(line.label, ()):
            foreign.append(line)
            continue
        place = line.label, record.partition
        partitions.setdefault(line.label, set()).add(record.partition)
        seen[line.label][line.sequence] += 1
        if seen[line.label][line.sequence] > 1:
            doubled.append(line)
        elif line.sequence < highest.get(place, -1):
            out_of_order.append(line)
        highest[place] = max(line.sequence, highest.get(place, -1))
    lost = [Line(label, n) for label, numbers in known.items() for n in numbers if n not in seen[label]]
    return Report(
        lines=sum(one.count for one in written),
        records=len(ordered),
        faults=faults,
        rotations=sum(one.rotations for one in written),
        lost=lost,
        doubled=doubled,
        out_of_order=out_of_order,
        corrupt=corrupt,
        foreign=foreign,
        partitions=partitions,
    )
