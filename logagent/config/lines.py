# SPDX-License-Identifier: Apache-2.0
"""The grammar of one INI line: comments, quotes and names, before ConfigObj sees the file. Pure.

ConfigObj takes any `#` for a comment. So each value is read here and ConfigObj gets the line number in its
place: it finds sections, nesting and duplicates, and nothing that is written into a value can confuse it.
"""

import re
from typing import NamedTuple

Section = tuple[str, ...]
"""Names from the outermost section inwards; empty at the top of the file."""

_HEADER = re.compile(r"(\[+)\s*(.*?)\s*(\]+)(?:\s+#.*|\s*)")
_ASSIGNMENT = re.compile(r"([^=]*?)\s*=(.*)", re.DOTALL)
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_COMMENT = re.compile(r"\s#.*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ONE_PAIR = "expected one pair of quotes round the whole value, and white space before a comment"


class Assignment(NamedTuple):
    """A `key = value` line; `value` is None if it is faulty."""

    section: Section
    key: str
    value: str | None


class Problem(NamedTuple):
    """What is wrong with a line."""

    line: int
    section: Section
    key: str
    value: str
    expected: str


class Page(NamedTuple):
    """A file, line by line; line numbers count from 1."""

    skeleton: list[str]
    """What ConfigObj gets: the same lines without comments, and with line numbers for values."""
    assignments: dict[int, Assignment]
    headers: dict[int, Section]
    problems: list[Problem]


def prepare(text: str) -> Page:
    """Split a file into what ConfigObj shall see and what is kept from it."""
    page = Page([], {}, {}, [])
    section: Section = ()
    for number, raw_line in enumerate(text.split("\n"), start=1):
        line = raw_line.removesuffix("\r").strip()
        if not line or line.startswith("#"):
            page.skeleton.append("")
        elif _CONTROL.search(line):
            page.problems.append(Problem(number, section, "", line, "expected no control characters"))
            page.skeleton.append("")
        elif line.startswith("["):
            section = _header(page, number, line, section)
        else:
            _assignment(page, number, line, section)
    return page


def _header(page: Page, number: int, line: str, outer: Section) -> Section:
    """Note a section line; the section that the lines after it belong to."""
    match = _HEADER.fullmatch(line)
    name = _unquoted_name(match[2]) if match else None
    if match is None or name is None or len(match[1]) != len(match[3]):
        page.problems.append(Problem(number, (), "", line, "expected a section such as [files] or [[name]]"))
        page.skeleton.append("")
        return ("", str(number))  # no section of the file: what stands below is not judged
    depth = len(match[1])
    quote = "'" if '"' in name else '"'
    page.skeleton.append(f"{match[1]}{quote}{name}{quote}{match[3]}")
    section = (*outer[: depth - 1], name)
    page.headers[number] = section
    return section


def _unquoted_name(text: str) -> str | None:
    """The name in a section line, None if it cannot be one."""
    if text[:1] in ("'", '"'):
        quoted = len(text) > 2 and text[-1] == text[0] and text[0] not in text[1:-1]
        name = text[1:-1].strip() if quoted else ""
    else:
        name = "" if "[" in text or "]" in text else text
    return name if name and not ("'" in name and '"' in name) else None


def _assignment(page: Page, number: int, line: str, section: Section) -> None:
    match = _ASSIGNMENT.fullmatch(line)
    key = _strip_quotes(match[1]) if match else ""
    if match is None or not _KEY.fullmatch(key):
        page.problems.append(
            Problem(number, section, "", line, "expected `key = value`, `[section]` or `# comment`")
        )
        page.skeleton.append("")
        return
    value, expected = read_value(match[2], key)
    page.assignments[number] = Assignment(section, key, value)
    page.skeleton.append(f"{key} = {number}")
    if expected:
        page.problems.append(Problem(number, section, key, match[2].strip(), expected))


def _strip_quotes(text: str) -> str:
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"" else text


def read_value(rest: str, key: str) -> tuple[str | None, str]:
    """What stands right of the `=`, without its comment and quotes; or None and what was expected."""
    text = rest.strip()
    if text[:1] in ("'", '"'):
        return _read_quoted(text)
    # `rest` and not `text`: the white space that makes a comment may be the one after the `=`.
    value = _COMMENT.sub("", rest, count=1).strip()
    if "#" in value:
        if "'" in value and '"' in value:
            return None, "expected no # in a value that contains both kinds of quotes"
        quote = "'" if '"' in value else '"'
        example = f"{key} = {quote}{value}{quote}"
        # The value may hold what some take for the end of a line; a fault is one line.
        example = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in example)
        return None, f"expected a value that contains # in quotes, as in {example}"
    return value, ""


def _read_quoted(text: str) -> tuple[str | None, str]:
    if text[:3] in ("'''", '"""'):
        return None, "expected the value on one line, without triple quotes"
    closing = text.find(text[0], 1)
    if closing < 0:
        return None, f"expected a closing {text[0]} on the same line"
    after = text[closing + 1 :]
    if after.strip() and not re.fullmatch(r"\s+#.*", after, re.DOTALL):
        return None, _ONE_PAIR
    return text[1:closing], ""
