# SPDX-License-Identifier: Apache-2.0
"""What survives of the configuration in Etcd when Etcd is away."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logagent.config.services import PathRules
from logagent.control import cache
from logagent.control.cache import Cached, cached_document, load, save
from logagent.control.keys import Keys
from logagent.control.trust import Seen
from logagent.errors import StateError
from tests.unit.control.lists import RULES, document, raw

PATTERN = "/logagent/%s/logconfig"
KEYS = Keys(PATTERN, "h")
HOST = document(
    raw("/a", send_rate=5, other=1),
    {"service": "web", "log_path": "/b\udcff", "disabled": True},
    key=KEYS.services,
)
WEB = document(raw("/w", topic="web"), key=KEYS.group("web"), source="group web")
DEFAULT = document(raw("/d"), key=KEYS.default, source="default")
CACHED = Cached(
    api="v3",
    cluster_id="c1",
    revision=12,
    term=3,
    watch_key=PATTERN,
    host_id="h",
    documents={one.key: cached_document(one) for one in (DEFAULT, WEB, HOST)},
    groups=("web",),
    saved_at_s=1_700_000_000.5,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "etcd-cache.json"


def reason(path: Path) -> str:
    found, why = load(path, PATTERN, "h")
    assert found is None
    return why


def test_what_is_saved_is_loaded(path: Path) -> None:
    save(path, CACHED)
    assert load(path, PATTERN, "h") == (CACHED, "")


def test_the_documents_come_back_with_the_highest_first(path: Path) -> None:
    save(path, CACHED)
    found, _ = load(path, PATTERN, "h")
    assert found
    documents = found.restored(RULES)
    assert [one.source for one in documents] == ["etcd", "group web", "default"]
    assert [one.entries for one in documents] == [HOST.entries, WEB.entries, DEFAULT.entries]
    assert documents[0].disabled == HOST.disabled
    assert documents[0].sha256 == HOST.sha256
    assert not any(one.faults or one.warnings for one in documents)


def test_what_may_not_be_read_today_does_not_come_back() -> None:
    stricter = PathRules(allowed=("/srv",), denied=(), own_log=None, data_dir="/d")
    assert [one.entries for one in CACHED.restored(stricter)] == [(), (), ()]


def test_it_says_what_was_seen() -> None:
    keys = {KEYS.services, KEYS.default, KEYS.group("web"), KEYS.groups}
    assert CACHED.seen == Seen("c1", 12, 3, frozenset(keys))
    assert KEYS.groups not in replace(CACHED, groups=()).seen.present


def test_the_file_is_for_its_owner_only_and_nothing_else_is_left(path: Path) -> None:
    leftover = path.with_name("etcd-cache.json.new")
    leftover.write_text("torn")
    leftover.chmod(0o666)
    save(path, CACHED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["etcd-cache.json"]


def test_the_file_is_on_disk_before_it_gets_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, swap = os.fsync, Path.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (steps.append("dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"), sync(fd)),
    )
    monkeypatch.setattr(Path, "replace", lambda *names: (steps.append("name"), swap(*names)))
    save(path, CACHED)
    assert steps == ["file", "name", "dir"]


def test_a_save_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, CACHED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="cannot be written: No space left on device"):
        save(path, replace(CACHED, revision=13))
    monkeypatch.undo()
    assert load(path, PATTERN, "h") == (CACHED, "")
    assert os.listdir(path.parent) == ["etcd-cache.json"]


def test_none_yet(path: Path) -> None:
    assert reason(path) == "there is none yet"


def test_one_of_another_host_or_pattern_does_not_count(path: Path) -> None:
    save(path, CACHED)
    assert load(path, PATTERN, "h2") == (None, "it is for host h, not for h2")
    assert load(path, "/x/%s", "h") == (
        None,
        "it is for etcd_watch_key /logagent/%s/logconfig, not for /x/%s",
    )


def test_one_of_another_format_does_not_count(path: Path) -> None:
    save(path, CACHED)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    assert reason(path) == "it has another format than this version reads (1)"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "no format"),
        (b'{"format": 1}', "body"),
        (b'{"format": 1, "body": {}}', "its checksum does not match"),
    ],
)
def test_a_damaged_one_does_not_count(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    assert reason(path) == f"it is damaged ({why})"


def test_a_flipped_letter_is_noticed(path: Path) -> None:
    save(path, CACHED)
    path.write_bytes(path.read_bytes().replace(b'"/w"', b'"/x"'))
    assert reason(path) == "it is damaged (its checksum does not match)"


@pytest.mark.parametrize("place", ["a directory", "a FIFO", "a link"])
def test_only_a_regular_file_is_read(path: Path, place: str) -> None:
    if place == "a directory":
        path.mkdir()
    elif place == "a FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert reason(path) == (
        "it cannot be read: Too many levels of symbolic links"
        if place == "a link"
        else "it is not a regular file"
    )


def test_a_file_beyond_all_measure_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, CACHED)
    monkeypatch.setattr(cache, "_LIMIT_BYTES", 100)
    assert reason(path) == "it is damaged (more than 100 bytes)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api", "v4"),
        ("api", 3),
        ("cluster_id", None),
        ("revision", True),
        ("revision", "12"),
        ("term", 1.5),
        ("saved_at_s", 1e999),
        ("saved_at_s", "now"),
        ("groups", ["a/b"]),
        ("groups", [{}]),
        ("groups", "web"),
        ("documents", []),
        ("documents", {"k": None}),
        ("documents", {"k": {}}),
        ("documents", {"k": {"revision": 1, "sha256": "", "accepted": [5]}}),
        ("documents", {"k": {"revision": 1, "sha256": "", "accepted": {}}}),
    ],
)
def test_values_of_the_wrong_type_do_not_count_though_the_checksum_is_right(
    path: Path, name: str, value: object
) -> None:
    save(path, CACHED)
    body: dict[str, Any] = {**json.loads(path.read_text())["body"], name: value}
    path.write_text(json.dumps({"format": 1, "sha256": cache._checksum(body), "body": body}))
    assert reason(path).startswith("it is damaged (")


NAMES = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/_."), min_size=1, max_size=4
)
MEMBERS = st.lists(
    st.builds(raw, NAMES.map("/{}".format), service=NAMES, send_rate=st.sampled_from([5, "unlimited"])),
    max_size=4,
)


@given(
    members=MEMBERS,
    groups=st.lists(NAMES, max_size=3, unique=True),
    api=st.sampled_from(["v3", "v2"]),
    numbers=st.tuples(st.integers(0, 2**63), st.integers(0, 2**63), st.floats(0, 4e9)),
    cut=st.integers(0, 10_000),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_whatever_was_saved_comes_back_and_a_torn_file_never_does(
    path: Path,
    members: list[dict[str, Any]],
    groups: list[str],
    api: Any,
    numbers: tuple[int, int, float],
    cut: int,
) -> None:
    found = document(*members, key=KEYS.services)
    revision, term, saved_at_s = numbers
    saved = Cached(
        api, "c", revision, term, PATTERN, "h", {found.key: cached_document(found)}, tuple(groups), saved_at_s
    )
    save(path, saved)
    assert load(path, PATTERN, "h") == (saved, "")
    assert saved.restored(RULES)[0].entries == found.entries

    content = path.read_bytes()
    path.write_bytes(content[: cut % len(content)])
    assert reason(path).startswith("it is damaged (")


@given(content=st.binary())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_content_raises(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert reason(path)
