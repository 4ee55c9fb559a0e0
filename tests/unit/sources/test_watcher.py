# SPDX-License-Identifier: Apache-2.0
"""Real inotify on real directories."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import Greenlet

from logagent.sources.watcher import Watcher, flags
from tests.unit.sources.twins import settle, until


class Heard:
    def __init__(self) -> None:
        self.modified: list[tuple[bytes, bytes]] = []
        self.entries: list[tuple[bytes, bytes]] = []
        self.gone: list[bytes] = []
        self.overflows = 0
        self.watcher: Watcher[Any] = Watcher(
            on_modified=lambda directory, name: self.modified.append((directory, name)),
            on_written=lambda _: None,
            on_entry=lambda directory, name, moved: self.entries.append((directory, name)),
            on_directory_gone=self.directory_gone,
            on_overflow=self.overflow,
        )

    def directory_gone(self, directory: bytes) -> None:
        self.gone.append(directory)
        self.watcher.unwatch(directory)

    def overflow(self) -> None:
        self.overflows += 1


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    greenlet: Greenlet = gevent.spawn(made.watcher.run)
    yield made
    assert not greenlet.dead
    greenlet.kill()
    made.watcher.close()


@pytest.fixture
def place(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path)


def test_what_is_written_comes_and_goes_is_told_with_its_name(
    heard: Heard, tmp_path: Path, place: bytes
) -> None:
    heard.watcher.watch(place)
    (tmp_path / "a.log").touch()
    until(lambda: heard.entries)
    assert heard.entries.pop(0) == (place, b"a.log")

    with (tmp_path / "a.log").open("ab") as file:
        file.write(b"x")
    until(lambda: heard.modified)
    assert heard.modified == [(place, b"a.log")]

    heard.entries.clear()
    (tmp_path / "a.log").rename(tmp_path / "b.log")
    until(lambda: len(heard.entries) == 2)
    assert heard.entries == [(place, b"a.log"), (place, b"b.log")]

    (tmp_path / "b.log").unlink()
    until(lambda: heard.entries[-1] == (place, b"b.log") and len(heard.entries) > 2)


def test_names_are_the_bytes_on_disk(heard: Heard, place: bytes) -> None:
    heard.watcher.watch(place)
    for name in (b"\xff\xfe", b"new\nline"):
        with open(os.path.join(place, name), "wb"):
            pass

    until(lambda: {name for _, name in heard.entries} == {b"\xff\xfe", b"new\nline"})


def test_a_changed_mode_is_told(heard: Heard, tmp_path: Path, place: bytes) -> None:
    (tmp_path / "a.log").touch()
    heard.watcher.watch(place)

    (tmp_path / "a.log").chmod(0o600)

    until(lambda: heard.entries == [(place, b"a.log")])


def test_a_directory_that_is_removed_is_told_once(heard: Heard, tmp_path: Path) -> None:
    inner = tmp_path / "x"
    inner.mkdir()
    heard.watcher.watch(os.fsencode(inner))

    inner.rmdir()

    until(lambda: heard.gone)
    settle()
    assert heard.gone == [os.fsencode(inner)]
    assert heard.watcher.watched == frozenset()


def test_a_directory_that_is_moved_away_is_told_and_not_watched_any_more(
    heard: Heard, tmp_path: Path
) -> None:
    inner = tmp_path / "x"
    inner.mkdir()
    heard.watcher.watch(os.fsencode(inner))

    inner.rename(tmp_path / "y")
    until(lambda: heard.gone == [os.fsencode(inner)])
    (tmp_path / "y" / "a.log").touch()
    settle()

    assert heard.entries == []


def test_a_directory_is_watched_again_after_it_came_back(heard: Heard, tmp_path: Path) -> None:
    inner = tmp_path / "x"
    inner.mkdir()
    heard.watcher.watch(os.fsencode(inner))
    inner.rmdir()
    until(lambda: heard.gone)
    inner.mkdir()

    heard.watcher.watch(os.fsencode(inner))
    (inner / "a.log").touch()

    until(lambda: heard.entries == [(os.fsencode(inner), b"a.log")] or len(heard.entries) > 1)


def test_a_directory_watched_under_its_new_name_is_told_under_its_new_name(
    heard: Heard, tmp_path: Path
) -> None:
    old, new = tmp_path / "x", tmp_path / "y"
    old.mkdir()
    heard.watcher.watch(os.fsencode(old))

    old.rename(new)
    heard.watcher.watch(os.fsencode(new))  # before anybody heard of the rename
    settle()
    (new / "a.log").touch()

    until(lambda: heard.entries)
    assert set(heard.entries) == {(os.fsencode(new), b"a.log")}


def test_watching_twice_and_unwatching_once_ends_the_watch(
    heard: Heard, tmp_path: Path, place: bytes
) -> None:
    heard.watcher.watch(place)
    heard.watcher.watch(place)

    heard.watcher.unwatch(place)
    heard.watcher.unwatch(place)
    (tmp_path / "a.log").touch()
    settle()

    assert heard.entries == []
    assert heard.watcher.watched == frozenset()


def test_a_directory_that_is_missing_cannot_be_watched(heard: Heard, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        heard.watcher.watch(os.fsencode(tmp_path / "missing"))
    assert heard.watcher.watched == frozenset()


def test_a_file_cannot_be_watched(heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()

    with pytest.raises(NotADirectoryError):
        heard.watcher.watch(os.fsencode(tmp_path / "a.log"))


def test_lost_events_are_told(heard: Heard) -> None:
    heard.watcher._tell_all(struct.pack("iIII", -1, flags.Q_OVERFLOW, 0, 0))

    assert heard.overflows == 1
