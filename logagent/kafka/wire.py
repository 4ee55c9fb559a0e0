# SPDX-License-Identifier: Apache-2.0
"""How the Kafka protocol writes numbers, texts and lists, and how they are read. Pure."""

from struct import Struct
from typing import Any, Final

from logagent.errors import ProtocolViolation

INT8: Final = Struct(">b")
INT16: Final = Struct(">h")
INT32: Final = Struct(">i")
NO_TAGS: Final = b"\0"


def compact(length: int) -> bytes:
    """A length as newer requests write it: one more, because 0 is null, in LEB128."""
    return _unsigned(length + 1)


def _unsigned(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def string(text: str) -> bytes:
    """A text behind its length."""
    encoded = text.encode()
    return INT16.pack(len(encoded)) + encoded


class Reader:
    """Reads big-endian fields in order and never past the end."""

    def __init__(self, data: bytes, address: str) -> None:
        self._data = data
        self._address = address
        self._position = 0

    def take(self, layout: Struct) -> tuple[Any, ...]:
        """The fields of the layout."""
        start = self._advance(layout.size)
        return layout.unpack_from(self._data, start)

    def string(self) -> str:
        """A text that must be there."""
        text = self.nullable_string()
        if text is None:
            raise self._violation("null where a name belongs")
        return text

    def nullable_string(self) -> str | None:
        """A text, or null."""
        (size,) = self.take(INT16)
        return None if size < 0 else self._text(size)

    def numbers(self) -> tuple[int, ...]:
        """A list of INT32."""
        return tuple(self.take(INT32)[0] for _ in range(self.count(INT32.size)))

    def compact_string(self) -> str:
        """Null is as good as empty."""
        return self._text(max(0, self._unsigned() - 1))

    def _text(self, size: int) -> str:
        start = self._advance(size)
        try:
            return self._data[start : start + size].decode()
        except UnicodeDecodeError as error:
            raise self._violation("a name that is not UTF-8") from error

    def tags(self) -> None:
        """Tagged fields, which say nothing to us."""
        for _ in range(self._unsigned()):
            self._unsigned()
            self._advance(self._unsigned())

    def _unsigned(self) -> int:
        number = 0
        for shift in range(0, 35, 7):
            byte = self._data[self._advance(1)]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise self._violation("a number without end")

    def compact_count(self, least_item_bytes: int) -> int:
        """As `count`; null is as good as empty."""
        count = max(0, self._unsigned() - 1)
        if count * least_item_bytes > len(self._data) - self._position:
            raise self._violation(f"an array of {count} items")
        return count

    def count(self, least_item_bytes: int) -> int:
        """An array's length, checked against what is left before anybody loops over it."""
        (count,) = self.take(INT32)
        if not 0 <= count * least_item_bytes <= len(self._data) - self._position:
            raise self._violation(f"an array of {count} items")
        return int(count)

    def end(self) -> None:
        """Nothing may follow."""
        left = len(self._data) - self._position
        if left:
            raise self._violation(f"{left} bytes too many")

    def _advance(self, size: int) -> int:
        start = self._position
        if start + size > len(self._data):
            raise self._violation("an end where more should follow")
        self._position = start + size
        return start

    def _violation(self, what: str) -> ProtocolViolation:
        size = len(self._data)
        return ProtocolViolation(
            self._address, f"an answer of {size} bytes cannot be understood: it has {what}"
        )
