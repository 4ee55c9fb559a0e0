# SPDX-License-Identifier: Apache-2.0
"""What was handed on is made once more of the same bytes, by stored settings; of other bytes nothing is made."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from logagent.config.services import Entry
from logagent.kafka.record_batch import encode_header_block
from logagent.pacing.limiter import Limiter
from logagent.pipeline import render_row
from logagent.pipeline.batch import Segment
from logagent.pipeline.render import Render
from logagent.pipeline.render_row import RenderRow
from logagent.sources import line_reader, reader, tailer
from logagent.sources.framing import Finish, Oversize
from logagent.sources.opening import open_log
from logagent.sources.rebuilding import records_of, source_of
from logagent.sources.tailed_file import ServiceCounts, TailedFile
from logagent.sources.tailer import Tailer, TailSettings
from logagent.sources.turnstile import Turnstile
from logagent.state.intents import SegmentNote
from tests.unit.sources.twins import MemoryOutlet, Told

LIMIT = 24
"""Lines longer than that are cut here."""

READ = 256


@dataclass(frozen=True)
class Form:
    """How the file is written and what its records are."""

    encoding: str = "utf-8"
    multiline_start: str | None = None
    oversize: Oversize = "cut"
    format: str = "raw"
    headers: str = "none"
    max_line_bytes: int = LIMIT


def nothing(*_: object) -> None:
    pass


class Reading:
    """One file and the tailer that reads it, without anything around."""

    def __init__(self, path: Path, form: Form) -> None:
        entry = Entry("web", str(path), "logs", encoding=form.encoding, multiline_start=form.multiline_start)
        row = RenderRow(
            host="host",
            service="web",
            path=bytes(path),
            log_path=str(path),
            format=form.format,
            headers=form.headers,
            key="none",
            max_line_bytes=form.max_line_bytes,
            oversize=form.oversize,
            encoding=form.encoding,
            multiline_start=form.multiline_start,
        )
        self.path, self.form = path, form
        self.outlet = MemoryOutlet()
        self.outlet.holding = True
        path.touch()
        opened = open_log(bytes(path), lambda _: None)
        self.file = TailedFile(
            service="web",
            log_path=str(path),
            label=bytes(path),
            path=bytes(path),
            real_path=opened.real_path,
            key=opened.key,
            identity=opened.identity,
            descriptor=opened.descriptor,
            read_offset=0,
            route=None,  # type: ignore[arg-type]
            render=Render(row, encode_header_block),
            counts=ServiceCounts(),
            on_acked=nothing,
            on_rewind=nothing,
            on_lost=nothing,
            last_growth_s=0.0,
            lines=line_reader.of(entry),
        )
        self.tailer = Tailer(
            TailSettings(form.max_line_bytes, 10.0, form.oversize),
            self.outlet,
            Turnstile(time.monotonic),
            limiter_of=lambda _service: Limiter(None),
            on_truncated=nothing,
            may_read=lambda _file: True,
            on_finished=nothing,
            events=Told(),  # type: ignore[arg-type]
            clock=time.monotonic,
            wall=time.time,
        )

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        self.file.look_again()

    def read(self, finish: Finish = Finish.NOTHING, lines: int | None = None) -> None:
        """All that can be read now."""
        while True:
            before = self.file.read_offset, self.file.scanned_offset
            self.tailer._read(self.file, lines, finish)
            if before == (self.file.read_offset, self.file.scanned_offset):
                return

    def end(self) -> None:
        """The file was rotated away and nothing is added any more."""
        while self.file.read_offset < self.file.size_bytes():
            self.tailer._last_line(self.file, self.file.size_bytes())

    @property
    def segments(self) -> list[Segment]:
        """What was handed on with records in it, but for what goes to the dead-letter file."""
        return [segment for _, segment in self.outlet._puts if segment.values]


@contextmanager
def reading(form: Form) -> Iterator[Reading]:
    with tempfile.TemporaryDirectory() as directory:
        made = Reading(Path(directory, "a.log"), form)
        try:
            yield made
        finally:
            made.file.close()


def note_of(segment: Segment) -> SegmentNote:
    segment.hash_source()
    assert segment.render is not None
    return SegmentNote(
        segment.source.service,
        segment.source.identity,
        segment.start_offset,
        segment.end_offset,
        len(segment.values),
        segment.render.id,
        segment.source_crc,
        segment.hashed_bytes,
    )


def rebuilt(segment: Segment, descriptor: int) -> Segment | None:
    """As a later process does it, which has note and row and nothing else."""
    note = note_of(segment)
    assert segment.render is not None
    row = RenderRow.from_document(segment.render.row.document(), note.render_id)
    data = source_of(note, descriptor)
    chunk = None if data is None else records_of(note, data, row, descriptor)
    if chunk is None:
        return None
    return Render(row, encode_header_block).segment(segment.source, chunk, 0)


def comparable(segment: Segment) -> tuple[Any, ...]:
    values = [re.sub(rb'"ts":\d+,', b"", value, count=1) for value in segment.values]
    headers = None if segment.headers is None else list(segment.headers)
    return segment.start_offset, segment.end_offset, values, headers, segment.key


def check(made: Reading, cut_at: Callable[[int], int | None] = lambda _lines: None) -> list[bytes]:
    """Everything that was handed on, in parts if `cut_at(lines)` says so, can be rebuilt; all values."""
    found: list[bytes] = []
    todo = list(made.segments)
    while todo:
        segment = todo.pop(0)
        lines = cut_at(len(segment.values))
        if lines is not None:
            todo[:0] = segment.split(lines)
            continue
        again = rebuilt(segment, made.file.descriptor)
        assert again is not None, f"{comparable(segment)} cannot be rebuilt"
        assert comparable(again) == comparable(segment)
        found += segment.values
    return found


def each_line(lines: int) -> int | None:
    return 1 if lines > 1 else None


@pytest.fixture
def short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    _short_reads(monkeypatch)


def _short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READ_BYTES", READ)
    monkeypatch.setattr(line_reader, "_ZEROS", bytes(READ))
    monkeypatch.setattr(tailer, "MIN_READ_BYTES", 64)
    monkeypatch.setattr(render_row, "_SLACK_BYTES", 2 * READ + 4 * line_reader.HOLE_BYTES)


CASES = {
    "raw": (Form(), b"one\ntwo\n"),
    "json": (Form(format="json", headers="origin"), b"one\ntwo\xff\n"),
    "carriage returns": (Form(), b"one\r\ntwo\r\nthree\r\r\n"),
    "blank lines": (Form(), b"\n  \none\n\n\t\ntwo\n \n"),
    "a byte order mark": (Form(), b"\xef\xbb\xbfone\ntwo\n"),
    "cut": (Form(), b"one\n" + b"x" * 99 + b"\r\ntwo\n" + "ä".encode() * 40 + b"\n"),
    "split": (Form(oversize="split"), b"one\n" + b"x" * 99 + b"\r\n" + "ä".encode() * 40 + b"\n"),
    "split with carriage returns": (Form(oversize="split"), b"x" * (LIMIT - 1) + b"\r" + b"y" * 99 + b"\n"),
    "a hole": (Form(), b"one\ntw" + bytes(200) + b"o\n" + bytes(90) + b"three\n"),
    "a hole behind a long line": (Form(), b"x" * 200 + bytes(2000) + b"y\n"),
    "a line of many reads": (Form(), b"one\n" + b"x" * 2000 + b"\ntwo\n"),
    "a split line of many reads": (Form(oversize="split"), b"one\n" + b"x" * 2000 + b"\ntwo\n"),
    "events": (Form(multiline_start="[0-9]", max_line_bytes=99), b"1 a\n b\n\n2 c\n d\n3 e\n f\n"),
    "an event that is too long": (Form(multiline_start="[0-9]"), b"1 a\n" + b" bbbbb\n" * 9 + b"2 c\n"),
    "utf-16": (Form(encoding="utf-16"), "\ufeffone\r\n\ntwo\u0a0d\n".encode("utf-16-le")),
    "utf-16, the other way": (Form(encoding="utf-16"), "\ufeffone\r\ntwo\u0d0a\n".encode("utf-16-be")),
    "utf-16, cut": (Form(encoding="utf-16", oversize="split"), ("\ufeff" + "äb" * 50 + "\n").encode("utf-16-le")),
    "gb18030": (Form(encoding="gb18030"), "\ufeff中文\r\n\n四字\n".encode("gb18030")),
    "gb18030, split": (Form(encoding="gb18030", oversize="split"), ("中文字" * 30 + "\n").encode("gb18030")),
    "dead letters": (Form(oversize="dead_letter"), b"one\n" + b"x" * 99 + b"\ntwo\n"),
}  # fmt: skip


@pytest.mark.parametrize("cut_at", [lambda _lines: None, each_line], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", CASES)
def test_records_are_rebuilt_by_a_stored_row(
    name: str, cut_at: Callable[[int], int | None], short_reads: None
) -> None:
    form, content = CASES[name]
    with reading(form) as made:
        made.append(content)
        made.read()
        made.read(Finish.EVENT)

        assert check(made, cut_at)
        assert made.file.read_offset == len(content)


@pytest.mark.parametrize("tail", [b"last", b"last\r", b"last" + bytes(100), bytes(10), b"x" * 300])
@pytest.mark.parametrize("oversize", ["cut", "split"])
def test_the_last_line_of_a_rotated_file_is_rebuilt_without_its_newline(
    tail: bytes, oversize: Oversize, short_reads: None
) -> None:
    with reading(Form(oversize=oversize)) as made:
        made.append(b"one\n" + tail)
        made.read()
        made.end()

        assert len(check(made)) > 1
        assert made.file.read_offset == 4 + len(tail)


@pytest.mark.parametrize("finish", ["time", "next"])
def test_an_event_is_rebuilt_whatever_ended_it(finish: str) -> None:
    with reading(Form(multiline_start="[0-9]")) as made:
        made.append(b"1 a\n b\n")
        made.read()
        assert made.segments == []
        if finish == "time":
            made.read(Finish.EVENT)
            made.append(b" late\n2 c\n")
        else:
            made.append(b"2 c\n d\n")
        made.read()

        assert check(made)[0] == b"1 a\n b"


def test_of_a_long_cut_line_only_what_counts_is_hashed(short_reads: None) -> None:
    with reading(Form()) as made:
        made.append(b"x" * 5000 + b"\n")
        made.read()

        (segment,) = made.segments
        assert 0 < segment.hashed_bytes == segment.render.row.most_hashed_bytes < 5000  # type: ignore[union-attr]
        assert check(made) == [b"x" * LIMIT]


def test_a_row_of_another_release_rebuilds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with reading(Form()) as made:
        made.append(b"one\n")
        made.read()
        monkeypatch.setattr(render_row, "FRAMING_VERSION", render_row.FRAMING_VERSION + 1)

        assert rebuilt(made.segments[0], made.file.descriptor) is None


def test_another_number_of_records_is_none(short_reads: None) -> None:
    with reading(Form()) as made:
        made.append(b"one\ntwo\n")
        made.read()
        segment = made.segments[0]
        segment.values = [*segment.values, b"three"]

        assert rebuilt(segment, made.file.descriptor) is None


def test_where_nothing_was_hashed_nothing_is_rebuilt() -> None:
    with reading(Form()) as made:
        made.append(b"one\n")
        made.read()
        made.segments[0].source_crc = made.segments[0].hashed_bytes = 0

        assert rebuilt(made.segments[0], made.file.descriptor) is None


def test_a_file_that_lost_its_end_does_not_have_the_bytes(short_reads: None) -> None:
    with reading(Form()) as made:
        made.append(b"x" * 5000 + b"\n")
        made.read()
        os.truncate(made.path, 4000)

        assert rebuilt(made.segments[0], made.file.descriptor) is None


# -- whatever files hold ----------------------------------------------------------------------------------------------

FORMS = st.builds(
    Form,
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-16-le", "gb18030"]),
    multiline_start=st.sampled_from([None, None, "[0-9]"]),
    oversize=st.sampled_from(["cut", "split", "dead_letter"]),
    format=st.sampled_from(["raw", "json"]),
)
TEXT = st.sampled_from(
    ["\n", "\n", "\n", "\r\n", "\r", " ", "a", "bc", "1 d", "7", "äöü", "中文", "\u0a0d", "\ufeff",
     "x" * 9, "y" * 40, "z" * 300]
)  # fmt: skip
PIECE = st.one_of(
    st.lists(TEXT, max_size=12).map("".join),
    st.sampled_from([bytes(3), bytes(64), bytes(130), bytes(700), b"\xff", b"\0\n", b"\n\0"]),
)
DOINGS = st.lists(
    st.tuples(PIECE, st.sampled_from(["nothing", "read", "read", "few", "time"])), min_size=1, max_size=12
)


@given(FORMS, DOINGS, st.booleans(), st.integers(0, 10), st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(Form(oversize="split"), [("x" * (LIMIT - 1) + "\r" + "y" * 99 + "\n", "read")], True, 1, None)
def test_whatever_was_handed_on_is_rebuilt_or_refused_when_a_byte_changed(
    form: Form, doings: list[tuple[str | bytes, str]], to_the_end: bool, cuts: int, data: Any
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, reading(form) as made:
        _short_reads(monkeypatch)
        codec = "utf-16-le" if form.encoding == "utf-16" else form.encoding
        for piece, doing in doings:
            made.append(piece if isinstance(piece, bytes) else piece.encode(codec))
            if doing in ("read", "few"):
                made.read(lines=2 if doing == "few" else None)
            elif doing == "time":
                made.read(Finish.EVENT)
        made.read()
        if to_the_end:
            made.end()

        check(made, lambda lines: 1 + cuts % (lines - 1) if lines > 1 and cuts else None)

        if data is not None and made.segments:
            segment = data.draw(st.sampled_from(made.segments))
            at = segment.start_offset + data.draw(st.integers(0, segment.hashed_bytes - 1))
            _flip(made.path, at)
            assert rebuilt(segment, made.file.descriptor) is None


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x20]))
