# SPDX-License-Identifier: Apache-2.0
"""Every setting that shapes number or bytes of records, as it is kept for batches that have to be built again. Pure.

Rows are never changed: another setting makes another row, and intents name the one that was in force. When a batch is
built again, a segment counts as readable if the hash of its source and its number of records are what its intent says.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from logagent.errors import StateError

FRAMING_VERSION: Final = 1
"""Raised when the same bytes of a file become other lines: line ends, blank lines, holes, cuts, events."""

RENDERING_VERSION: Final = 1
"""Raised when the same lines become other values, keys or headers."""

ENCODING_VERSION: Final = 1
"""Raised when the same records become other bytes of a batch."""

RENDER_ID_BYTES: Final = 16

_SLACK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRow:
    """`path` is the label as in messages, `log_path` the entry that found the file. `multiline_start` None: every line
    is a record.

    How long an event waits for its next line is not here: a segment ends where its last event was closed.
    `compression_level` None: that of the codec.
    """

    host: str
    service: str
    path: bytes
    log_path: str
    format: str
    headers: str
    key: str
    max_line_bytes: int
    oversize: str = "cut"
    encoding: str = "utf-8"
    multiline_start: str | None = None
    compression: str = "none"
    compression_level: int | None = None
    framing_version: int = FRAMING_VERSION
    rendering_version: int = RENDERING_VERSION
    encoding_version: int = ENCODING_VERSION

    @property
    def id(self) -> bytes:
        """The same for equal rows, in every process."""
        return hashlib.blake2b(self.document(), digest_size=RENDER_ID_BYTES).digest()

    @property
    def most_hashed_bytes(self) -> int:
        """Values of one segment depend on no more bytes than its first so many: two reads, and a record in any
        encoding with the zeros that end it. Behind these is nothing but the rest of a cut line, or a hole.
        """
        return 5 * self.max_line_bytes + _SLACK_BYTES

    @property
    def repeatable(self) -> bool:
        """Whether this release makes the same records of the same bytes."""
        return (self.framing_version, self.rendering_version, self.encoding_version) == (
            FRAMING_VERSION,
            RENDERING_VERSION,
            ENCODING_VERSION,
        )

    def document(self) -> bytes:
        """What is stored."""
        values = asdict(self) | {"path": base64.b64encode(self.path).decode("ascii")}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")

    @staticmethod
    def from_document(document: bytes, expected_id: bytes) -> "RenderRow":
        """A stored row. StateError if it is not the one that `expected_id` names, or another release's."""
        if hashlib.blake2b(document, digest_size=RENDER_ID_BYTES).digest() != expected_id:
            raise StateError(f"the stored render {expected_id.hex()} is damaged")
        try:
            values = json.loads(document)
            values["path"] = base64.b64decode(values["path"], validate=True)
            row = RenderRow(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise StateError(
                f"the stored render {expected_id.hex()} is of another release: {error}"
            ) from error
        if not all(_fits(getattr(row, one.name), one.type) for one in fields(row)):
            raise StateError(f"the stored render {expected_id.hex()} is of another release")
        return row


def _fits(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
