# SPDX-License-Identifier: Apache-2.0
"""Records that the brokers refuse for good, one JSON object a line, so that nothing is thrown away in silence."""

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A refused record. `path` is bytes as on disk; `offset` is where its line begins; `reason` is a sentence.

    `line_bytes` is given where `value` is only the beginning of a line: so long it is in the file.
    """

    time_s: float
    service: str
    topic: str
    path: bytes
    offset: int
    value: bytes
    reason: str
    code: int
    line_bytes: int | None = None

    def to_json(self) -> bytes:
        """The line that goes into the file, with its newline."""
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(self.time_s, UTC).isoformat(timespec="milliseconds"),
            "service": self.service,
            "topic": self.topic,
            "path": self.path.decode("utf-8", "backslashreplace"),
            "offset": self.offset,
            "bytes_b64": base64.b64encode(self.value).decode("ascii"),
            "reason": self.reason,
            "code": self.code,
        }
        if self.line_bytes is not None:
            document["line_bytes"] = self.line_bytes
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def append(path: Path, record: DeadRecord) -> None:
    """Write the record and have it on disk before returning. Raises OSError. Blocks: call it in a thread."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        line = record.to_json()
        while line:
            line = line[os.write(descriptor, line) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
