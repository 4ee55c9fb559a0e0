# SPDX-License-Identifier: Apache-2.0
"""Any bytes, cut anywhere into reads, in any encoding: the records are those of a reading of the whole file."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logagent.config.line_keys import ENCODINGS
from logagent.pipeline.chunk import Chunk
from logagent.sources import encodings
from logagent.sources.encodings import Encoding
from logagent.sources.framing import Finish, Form, Limits, Oversize, frame

START = re.compile(rb"S|\d{2}")
POLICIES: tuple[Oversize, ...] = ("cut", "split", "dead_letter")

NAMES = st.sampled_from([*ENCODINGS, *["utf-8"] * len(ENCODINGS)])  # most files are UTF-8
pieces = st.sampled_from(
    [
        *(b"\n", b"\n", b"\r\n", b"\r", b"S", b"12", b" ", b"x" * 30, b"\xff", b"\x81"),
        *(b"\0", b"\0" * 63, b"\0" * 64, b"\0" * 70, b"\0\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"),
    ]
)
texts = st.sampled_from(
    ["a", "é€", "\U0001f600", "日本語", "\n", "\r\n", "\u0a00", "\u0100", "Sx", " ", "中" * 12]
)


@st.composite
def contents(draw: st.DrawFn, name: str) -> bytes:
    written = st.one_of(
        pieces, st.binary(max_size=4), texts.map(lambda text: text.encode(name.replace("utf-16", "utf-16-le", 1)
        if name == "utf-16" else name, "ignore"))
    )  # fmt: skip
    mark = draw(st.sampled_from([b"", b"", encodings.of(name).mark]))
    return mark + b"".join(draw(st.lists(written, max_size=25)))


# -- the reading of a whole file ------------------------------------------------------------------------------------


@dataclass
class Seen:
    start: int
    source: bytes
    hole: bool


def whole_lines(data: bytes, encoding: Encoding) -> list[Seen]:
    """The lines of a closed file, unit by unit."""
    unit = encoding.unit_bytes
    at = len(encoding.mark) if encoding.mark and data.startswith(encoding.mark) else 0
    lines, begin = [], at
    while at < len(data):
        zeros = at
        while data[zeros : zeros + unit] == b"\0" * unit:
            zeros += unit
        if zeros - at >= encodings.HOLE_BYTES:
            lines.append(Seen(begin, data[begin:at], True))
            at = begin = zeros if zeros + unit <= len(data) or data[zeros:].strip(b"\0") else len(data)
        elif zeros > at:
            at = zeros
        elif data[at : at + unit] == encoding.newline:
            lines.append(Seen(begin, data[begin:at], False))
            at = begin = at + unit
        else:
            at += unit
    if begin < len(data):
        lines.append(Seen(begin, data[begin:], True))
    return lines


def sized(lines: list[Seen], encoding: Encoding, limits: Limits) -> list[tuple[int, bytes, bool, bool]]:
    """(start, value, whether it stands alone, whether a hole follows)."""
    out, limit = [], limits.max_line_bytes
    for line in lines:
        source, start = line.source.removesuffix(encoding.carriage_return), line.start
        while len(source) > limit or len(encoding.utf8(source)) > limit:
            value, taken = encoding.piece(source, limit)
            if limits.oversize == "dead_letter":
                value = b"DEAD" + source[:limit]
            out.append((start, value, True, False))
            start, source = start + taken, source[taken:]
            if limits.oversize != "split":
                break
        else:
            out.append((start, encoding.utf8(source), False, line.hole))
            continue
        if line.hole:
            out.append((start, b"", False, True))
    return out


def reference(data: bytes, form: Form, limits: Limits) -> list[tuple[int, bytes]]:
    lines = sized(whole_lines(data, form.encoding), form.encoding, limits)
    if form.start is None:
        return [(start, value) for start, value, _, _ in lines if value.strip()]
    out: list[tuple[int, list[bytes]]] = []
    open_ = False
    for start, value, alone, hole in lines:
        blank = not value.strip()
        fits = open_ and len(b"\n".join([*out[-1][1], value])) <= limits.max_line_bytes
        if alone or not fits or form.start.match(value):
            if alone or not blank:
                out.append((start, [value]))
            open_ = not alone and not blank
        elif not (blank and hole):
            out[-1][1].append(value)
        if hole:
            open_ = False
    return [(start, b"\n".join(values)) for start, values in out if b"".join(values).strip()]


# -- the reading in parts -------------------------------------------------------------------------------------------


def flat(chunk: Chunk) -> list[tuple[int, bytes]]:
    values = [b"DEAD" + value for value in chunk.values] if chunk.dead_bytes else list(chunk.values)
    assert not any(value.isspace() or not value for value in chunk.values) or chunk.dead_bytes
    return list(zip(chunk.line_starts(), values, strict=True))


def in_parts(data: bytes, ends: list[int], form: Form, limits: Limits) -> list[tuple[int, bytes]]:
    """Each read begins where the last chunk ended; together the chunks cover the file without gap or overlap."""
    out: list[tuple[int, bytes]] = []
    offset = 0
    for end in [*sorted(min(end, len(data)) for end in ends), len(data)]:
        finish = Finish.NOTHING
        while True:
            chunk = frame(data[offset:end], offset, form, limits, finish)
            assert offset == chunk.start_offset <= chunk.end_offset <= end
            assert all(chunk.start_offset <= start < chunk.end_offset for start in chunk.line_starts())
            if len(chunk.values) > 2:
                chunk = chunk.first(1)  # a limited service takes less
            assert chunk.values == [] or chunk.end_offset > offset
            out += flat(chunk)
            if chunk.end_offset == offset:
                if end < len(data) or finish is Finish.FILE:
                    break
                finish = Finish.FILE
            offset = chunk.end_offset
    assert offset == len(data)
    return out


@settings(deadline=None, max_examples=600)
@given(
    drawn=NAMES.flatmap(lambda name: st.tuples(st.just(name), contents(name))),
    ends=st.lists(st.integers(0, 900), max_size=8),
    limit=st.integers(12, 90) | st.just(1_000_000),
    oversize=st.sampled_from(POLICIES),
    multiline=st.booleans(),
)
@example(("utf-8", b"\0" * 64), [], 100, "cut", False)
@example(("utf-16-be", "\u0100".encode("utf-16-be") + b"\0" * 64 + b"\0a\0\n"), [70], 100, "cut", True)
def test_reads_may_begin_and_end_anywhere(
    drawn: tuple[str, bytes], ends: list[int], limit: int, oversize: Oversize, multiline: bool
) -> None:
    """Cases 25-36: lines, encodings, marks, holes, length policies and events together."""
    name, data = drawn
    form = Form(encodings.of(name, data[:2]), START if multiline else None)
    limits = Limits(limit, oversize)

    assert in_parts(data, ends, form, limits) == reference(data, form, limits)


def test_an_open_event_that_is_too_long_is_not_waited_for() -> None:
    data = b"S\n" + b"  line\n" * 10

    chunk = frame(data, 0, Form(start=START), Limits(20))

    assert flat(chunk)[0] == (0, b"S\n  line\n  line")
    assert chunk.end_offset == len(data) - 2 * 7


@pytest.mark.parametrize("data", [b"\n  \nS\nS\n", b"\nx\nS\n", b"S\n\nx\nS\n"])
def test_blank_lines_belong_to_an_event_only_behind_its_first_line(data: bytes) -> None:
    chunk = frame(data, 7, Form(start=START), Limits(100))

    assert chunk.values == [value for _, value in reference(data, Form(start=START), Limits(100))][:-1]
