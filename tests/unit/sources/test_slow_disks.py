# SPDX-License-Identifier: Apache-2.0
"""What makes a disk slow, and for how long."""

import os

import pytest

from logagent.sources.slow_disks import SLOW_FOR_S, SUSPECT_S, SlowDisks


class Disk:
    """Reads that take as long as the test says, asleep or waiting for the processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.switches = 0
        self.took_s = 0.0
        self.asleep = False
        self.disks = SlowDisks(lambda: self.now_s, lambda: self.switches)
        monkeypatch.setattr(os, "pread", self._pread)

    def _pread(self, _descriptor: int, _count: int, _offset: int) -> bytes:
        self.now_s += self.took_s
        self.switches += self.asleep
        return b"data"

    def read(self, took_s: float, *, asleep: bool) -> bool:
        """Read once from device 7; whether it counts as slow now."""
        self.took_s, self.asleep = took_s, asleep
        assert self.disks.timed(7, os.pread, 3, 10, 0) == b"data"
        return self.disks.is_slow(7)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_two_long_reads_asleep_make_a_slow_disk(disk: Disk) -> None:
    assert not disk.read(0.2, asleep=True)
    assert disk.read(0.2, asleep=True)
    assert not disk.disks.is_slow(8)


def test_waiting_for_the_processor_is_not_the_disks_fault(disk: Disk) -> None:
    assert not any(disk.read(0.2, asleep=False) for _ in range(5))


def test_short_sleeps_are_no_harm(disk: Disk) -> None:
    disk.read(0.2, asleep=True)
    assert not any(disk.read(0.005, asleep=True) for _ in range(5))


def test_suspicion_ends(disk: Disk) -> None:
    disk.read(0.2, asleep=True)
    disk.now_s += SUSPECT_S
    assert not disk.read(0.2, asleep=True)


def test_a_slow_disk_gets_another_chance(disk: Disk) -> None:
    disk.read(0.2, asleep=True)
    assert disk.read(0.2, asleep=True)
    disk.now_s += SLOW_FOR_S
    assert not disk.disks.is_slow(7)


def test_a_late_read_proves_a_slow_disk_only_under_suspicion_and_if_the_thread_slept(disk: Disk) -> None:
    disk.disks.late(7, disk.now_s, slept=True)
    assert not disk.disks.is_slow(7)
    disk.disks.late(7, disk.now_s, slept=False)
    assert not disk.disks.is_slow(7)
    disk.disks.late(7, disk.now_s, slept=True)
    assert disk.disks.is_slow(7)
