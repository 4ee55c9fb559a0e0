# SPDX-License-Identifier: Apache-2.0
"""Deleted files are held until they are delivered, and no further than the operator allows."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from logagent.config.values import FreeSpace
from logagent.sources.deleted import Bound, Bounds, Deleted, Disk, judge
from logagent.sources.rotation import FileKey
from tests.support.missing import skip_or_fail
from tests.unit.sources.twins import Bench, until

MIB = 1024 * 1024
PLENTY = Bounds(2**60, FreeSpace(0, percent=False))
NOTHING_FREE = FreeSpace(0, percent=False)


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def deleted(number: int, disk_bytes: int, device: int = 1) -> Deleted:
    return Deleted(FileKey(device, number), disk_bytes, since_s=float(number))


# -- pure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "given_up", "near"),
    [
        (Bounds(1000, NOTHING_FREE), [], set()),
        (Bounds(750, NOTHING_FREE), [], {Bound.BYTES}),
        (Bounds(600, NOTHING_FREE), [], {Bound.BYTES}),
        (Bounds(599, NOTHING_FREE), [1], {Bound.BYTES}),
        (Bounds(400, NOTHING_FREE), [1, 2], {Bound.BYTES}),
        (Bounds(0, NOTHING_FREE), [1, 2, 3], {Bound.BYTES}),
        (Bounds(10_000, FreeSpace(79, percent=False)), [], set()),
        (Bounds(10_000, FreeSpace(80, percent=False)), [], {Bound.FREE}),
        (Bounds(10_000, FreeSpace(10, percent=True)), [], {Bound.FREE}),
        (Bounds(10_000, FreeSpace(11, percent=True)), [1], {Bound.FREE}),
        (Bounds(10_000, FreeSpace(40, percent=True)), [1, 2], {Bound.FREE}),
        (Bounds(300, FreeSpace(11, percent=True)), [1, 2], {Bound.FREE, Bound.BYTES}),
    ],
)
def test_the_oldest_are_given_up_until_the_rest_is_within_the_bounds(
    bounds: Bounds, given_up: list[int], near: set[Bound]
) -> None:
    files = [deleted(3, 300), deleted(1, 100), deleted(2, 200)]

    verdict = judge(files, {1: Disk(free_bytes=100, total_bytes=1000)}, bounds)

    assert [key.inode for key in verdict.given_up] == given_up
    assert verdict.near == near


def test_a_full_disk_takes_no_files_of_another_one() -> None:
    files = [deleted(1, 100, device=1), deleted(2, 100, device=2)]
    disks = {1: Disk(500, 1000), 2: Disk(0, 1000)}

    verdict = judge(files, disks, Bounds(1000, FreeSpace(5, percent=True)))

    assert verdict.given_up == {FileKey(2, 2): Bound.FREE}


def test_a_full_disk_without_deleted_files_is_not_the_agents_affair() -> None:
    assert not judge([], {1: Disk(0, 1000)}, Bounds(0, FreeSpace(5, percent=True))).near


# -- on real files ------------------------------------------------------------------------------------------------


def allow(bench: Bench, most_bytes: int, min_free: FreeSpace = NOTHING_FREE) -> None:
    bench.collector.settings = replace(bench.collector.settings, deleted=Bounds(most_bytes, min_free))


def sweep(bench: Bench) -> None:
    bench.collector._sweeper.sweep()


def generation(log: Path, number: int, size_bytes: int) -> None:
    """One generation is written whole."""
    append(log, (b"%d\n" % number).rjust(1024, b".") * (size_bytes // 1024))


def test_a_deleted_file_is_read_to_its_end_and_then_let_go(bench: Bench, tmp_path: Path) -> None:
    """Cases 51 and 52: nothing else happens after the deletion."""
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.read(log)
    bench.until_lines(b"one")
    bench.outlet.block()
    append(log, b"two\nthree\n")
    file = bench.file(log)
    descriptor = file.descriptor

    log.unlink()
    until(lambda: file.left_path_s is not None)
    sweep(bench)
    bench.outlet.unblock()

    bench.until_lines(b"one", b"two", b"three")
    assert not file.closed
    bench.skip(11)
    until(lambda: file.closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert not bench.told.of("bytes_lost")


def test_deleted_files_beyond_the_bound_are_given_up_and_counted_the_oldest_first(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    bench.outlet.block()
    for number in range(4):
        generation(log, number, MIB)
        if not number:
            bench.read(log)
        until(lambda: log.exists() and bench.collector.files and bench.file(log).left_path_s is None)
        file = bench.file(log)
        if number < 3:
            log.unlink()
            until(lambda file=file: file.left_path_s is not None)  # type: ignore[misc]
            bench.skip(1)
    allow(bench, 10 * MIB)
    sweep(bench)
    assert not bench.told.of("bytes_lost")
    assert not bench.collector.reasons()

    allow(bench, int(3.5 * MIB))
    sweep(bench)
    assert not bench.told.of("bytes_lost")
    (reason,) = bench.collector.reasons()
    assert "hold_deleted_bytes = 3670016" in reason
    assert [fact["held_bytes"] for fact in bench.told.of("deleted_near_bound")] == [3 * MIB]

    allow(bench, 2 * MIB)
    sweep(bench)
    assert [(fact["lost_bytes"], fact["reason"]) for fact in bench.told.of("bytes_lost")] == [
        (MIB, "deleted, and beyond hold_deleted_bytes")
    ]
    sweep(bench)
    assert len(bench.told.of("bytes_lost")) == 1

    bench.outlet.unblock()
    until(lambda: len(bench.outlet.lines()) == 3 * 1024)
    assert {line.strip(b".") for line in bench.outlet.lines()} == {b"1", b"2", b"3"}
    bench.skip(11)
    until(lambda: len(bench.collector.files) == 1)
    sweep(bench)
    assert not bench.collector.reasons()


def test_what_is_on_its_way_of_a_file_that_is_given_up_still_arrives(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.holding = True
    bench.read(log)
    bench.until_lines(b"one")
    bench.outlet.block()
    append(log, b"two\n")
    log.unlink()
    until(lambda: bench.file(log).left_path_s is not None)
    allow(bench, 0)

    sweep(bench)

    assert [fact["lost_bytes"] for fact in bench.told.of("bytes_lost")] == [len(b"two\n")]
    bench.outlet.acknowledge()
    assert bench.outlet.acknowledged() == [b"one"]
    assert not bench.failures


def test_what_was_on_its_way_and_is_dropped_is_counted_too(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.holding = True
    bench.read(log)
    bench.until_lines(b"one")
    log.unlink()
    until(lambda: bench.file(log).left_path_s is not None)
    allow(bench, 0)
    sweep(bench)
    (segment,) = bench.outlet.open
    assert not segment.source.readable_again

    segment.source.rewind(0)

    assert [(fact["lost_bytes"], fact["reason"]) for fact in bench.told.of("bytes_lost")] == [
        (4, "deleted before it was sent")
    ]


def test_a_rotated_file_that_still_has_a_name_is_not_given_up(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n")
    bench.outlet.block()
    bench.read(log)
    log.rename(tmp_path / "a.log.1")
    until(lambda: bench.file(log).left_path_s is not None)
    allow(bench, 0)

    sweep(bench)

    assert not bench.told.of("bytes_lost")
    bench.outlet.unblock()
    bench.until_lines(b"one")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        skip_or_fail("Only root can mount a small file system.")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        skip_or_fail(f"A file system cannot be mounted: {done.stderr!r}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_night_without_kafka_does_not_fill_the_disk_with_deleted_files(
    make_bench: Callable[..., Bench], small_disk: Path
) -> None:
    """Case 144."""
    bench = make_bench()
    allow(bench, 2**40, FreeSpace(25, percent=True))
    log = small_disk / "a.log"
    bench.outlet.block("Kafka is away")
    warned_before_lost = False
    for number in range(12):
        generation(log, number, 2 * MIB)
        if not number:
            bench.read(log)
        until(lambda: any(one.left_path_s is None for one in bench.collector.files.values()))
        (file,) = [one for one in bench.collector.files.values() if one.left_path_s is None]
        log.unlink()
        until(lambda file=file: file.left_path_s is not None)  # type: ignore[misc]
        bench.skip(60)
        sweep(bench)
        warned_before_lost |= bool(bench.collector.reasons()) and not bench.told.of("bytes_lost")
        room = os.statvfs(small_disk)
        assert room.f_bavail * 4 >= room.f_blocks, f"after generation {number}"

    lost_bytes = sum(fact["lost_bytes"] for fact in bench.told.of("bytes_lost"))
    assert warned_before_lost
    assert {fact["reason"] for fact in bench.told.of("bytes_lost")} == {
        "deleted, and beyond hold_deleted_min_free"
    }
    bench.outlet.unblock()
    until(lambda: len(bench.outlet.lines()) * 1024 + lost_bytes == 24 * MIB)
    arrived = [int(line.strip(b".")) for line in bench.outlet.lines()]
    assert arrived == sorted(arrived)
    assert set(arrived) == set(range(lost_bytes // (2 * MIB), 12))
