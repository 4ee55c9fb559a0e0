# SPDX-License-Identifier: Apache-2.0

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.sources import discovery
from logagent.sources.discovery import Pattern, nearest_directory, scan


def touch(base: Path, *paths: bytes) -> None:
    for path in paths:
        whole = os.path.join(os.fsencode(base), path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb"):
            pass


def found(base: Path, pattern: bytes) -> list[bytes]:
    prefix = os.fsencode(base) + b"/"
    return [path.removeprefix(prefix) for path in scan(Pattern(prefix + pattern)).paths]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        b"a.log",
        b"b.log",
        b"b.txt",
        b".hidden.log",
        b"x/a.log",
        b"x/y/a.log",
        b"x/y/z/deep.log",
        b".secret/a.log",
        b"b\xff\xfe.log",
        b"new\nline.log",
        b"[odd].log",
    )
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"a.log", [b"a.log"]),
        (b"missing.log", []),
        (b"*.log", [b"[odd].log", b"a.log", b"b.log", b"b\xff\xfe.log", b"new\nline.log"]),
        (b"?.log", [b"a.log", b"b.log"]),
        (b"[ab].log", [b"a.log", b"b.log"]),
        (b"[!a].log", [b"b.log"]),
        (b"[[]odd].log", [b"[odd].log"]),
        (b".*.log", [b".hidden.log"]),
        (b"*/a.log", [b"x/a.log"]),
        (b".*/a.log", [b".secret/a.log"]),
        (b"x/**/a.log", [b"x/a.log", b"x/y/a.log"]),
        (b"x/**", [b"x/a.log", b"x/y/a.log", b"x/y/z/deep.log"]),
        (b"**/deep.log", [b"x/y/z/deep.log"]),
        (b"x/**/y/**/*.log", [b"x/y/a.log", b"x/y/z/deep.log"]),
        (b"b*e.log", []),
        (b"b\xff*.log", [b"b\xff\xfe.log"]),
        (b"new*", [b"new\nline.log"]),
    ],
)
def test_a_pattern_finds_just_what_it_names(tree: Path, pattern: bytes, expected: list[bytes]) -> None:
    assert found(tree, pattern) == expected


def test_a_scan_tells_every_directory_that_it_looked_into(tree: Path) -> None:
    directories = scan(Pattern(os.fsencode(tree / "x" / "**" / "*.log"))).directories

    assert directories == {os.fsencode(tree / name) for name in ("x", "x/y", "x/y/z")}


def test_the_base_is_told_even_if_it_does_not_exist(tmp_path: Path) -> None:
    result = scan(Pattern(os.fsencode(tmp_path / "no" / "such" / "*.log")))

    assert result.paths == []
    assert result.directories == {os.fsencode(tmp_path / "no" / "such")}
    assert result.unreadable == {}


def test_two_stars_do_not_follow_links_to_parents(tree: Path) -> None:
    (tree / "x" / "loop").symlink_to(tree)

    assert found(tree, b"x/**/a.log") == [b"x/a.log", b"x/y/a.log"]


def test_two_stars_go_down_a_bounded_number_of_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MAX_DEPTH", 2)
    touch(tmp_path, b"1/2/a.log", b"1/2/3/a.log")

    assert found(tmp_path, b"**/a.log") == [b"1/2/a.log"]


def test_a_link_to_a_directory_is_followed_by_name_and_by_star(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "x")

    assert found(tree, b"link/a.log") == [b"link/a.log"]
    assert found(tree, b"*/a.log") == [b"link/a.log", b"x/a.log"]


