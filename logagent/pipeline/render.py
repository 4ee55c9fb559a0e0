# SPDX-License-Identifier: Apache-2.0
"""How lines become record values, keys and headers: every setting that shapes count or bytes of records. Pure."""

import base64
import json
from collections.abc import Callable, Sequence
from functools import cached_property

from logagent.pipeline.batch import Segment, Source
from logagent.pipeline.chunk import Chunk
from logagent.pipeline.render_row import RenderRow

HeaderEncoder = Callable[[list[tuple[bytes, bytes | None]]], bytes]
"""Encodes the header block of one record; comes from the Kafka room."""

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Render:
    """What makes records of the lines of one file; `row` holds its settings. Constant parts are worked out once.

    `format` is raw or json, `headers` none or origin, `key` none, service or path (see docs/messages.md). `plain`:
    values are the lines themselves and there are no headers: nothing is done per line. `record_key` is the key that
    every message gets.
    """

    def __init__(self, row: RenderRow, encode_headers: HeaderEncoder) -> None:
        self.row = row
        self._encode_headers = encode_headers
        self.plain = row.format == "raw" and row.headers == "none"
        self.record_key = {"none": None, "path": row.path}.get(row.key, row.service.encode())

    @cached_property
    def id(self) -> bytes:
        """The id of `row`."""
        return self.row.id

    def segment(
        self, source: Source, chunk: Chunk, read_at_ms: int, source_crc: int = 0, hashed_bytes: int = 0
    ) -> Segment:
        """The chunk as a segment of this file, read at `read_at_ms` (since 1970)."""
        values, starts, headers = chunk.values, chunk.starts, None
        if not (self.plain or chunk.dead_bytes):
            starts = chunk.line_starts()
            values, headers = self._messages(values, starts, read_at_ms)
        return Segment(
            source,
            chunk.start_offset,
            chunk.end_offset,
            values,
            starts=starts,
            key=self.record_key,
            headers=headers,
            render=self,
            source_crc=source_crc,
            hashed_bytes=hashed_bytes,
        )

    def _messages(
        self, values: Sequence[bytes], starts: Sequence[int], read_at_ms: int
    ) -> tuple[Sequence[bytes], list[bytes] | None]:
        row = self.row
        if row.format == "json":
            prefix = self._json_prefix()
            values = [
                b'%s"offset":%d,"ts":%d,%s}' % (prefix, start, read_at_ms, _message(value))
                for start, value in zip(starts, values, strict=True)
            ]
        headers = None
        if row.headers == "origin":
            origin: list[tuple[bytes, bytes | None]] = [
                (b"host", row.host.encode()),
                (b"service", row.service.encode()),
                (b"path", row.path),
            ]
            headers = [self._encode_headers([*origin, (b"offset", b"%d" % start)]) for start in starts]
        return values, headers

    def _json_prefix(self) -> bytes:
        path = self.row.path.decode("utf-8", "backslashreplace")
        constant = _to_json({"host": self.row.host, "service": self.row.service, "path": path})
        return constant.removesuffix("}").encode() + b","


def _message(value: bytes) -> bytes:
    try:
        return b'"message":' + _to_json(value.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return b'"message_b64":"' + base64.b64encode(value) + b'"'
