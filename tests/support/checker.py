# SPDX-License-Identifier: Apache-2.0
"""Exact or not: what the writer wrote down against what the reader read. Pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence
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


class Tally:
    """Takes records one by one, those of a partition in the order of their offsets; a byte per line is remembered."""

    def __init__(self, ledger: Iterable[Written], *, torn: Collection[bytes] = ()) -> None:
        """``torn``: as for check()."""
        self._written = list(ledger)
        self._known = {one.label: range(one.first, one.last + 1) for one in self._written}
        self._seen = {one.label: bytearray(one.count) for one in self._written}
        self._highest: dict[tuple[str, int], int] = {}
        self._torn = torn
        self._records = 0
        self._doubled: list[Line] = []
        self._out_of_order: list[Line] = []
        self._corrupt: list[str] = []
        self._foreign: list[Line] = []
        self._partitions: dict[str, set[int]] = {}

    def add(self, record: _Record) -> None:
        self._records += 1
        line = parse_line(record.value or b"")
        if line is None:
            if (record.value or b"") not in self._torn:
                shown = (record.value or b"")[:80]
                self._corrupt.append(f"{record.partition}/{record.offset} {shown!r}")
            return
        known = self._known.get(line.label, range(0))
        if line.sequence not in known:
            self._foreign.append(line)
            return
        place = line.label, record.partition
        self._partitions.setdefault(line.label, set()).add(record.partition)
        seen, index = self._seen[line.label], line.sequence - known.start
        highest = self._highest.get(place, -1)
        if seen[index]:
            self._doubled.append(line)
        elif line.sequence < highest:
            self._out_of_order.append(line)
        seen[index] = 1
        self._highest[place] = max(line.sequence, highest)

    def report(self, *, faults: int = 0) -> Report:
        return Report(
            lines=sum(one.count for one in self._written),
            records=self._records,
            faults=faults,
            rotations=sum(one.rotations for one in self._written),
            lost=[line for one in self._written for line in self._missing(one)],
            doubled=self._doubled,
            out_of_order=self._out_of_order,
            corrupt=self._corrupt,
            foreign=self._foreign,
            partitions=self._partitions,
        )

    def _missing(self, one: Written) -> Iterator[Line]:
        seen = self._seen[one.label]
        index = seen.find(0)
        while index >= 0:
            yield Line(one.label, one.first + index)
            index = seen.find(0, index + 1)


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
    tally = Tally(ledger, torn=torn)
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        tally.add(record)
    return tally.report(faults=faults)
