# SPDX-License-Identifier: Apache-2.0

import re
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.sources import globs
from logagent.sources.discovery import Pattern
from logagent.sources.globs import Route, name_pattern, parts_of

Token = int | frozenset[int] | str


def tokens(part: bytes) -> list[Token]:
    """A part as documented: `*`, `?`, sets like [a-z], [!0-9] and []x]; any other byte is itself."""
    found: list[Token] = []
    at = 0
    while at < len(part):
        char = part[at : at + 1]
        at += 1
        if char in (b"*", b"?"):
            found.append(char.decode())
        elif (
            char == b"["
            and (members := re.match(rb"([!^]?)(\]?[^\]]*)\]", part[at:], re.DOTALL))
            and members[2]
        ):
            taken = ranged(members[2])
            found.append(frozenset(range(256)) - taken if members[1] else taken)
            at += members.end()
        else:
            found.append(char[0])
    return found


def ranged(members: bytes) -> frozenset[int]:
    taken: set[int] = set()
    while members:
        if len(members) > 2 and members[1:2] == b"-":
            if members[0] > members[2]:
                raise ValueError
            taken |= set(range(members[0], members[2] + 1))
            members = members[3:]
        else:
            taken.add(members[0])
            members = members[1:]
    return frozenset(taken)


def reference_name(part: bytes, name: bytes) -> bool:
    try:
        wanted = tokens(part)
    except ValueError:
        return part == name

    @cache
    def fits(number: int, at: int) -> bool:
        if number == len(wanted):
            return at == len(name)
        token = wanted[number]
        if token == "*":
            return fits(number + 1, at) or (at < len(name) and fits(number, at + 1))
        if at == len(name):
            return False
        one = token == "?" or (name[at] in token if isinstance(token, frozenset) else name[at] == token)
        return one and fits(number + 1, at + 1)

    return fits(0, 0)


def reference_path(parts: list[bytes], names: list[bytes], deepest: int) -> bool:
    @cache
    def fits(number: int, at: int, depth: int) -> bool:
        if number == len(parts):
            return at == len(names)
        part, last = parts[number], number == len(parts) - 1
        if part == b"**":
            if last:
                return 0 < len(names) - at <= deepest - depth
            more = at < len(names) and depth < deepest and fits(number, at + 1, depth + 1)
            return more or fits(number + 1, at, depth)
        if at == len(names):
            return False
        hidden = any(wild in part for wild in b"*?[") and names[at][:1] == b"." != part[:1]
        return not hidden and reference_name(part, names[at]) and fits(number + 1, at + 1, depth)

    return fits(0, 0, 0)


SOME = st.text("ab-.*?[]!^\n\\&|~", max_size=14).map(str.encode)
NAME = st.one_of(st.text("ab-.", max_size=10), st.text("ab-.*[]!^\n\\&", max_size=8)).map(str.encode)


@settings(max_examples=500, deadline=None)
@given(part=SOME, name=NAME)
@example(part=b"*a*b", name=b"aab")
@example(part=b"[!]", name=b"[!]")
@example(part=b"[]]*", name=b"]x")
@example(part=b"[a-]", name=b"-")
@example(part=b"*[b-a]", name=b"*[b-a]")
@example(part=b"[^a]", name=b"\n")
@example(part=b"**a***", name=b"bab")
def test_a_name_matches_as_documented(part: bytes, name: bytes) -> None:
    assert (name_pattern(part).match(name) is not None) == reference_name(part, name)


@settings(max_examples=500, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from([b"a", b"b", b"*", b"**", b"?b", b".*", b"[ab]", b"a*"]), min_size=1, max_size=6
    ),
    names=st.lists(st.sampled_from([b"a", b"b", b"ab", b".a"]), min_size=1, max_size=7),
    deepest=st.integers(1, 5),
)
@example(parts=[b"**", b"**"], names=[b"a"], deepest=1)
@example(parts=[b"**", b"**", b"**", b"a"], names=[b"a"], deepest=1)
@example(parts=[b"**", b"a", b"**"], names=[b"a", b"a", b"a"], deepest=2)
@example(parts=[b"**", b"a", b"**"], names=[b"a", b"b", b"b", b"b"], deepest=2)
def test_a_path_matches_as_documented(parts: list[bytes], names: list[bytes], deepest: int) -> None:
    route = Route(parts_of(b"/".join(parts)), deepest=deepest)
    once = [
        part
        for number, part in enumerate(parts)
        if not (part == b"**" and parts[number - 1 : number] == [b"**"])
    ]

    assert route.names(names, below=False) == reference_path(once, names, deepest)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (b"*a" * 12 + b"*b", b"a" * 255),
        (b"*a*" * 100 + b"b", b"a" * 255),
        (b"*?" * 200 + b"b", b"a" * 255),
        (b"*" * 4000 + b"b", b"a" * 255),
        (b"*" + b"a" * 128 + b"*" + b"a" * 126 + b"b", b"a" * 255),
    ],
)
def test_a_glob_that_nearly_matches_ends_at_once(part: bytes, name: bytes) -> None:
    """With ways back between stars this takes longer than anybody lives."""
    assert name_pattern(part).match(name) is None
    assert Pattern(b"/" + part).matches(b"/" + name) is False


@pytest.mark.parametrize("part", [b"*a*b*c*", b"a*[b-c]*?*", b"***a**"])
def test_only_the_last_star_of_a_name_may_give_back_what_it_took(part: bytes) -> None:
    pattern = name_pattern(part).pattern

    assert pattern.count(b"*") - pattern.count(b"(?>.*?") == 1


def test_a_part_that_no_name_is_long_enough_for_matches_nothing() -> None:
    assert name_pattern(b"?" * 255).match(b"a" * 255)
    assert not name_pattern(b"?" * 256).match(b"a" * 256)


def test_a_route_is_never_in_more_places_than_it_is_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `**` may have matched any number of names, but where one stands by that is one of a few places."""
    seen: list[int] = []
    place = Route.place

    def counted(self: Route, numbers: list[int]) -> globs.Place:
        here = place(self, numbers)
        seen.append(len(here))
        return here

    monkeypatch.setattr(Route, "place", counted)
    route = Route(parts_of(b"/**/a" * 10 + b"/b"), deepest=globs.MAX_DEPTH)

    assert not route.names([b"a"] * 2000, below=False)
    assert max(seen) <= 2 * route.end
    assert len(seen) <= route.end + globs.MAX_DEPTH + 2
