# SPDX-License-Identifier: Apache-2.0
"""A file that grows while it is read, by reads of any size, with restarts: the records are those of the whole file."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.pipeline.chunk import Chunk
from logagent.sources import encodings, line_reader, reader
from logagent.sources.framing import Finish, Form, Limits, Oversize
from logagent.sources.line_reader import LineReader, end_of_zeros
from tests.unit.sources.test_framing import NAMES, POLICIES, START, contents, flat, reference


class Growing:
    """What the tailer does, without anything around it."""

    def __init__(self, name: str, multiline: bool, limits: Limits, read_bytes: int) -> None:
        self.descriptor = os.memfd_create("log")
        self.name, self.multiline, self.limits, self.read_bytes = name, multiline, limits, read_bytes
        self.records: list[tuple[int, bytes]] = []
        self.hole_bytes = self.offset = self.scanned = 0
        self.reader = self._reader()

    def _reader(self) -> LineReader:
        return LineReader(self.name, START if self.multiline else None)

    def read(self, count: int, offset: int) -> bytes:
        return os.pread(self.descriptor, count, offset)

    def grow(self, data: bytes) -> None:
        os.pwrite(self.descriptor, data, os.fstat(self.descriptor).st_size)
        if self.reader.zeros_offset is not None:
            self.scanned = self.reader.look_again(self.scanned)

    def restart(self) -> None:
        self.reader, self.scanned = self._reader(), self.offset

    def follow(self) -> None:
        for _ in range(20_000):
            if self.scanned >= os.fstat(self.descriptor).st_size:
                return
            self.step()
        raise AssertionError("no end")

    def step(self) -> None:
        at = self.reader.look_offset(self.offset, self.scanned)
        count = self.scanned - at + self.read_bytes
        data = self.read(count, at)
        chunk = self.reader.take(
            data, at, self.offset, self.limits, finish=Finish.NOTHING, at_end=len(data) < count,
            descriptor=self.descriptor, read=self.read,
        )  # fmt: skip
        if chunk is None:
            assert self.reader.scanned_offset >= self.offset
            self.scanned = self.reader.scanned_offset
        else:
            self.hand_on(chunk)

    def hand_on(self, chunk: Chunk) -> None:
        assert self.offset == chunk.start_offset < chunk.end_offset
        self.records += flat(chunk)
        self.hole_bytes += sum(bytes_ for _, bytes_ in chunk.holes)
        self.offset = self.scanned = chunk.end_offset
        self.reader.advanced()

    def close(self) -> None:
        size = os.fstat(self.descriptor).st_size
        while self.offset < size:
            self.hand_on(self.reader.last(self.offset, size, self.limits, self.read))
        os.close(self.descriptor)


@settings(deadline=None, max_examples=500)
@given(
    drawn=NAMES.flatmap(lambda name: st.tuples(st.just(name), contents(name))),
    ends=st.lists(st.integers(0, 900), max_size=6),
    restarts=st.sets(st.integers(0, 6)),
    limit=st.integers(12, 90) | st.just(1_000_000),
    oversize=st.sampled_from(POLICIES),
    multiline=st.booleans(),
    read_bytes=st.sampled_from([16, 37, 70, 200, 4096]),
)
@example(("utf-8", b"a" + b"\0" * 400 + b"b\n"), [100, 300], set(), 100, "cut", False, 70)
@example(("big5", b"\r" + b"\0" * 64), [], set(), 12, "split", False, 16)
@example(("utf-8", b"a" * 9 + b"\0" * 40 + b"b" * 40), [], set(), 12, "split", False, 16)
@example(("big5", b"\r" + b"\0" * 63 + b"\n"), [], set(), 1000, "cut", True, 16)
@example(("utf-8", b"S\n" + b"\0" * 63), [], set(), 12, "cut", True, 16)
@example(("utf-8", b"S\n\r" + b"\0" * 64), [], set(), 1000, "cut", True, 16)
@example(("utf-8", b"\xef\xbb\xbf\r\r" + "日本語".encode() + b"\n"), [2], set(), 12, "cut", False, 16)
@example(("utf-8", b"S" + b"a" * 300 + b"\nb\nS\n"), [], set(), 1000, "cut", True, 16)
def test_a_growing_file_gives_the_records_of_the_whole_file(
    drawn: tuple[str, bytes],
    ends: list[int],
    restarts: set[int],
    limit: int,
    oversize: Oversize,
    multiline: bool,
    read_bytes: int,
) -> None:
    """Cases 22, 24, 28-34, 36, 37: no byte twice, none left out, whatever is written when and read how."""
    name, data = drawn
    limits = Limits(limit, oversize)
    before, reader.READ_BYTES = reader.READ_BYTES, read_bytes  # short lines are those of a sixteenth of it
    growing = Growing(name, multiline, limits, read_bytes)
    try:
        begin = 0
        for number, end in enumerate([*sorted(min(end, len(data)) for end in ends), len(data)]):
            growing.grow(data[begin:end])
            begin = end
            growing.follow()
            if number in restarts:
                growing.restart()
                growing.follow()
        growing.close()
    finally:
        reader.READ_BYTES = before

    form = Form(encodings.of(name, data[:2]), START if multiline else None)
    assert growing.records == reference(data, form, limits)
    assert growing.offset == len(data)


# -- zeros ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hole() -> Iterator[int]:
    descriptor = os.memfd_create("hole")
    yield descriptor
    os.close(descriptor)


def test_a_large_hole_is_not_read(hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 34, 129: what the file system knows to be empty costs one call, however large it is."""
    os.pwrite(hole, b"line\n", 50 * 1024**3)
    reads: list[int] = []
    real = os.pread
    monkeypatch.setattr(line_reader.os, "pread", lambda fd, n, at: reads.append(at) or real(fd, n, at))  # type: ignore[func-returns-value]

    assert end_of_zeros(hole, 100) == (50 * 1024**3, True)

    assert len(reads) == 1


