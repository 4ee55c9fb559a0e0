# SPDX-License-Identifier: Apache-2.0
"""Keys of a service about which files are read and how their bytes become records. Pure."""

import re
import warnings
from typing import Final

from logagent.config import values
from logagent.config.values import Key, Kind

ENCODINGS: Final = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk", "big5", "shift_jis", "cp932", "euc-jp", "euc-kr",
    "cp949", "latin-1", "iso8859-15", "cp1252", "cp1251", "koi8-r",
)  # fmt: skip
"""In all of them a newline is never a part of another character (of utf-16: at an even offset)."""

PATTERN_LIMIT = 1000
EXCLUDE_LIMIT = 100
"""Every name that is found is held against each of them."""


def _read_exclude(text: str) -> tuple[str, ...]:
    members = values.split_list(text)
    if len(members) > EXCLUDE_LIMIT:
        raise ValueError(f"it has {len(members)} members; expected at most {EXCLUDE_LIMIT}")
    for member in members:
        values.check_glob(member)
        if member in (".", ".."):
            raise ValueError(f"{member!r} names no file")
    return tuple(values.absolute(member) if "/" in member else member for member in members)


def _read_pattern(text: str) -> str:
    if len(text) > PATTERN_LIMIT:
        raise ValueError(f"it has {len(text)} characters")
    try:
        with warnings.catch_warnings(action="error"):
            re.compile(text.encode())
    except (re.error, OverflowError, RecursionError, UnicodeEncodeError, Warning) as error:
        raise ValueError(f"it is no regular expression: {error}") from None
    return text


_EXCLUDE = Kind(
    "absolute globs, or globs of bare names such as *.gz for files and directories of that name anywhere, with"
    " commas between them",
    _read_exclude,
    values.join_list,
)
_PATTERN = Kind(f"a regular expression of Python with at most {PATTERN_LIMIT} characters", _read_pattern)
_IGNORE_OLDER = values.decimal(1, 1_000_000_000, "seconds")
_TIMEOUT = values.decimal(0.1, 3600, "seconds")

NUMBERS: Final = (_IGNORE_OLDER, _TIMEOUT)
"""Kinds of which a value may be a number where values have types."""

LINE_KEYS: Final[tuple[Key, ...]] = (
    Key(
        "services",
        "exclude",
        _EXCLUDE,
        "What log_path names but is not to be read; excluded directories are not even looked into.",
        default="",
        reloadable=True,
    ),
    Key(
        "services",
        "ignore_older_s",
        _IGNORE_OLDER,
        "A file that was not written to for so long when it is first seen is not read until it is, and then only"
        " what is new; one that was read before is read on.",
        default_words="files of any age are read",
        reloadable=True,
    ),
    Key(
        "services",
        "encoding",
        values.choice(*ENCODINGS),
        "How the files are written. Records are UTF-8, what is invalid becomes U+FFFD; only utf-8 itself is passed"
        " through as it is. In utf-16 the byte order mark decides; without one it is utf-16-le.",
        default="utf-8",
        reloadable=True,
    ),
    Key(
        "services",
        "multiline_start",
        _PATTERN,
        "How the first line of an event begins; the event with its further lines is one record. Nested repetitions"
        " such as (a+)+ can take for ever.",
        default_words="every line is a record",
        reloadable=True,
    ),
    Key(
        "services",
        "multiline_timeout_s",
        _TIMEOUT,
        "How long an event may wait for its next line.",
        default="5",
        reloadable=True,
    ),
)
