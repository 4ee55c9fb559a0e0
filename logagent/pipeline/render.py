# SPDX-License-Identifier: Apache-2.0
"""How lines become record values, keys and headers: every setting that shapes count or bytes of records. Pure."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from logagent.pipeline.batch import Segment, Source
from logagent.pipeline.chunk import Chunk

HeaderEncoder = Callable[[list[tuple[bytes, bytes | None]]], bytes]
"""Encodes the header block of one record; comes from the Kafka room."""

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Render:
    """Settings of one file. The constant parts of messages are worked out once.

    `format` is raw or json, `headers` none or origin, `key` none, service or path (see docs/messages.md).
    """

    host: str
    service: str
    path: bytes
    format: str
    headers: str
    key: str
    encode_headers: HeaderEncoder = field(compare=False)

    @property
    def plain(self) -> bool:
        """Whether values are the lines themselves and there are no headers: nothing is done per line."""
        return self.format == "raw" and self.headers == "none"

    @property
    def record_key(self) -> bytes | None:
        """The key that every message gets."""
        if self.key == "none":
            return None
        return self.path if self.key == "path" else self.service.encode()

    def segment(self, source: Source, chunk: Chunk, read_at_ms: int) -> Segment:
        """The chunk as a segment of this file, read at `read_at_ms` (since 1970)."""
        key = self.record_key
        if self.plain or chunk.dead_bytes:
            return Segment(
                source, chunk.start_offset, chunk.end_offset, chunk.values, starts=chunk.starts, key=key
            )
        starts = chunk.line_starts()
        values = chunk.values
        if self.format == "json":
            prefix = self._json_prefix()
            values = [
                b'%s"offset":%d,"ts":%d,%s}' % (prefix, start, read_at_ms, _message(value))
                for start, value in zip(starts, values, strict=True)
            ]
        headers = None
        if self.headers == "origin":
            origin: list[tuple[bytes, bytes | None]] = [
                (b"host", self.host.encode()),
                (b"service", self.service.encode()),
                (b"path", self.path),
            ]
            headers = [self.encode_headers([*origin, (b"offset", b"%d" % start)]) for start in starts]
        return Segment(
            source, chunk.start_offset, chunk.end_offset, values, starts=starts, key=key, headers=headers
        )

    def _json_prefix(self) -> bytes:
        path = self.path.decode("utf-8", "backslashreplace")
        constant = _to_json({"host": self.host, "service": self.service, "path": path})
        return constant.removesuffix("}").encode() + b","


def _message(value: bytes) -> bytes:
    try:
        return b'"message":' + _to_json(value.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return b'"message_b64":"' + base64.b64encode(value) + b'"'
