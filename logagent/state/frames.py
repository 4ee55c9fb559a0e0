# SPDX-License-Identifier: Apache-2.0
"""How records stand in the journal's files. Pure.

A frame: magic, format, kind, size, generation of the file, sequence, CRC-32C of all that and of the payload, payload.
Behind the last frame stand zeros.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from crc32c import crc32c

FORMAT: Final = 1
MAGIC: Final = b"\xf1LAJ"
HEADER: Final = 0
"""The kind of the first frame of a file: it has no payload and shows the file's generation."""

INTENT: Final = 1
CLOSED: Final = 2
"""The partition has no open intent any more, although none followed."""

RENDER: Final = 3
"""Settings that intents name by their id, which stands before the stored document."""

TERMINATOR: Final = bytes(8)

_HEAD = Struct(">4sBBIQQ")
_CRC = Struct(">I")
FRAME_BYTES: Final = _HEAD.size + _CRC.size


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose CRC is right."""

    kind: int
    generation: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes `[start, end)` of a journal file that should be records and are not."""

    start: int
    end: int
    reason: str


def encode_frame(kind: int, generation: int, sequence: int, payload: bytes = b"") -> bytes:
    """One frame."""
    head = _HEAD.pack(MAGIC, FORMAT, kind, len(payload), generation, sequence)
    return b"".join((head, _CRC.pack(crc32c(payload, crc32c(head))), payload))


def scan(data: bytes) -> tuple[list[Frame], list[Refusal], int]:
    """The frames of a file's newest generation, what had to be refused between them, and where the next one goes.

    Frames of earlier generations, which stand behind the end, are not mentioned.
    """
    whole = list(_whole_frames(data))
    if not whole:
        reason = None if not data.strip(b"\0") else "there is no whole record in the file"
        return [], [Refusal(0, len(data), reason)] if reason else [], 0
    newest = max(frame.generation for _, frame in whole)
    frames: list[Frame] = []
    refused: list[Refusal] = []
    expected = 0
    for start, frame in whole:
        if frame.generation != newest:
            continue
        if start > expected:
            refused.append(Refusal(expected, start, _why_not(data, expected)))
        frames.append(frame)
        expected = start + FRAME_BYTES + len(frame.payload)
    tail = data[expected : expected + len(TERMINATOR)]
    if tail.strip(b"\0"):
        refused.append(Refusal(expected, len(data), _why_not(data, expected)))
    return frames, refused, expected


def _whole_frames(data: bytes) -> Iterator[tuple[int, Frame]]:
    """Every frame with a right CRC, wherever it stands."""
    at = data.find(MAGIC)
    while at >= 0:
        frame = _frame_at(data, at)
        if isinstance(frame, Frame):
            yield at, frame
            at = data.find(MAGIC, at + FRAME_BYTES + len(frame.payload))
        else:
            at = data.find(MAGIC, at + 1)


def _frame_at(data: bytes, at: int) -> Frame | str:
    """The frame, or why there is none."""
    if len(data) - at < FRAME_BYTES:
        return "a record is cut off"
    magic, version, kind, size, generation, sequence = _HEAD.unpack_from(data, at)
    if magic != MAGIC:
        return "no record begins here"
    begin = at + FRAME_BYTES
    if begin + size > len(data):
        return "a record is cut off, or its size is wrong"
    (crc,) = _CRC.unpack_from(data, at + _HEAD.size)
    payload = data[begin : begin + size]
    if crc32c(payload, crc32c(data[at : at + _HEAD.size])) != crc:
        return "the checksum of a record is wrong"
    if version != FORMAT:
        return f"a record has format {version}, this release reads {FORMAT}"
    return Frame(kind, generation, sequence, payload)


def _why_not(data: bytes, at: int) -> str:
    frame = _frame_at(data, at)
    return frame if isinstance(frame, str) else "a record of an earlier time stands here"
