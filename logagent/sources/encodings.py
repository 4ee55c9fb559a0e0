# SPDX-License-Identifier: Apache-2.0
"""Encodings of log files: where lines end in them, and how their bytes become UTF-8. Pure."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

HOLE_BYTES = 64
HOLE = b"\0" * HOLE_BYTES
"""As many zero bytes in a row were never written by anybody: they are a hole."""

_HOLE = re.compile(rb"\0{%d,}" % HOLE_BYTES)
_UTF8_CONTINUATION = 0x80
_UTF8_LEAD_MASK = 0xC0
_UTF8_LONGEST = 4
_UTF8_PER_SOURCE_BYTE = 3
"""No byte of any of these encodings becomes more than this many bytes of UTF-8: an invalid one becomes U+FFFD."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """`mark` is the byte order mark as it stands at the beginning of a file; `codec` is the name that Python has."""

    codec: str
    mark: bytes = b""
    unit_bytes: int = 1
    newline: bytes = b"\n"
    carriage_return: bytes = b"\r"

    def utf8(self, source: bytes) -> bytes:
        """The text as UTF-8. Never fails: what is invalid becomes U+FFFD; UTF-8 itself is not looked at."""
        if self.codec == "utf-8":
            return source
        return source.decode(self.codec, "replace").encode("utf-8", "replace")

    def piece(self, source: bytes, limit_bytes: int) -> tuple[bytes, int]:
        """A beginning of a longer text as at most `limit_bytes` of UTF-8, and how many source bytes it takes.

        No character is cut in two. It depends on the first `limit_bytes` and, in UTF-8, the one byte after them only.
        """
        if self.codec == "utf-8":
            value = cut(source, limit_bytes)
            return value, len(value)
        value, taken_bytes = self._whole_characters(source[:limit_bytes])
        if len(value) > limit_bytes:
            value, taken_bytes = self._whole_characters(source[: limit_bytes // _UTF8_PER_SOURCE_BYTE])
        return value, taken_bytes

    def _whole_characters(self, source: bytes) -> tuple[bytes, int]:
        decoder = codecs.getincrementaldecoder(self.codec)("replace")
        value = decoder.decode(source).encode("utf-8", "replace")
        return value, len(source) - len(decoder.getstate()[0])

    def find_newline(self, data: bytes, offset: int, begin: int = 0) -> int:
        """The first newline in `data` (which stands at `offset` of the file) from `begin` on; -1 if there is none."""
        at = data.find(self.newline, begin)
        while at >= 0 and (offset + at) % self.unit_bytes:
            at = data.find(self.newline, at + 1)
        return at

    def last_line_end(self, data: bytes, offset: int) -> int:
        """How many bytes of `data` end with a newline; 0 when there is none."""
        at = data.rfind(self.newline)
        while at >= 0 and (offset + at) % self.unit_bytes:
            at = data.rfind(self.newline, 0, at + self.unit_bytes - 1)
        return at + self.unit_bytes if at >= 0 else 0

    def holes(self, data: bytes, offset: int) -> Iterator[tuple[int, int, bool]]:
        """(begin, end, whether it reaches the end of `data`) of every hole."""
        if HOLE not in data:
            return
        for match in _HOLE.finditer(data):
            begin = match.start() + -(offset + match.start()) % self.unit_bytes
            end = match.end() - (offset + match.end()) % self.unit_bytes
            if end - begin >= HOLE_BYTES:
                yield begin, end, match.end() == len(data)

    def zeros_at_end(self, data: bytes, offset: int) -> int:
        """Where the zero characters begin with which `data` ends; its length if it ends otherwise."""
        end = len(data) - (offset + len(data)) % self.unit_bytes
        begin = len(data.rstrip(b"\0"))
        begin += -(offset + begin) % self.unit_bytes
        return begin if begin < end else len(data)


def cut(line: bytes, max_line_bytes: int) -> bytes:
    """The first `max_line_bytes`, or up to three fewer so that no UTF-8 character is cut in two."""
    if len(line) <= max_line_bytes:
        return line
    for shorter in range(min(_UTF8_LONGEST, max_line_bytes)):
        if line[max_line_bytes - shorter] & _UTF8_LEAD_MASK != _UTF8_CONTINUATION:
            return line[: max_line_bytes - shorter]
    return line[:max_line_bytes]


UTF8 = Encoding("utf-8", codecs.BOM_UTF8)
_LITTLE = Encoding("utf-16-le", codecs.BOM_UTF16_LE, 2, b"\n\0", b"\r\0")
_BIG = Encoding("utf-16-be", codecs.BOM_UTF16_BE, 2, b"\0\n", b"\0\r")
BY_MARK = "utf-16"
"""The name of the encoding of which a file's first two bytes say which it is; without a mark little endian."""

MARK_BYTES = 2


def of(name: str, first_bytes: bytes = b"") -> Encoding:
    """The encoding of this name, of a file that begins with `first_bytes` (only `BY_MARK` looks at them)."""
    if name == BY_MARK:
        return _BIG if first_bytes.startswith(codecs.BOM_UTF16_BE) else _LITTLE
    known = {"utf-8": UTF8, "utf-16-le": _LITTLE, "utf-16-be": _BIG}
    return known.get(name) or Encoding(name, "\ufeff".encode("gb18030") if name == "gb18030" else b"")