def test_a_dangling_link_is_named_but_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "missing")

    assert found(tmp_path, b"*.log") == [b"a.log"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_directory_that_cannot_be_listed_is_told_with_its_reason() -> None:
    place = tempfile.mkdtemp()
    try:
        os.chmod(place, 0o755)
        locked = Path(place, "locked")
        locked.mkdir(mode=0o700)
        os.seteuid(65534)
        result = scan(Pattern(os.fsencode(locked / "*.log")))
    finally:
        os.seteuid(0)
        shutil.rmtree(place)

    assert result.unreadable == {os.fsencode(locked): "Permission denied"}


@pytest.mark.parametrize(
    ("path", "base", "literal"),
    [
        (b"/var/log/a.log", b"/var/log", True),
        (b"/var/log/*.log", b"/var/log", False),
        (b"/var/*/a.log", b"/var", False),
        (b"/*.log", b"/", False),
        (b"/var/**/a.log", b"/var", False),
        (b"//var//log/a.log", b"/var/log", True),
    ],
)
def test_the_base_is_what_stands_before_the_first_wildcard(path: bytes, base: bytes, literal: bool) -> None:
    assert (Pattern(path).base, Pattern(path).literal) == (base, literal)


def test_the_nearest_directory_is_the_deepest_that_exists(tmp_path: Path) -> None:
    assert nearest_directory(os.fsencode(tmp_path / "a" / "b")) == os.fsencode(tmp_path)
    assert nearest_directory(os.fsencode(tmp_path)) == os.fsencode(tmp_path)
    assert nearest_directory(b"/no/such/thing") == b"/"


names = st.sampled_from([b"a", b"b", b"ab", b"a.b", b".a", b"\xff", b"a\nb", b"["])
parts = st.sampled_from(
    [
        b"a",
        b"ab",
        b"*",
        b"**",
        b"?",
        b"a*",
        b"*b",
        b"[ab]",
        b"[!a]",
        b"a?b",
        b".*",
        b"*.*",
        b"[.*]b",
        b"a[]",
        b"*\xff*",
    ]
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    made = tempfile.mkdtemp()
    yield Path(made)
    shutil.rmtree(made)


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(st.lists(names, min_size=1, max_size=4), max_size=8),
    pattern=st.lists(parts, min_size=1, max_size=4),
)
@example(files=[[b"a", b"b"]], pattern=[b"**", b"a?b"])
@example(files=[[b".b"], [b"ab"]], pattern=[b"[.*]b"])
def test_what_a_scan_finds_and_what_matches_are_the_same(
    place: Path, files: list[list[bytes]], pattern: list[bytes]
) -> None:
    base = Path(tempfile.mkdtemp(dir=place))
    for file in files:
        try:
            touch(base, b"/".join(file))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # one name cannot be a file and a directory
    wanted = Pattern(os.fsencode(base) + b"/" + b"/".join(pattern))
    all_files = {
        os.path.join(directory, name) for directory, _, here in os.walk(os.fsencode(base)) for name in here
    }

    scanned = {path for path in scan(wanted).paths if not os.path.isdir(path)}

    assert scanned == {path for path in all_files if wanted.matches(path)}


def steps(pattern: Pattern) -> tuple[int, discovery.Found]:
    number, search = 0, discovery.search(pattern)
    while True:
        try:
            next(search)
        except StopIteration as end:
            return number, end.value
        number += 1


@pytest.mark.parametrize("pattern", [b"/**/x", b"/**/**/x", b"/**/*/**/*/**/x", b"/**", b"/*/*/*/*/*/*"])
def test_a_directory_is_looked_into_once_however_many_ways_lead_there(tmp_path: Path, pattern: bytes) -> None:
    touch(tmp_path, *[f"{a}/{b}/{c}/{d}/f".encode() for a in "12" for b in "12" for c in "12" for d in "12"])
    directories, names = 31, 46

    number, result = steps(Pattern(os.fsencode(tmp_path) + pattern))

    assert len(result.directories) <= directories
    assert number <= 2 * directories + names + 1


def test_so_many_directories_are_looked_into_and_no_more_those_further_up_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MAX_DIRECTORIES", 4)
    touch(
        tmp_path,
        *[f"{a}/{b}/x.log".encode() for a in "123" for b in "123"],
        b"1/a.log",
        b"2/a.log",
        b"3/a.log",
    )

    number, result = steps(Pattern(os.fsencode(tmp_path / "**" / "*.log")))

    assert [path.removeprefix(os.fsencode(tmp_path)) for path in result.paths] == [
        b"/1/a.log",
        b"/2/a.log",
        b"/3/a.log",
    ]
    assert len(result.directories) == 4
    assert result.limit == "it leads into more than 4 directories; the others are not looked into"
    assert number < 40


def test_a_limit_that_is_just_reached_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_DIRECTORIES", 4)
    monkeypatch.setattr(discovery, "MAX_PATHS", 3)
    touch(tmp_path, b"1/a.log", b"2/a.log", b"3/a.log")

    assert scan(Pattern(os.fsencode(tmp_path / "**" / "*.log"))).limit == ""


def test_so_many_paths_are_taken_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_PATHS", 2)
    touch(tmp_path, b"a.log", b"b.log", b"c.log")

    result = scan(Pattern(os.fsencode(tmp_path / "*.log")))

    assert len(result.paths) == len(result.named) == 2
    assert result.limit == "it names more than 2 files; the others are not read"


def test_paths_that_are_sorted_in_pieces_are_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "SORTED_AT_ONCE", 3)
    touch(tmp_path, *[f"{number:02}.log".encode() for number in range(20)])

    assert found(tmp_path, b"*.log") == [f"{number:02}.log".encode() for number in range(20)]


def test_a_link_in_a_circle_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").symlink_to(tmp_path / f"{number}")
    touch(tmp_path, b"x/a.log", b"y/a.log")

    assert found(tmp_path, b"*/a.log") == [b"x/a.log", b"y/a.log"]


@pytest.mark.parametrize(
    ("exclude", "path", "excluded"),
    [
        (b"old", b"/l/old", True),
        (b"old", b"/l/a/old/b", True),
        (b"old", b"/old/b", False),
        (b"*.gz", b"/l/.a.gz", True),
        (b"/l/**/old", b"/l/old/x", True),
        (b"/l/**/old", b"/l" + b"/d" * 40 + b"/old", True),
        (b"/l/**", b"/l/x", True),
        (b"/l/**", b"/l", False),
        (b"/l/*", b"/l/.x/y", True),
        (b"/", b"/l/x", True),
        (b"/l/x*", b"/m/x", False),
    ],
)
def test_an_exclude_takes_out_what_it_names_and_all_below(
    exclude: bytes, path: bytes, excluded: bool
) -> None:
    assert Pattern(b"/l/**", (b"nothing", exclude)).excludes_path(path) is excluded
