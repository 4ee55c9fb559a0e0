# SPDX-License-Identifier: Apache-2.0
"""How values from outside look in a sentence: nothing in them breaks a line or moves a cursor. Pure."""

import os

from logagent.errors import LogagentError


def shown(value: object) -> object:
    """Bytes, text, paths, errors and lists become one printable line; numbers stay what they are."""
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, os.PathLike):
        return shown(os.fspath(value))
    if isinstance(value, BaseException):
        return printable(_sentence(value))
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(str(shown(item)) for item in value) or "none"
    return value


def printable(text: str) -> str:
    """`text` with control characters, line separators and undecodable bytes written as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    # os.fsdecode hides the byte 0xNN in U+DCNN.
    return (
        f"\\x{code - 0xDC00:02x}"
        if 0xDC80 <= code <= 0xDCFF
        else char.encode("unicode_escape").decode("ascii")
    )


def _sentence(error: BaseException) -> str:
    if isinstance(error, LogagentError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