def test_written_zeros_are_skipped_a_few_blocks_at_a_time(hole: int) -> None:
    """Case 129: fifty million zeros hold nobody up."""
    os.pwrite(hole, bytes(50_000_000) + b"x", 0)
    at, rounds, found = 0, 0, False
    while not found:
        at, found = end_of_zeros(hole, at)
        rounds += 1

    assert at == 50_000_000
    assert rounds >= 10


def test_zeros_up_to_the_end_are_not_the_end_of_zeros(hole: int) -> None:
    os.ftruncate(hole, 1_000_000)

    assert end_of_zeros(hole, 10) == (1_000_000, False)


def test_a_hole_of_gigabytes_is_counted_and_the_line_behind_it_begins_there() -> None:
    """Case 34: at the left, in the middle, at the right; nothing is kept in memory of it."""
    growing = Growing("utf-8", False, Limits(1000), reader.READ_BYTES)
    os.pwrite(growing.descriptor, b"before\nhalf", 3 * 1024**3)
    os.pwrite(growing.descriptor, b"behind\n", 5 * 1024**3)
    os.ftruncate(growing.descriptor, 6 * 1024**3)
    growing.follow()

    begin, middle = 3 * 1024**3, 5 * 1024**3
    assert growing.records == [(begin, b"before"), (begin + 7, b"half"), (middle, b"behind")]
    assert growing.hole_bytes == begin + (middle - begin - 11)
    assert growing.reader.zeros_offset == middle + 7


def test_zeros_at_the_end_are_filled_later() -> None:
    """Case 139: a preallocated file is read as it is filled, from wherever its zeros began."""
    growing = Growing("utf-8", False, Limits(1000), 4096)
    growing.grow(b"one\ntw" + bytes(100_000))
    growing.follow()
    assert growing.records == [(0, b"one")]

    os.pwrite(growing.descriptor, b"o\nthree\n", 6)
    growing.grow(b"")
    growing.follow()

    assert growing.records == [(0, b"one"), (4, b"two"), (8, b"three")]


def test_what_is_written_in_the_middle_of_the_zeros_is_found_too() -> None:
    growing = Growing("utf-8", False, Limits(1000), 4096)
    growing.grow(b"one\n" + bytes(3_000_000))
    growing.follow()

    os.pwrite(growing.descriptor, b"two\n", 2_000_000)
    growing.grow(b"")
    growing.follow()

    assert growing.records == [(0, b"one"), (2_000_000, b"two")]
