# SPDX-License-Identifier: Apache-2.0
"""Records that the brokers refuse for good, one JSON object a line, so that nothing is thrown away in silence.

The agent adds to the file; commands take lines out of it by putting a shorter file in its place. Whoever does either
has the file locked meanwhile, and looks afterwards whether it is still the one of that name.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

FILE_NAME = "dead-letter.jsonl"


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A refused record. `path` is bytes as on disk; `offset` is where its line begins; `reason` is a sentence.

    `line_bytes` is given where `value` is only the beginning of a line: so long it is in the file. `header_block` is
    encoded as in a record batch.
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
    key: bytes | None = None
    header_block: bytes | None = None

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
        if self.key is not None:
            document["key_b64"] = base64.b64encode(self.key).decode("ascii")
        if self.header_block is not None:
            document["headers_b64"] = base64.b64encode(self.header_block).decode("ascii")
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


@dataclass(frozen=True, slots=True)
class Letter:
    """A line of the file as a command sees it. `record` is None where nobody can read it; its path is for people."""

    id: str
    line_bytes: int
    time: str
    record: DeadRecord | None

    @staticmethod
    def parse(line: bytes) -> "Letter":
        """Never raises."""
        name = hashlib.blake2b(line, digest_size=8).hexdigest()
        try:
            document = json.loads(line)
            record = DeadRecord(
                time_s=datetime.fromisoformat(document["time"]).timestamp(),
                service=str(document["service"]),
                topic=str(document["topic"]),
                path=str(document["path"]).encode("utf-8", "backslashreplace"),
                offset=int(document["offset"]),
                value=base64.b64decode(document["bytes_b64"], validate=True),
                reason=str(document["reason"]),
                code=int(document["code"]),
                line_bytes=document.get("line_bytes"),
                key=_bytes_or_none(document.get("key_b64")),
                header_block=_bytes_or_none(document.get("headers_b64")),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return Letter(name, len(line), "", None)
        return Letter(name, len(line), str(document["time"]), record)


def _bytes_or_none(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def append(path: Path, record: DeadRecord, limit_bytes: int | None = None) -> bool:
    """Have the record on disk; False if the file would become larger than the limit. Raises OSError.

    Blocks: call it in a thread.
    """
    with _locked(path.resolve(), os.O_CREAT) as descriptor:
        size = os.fstat(descriptor).st_size
        line = record.to_json()
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # somebody was killed while writing
        if limit_bytes is not None and size + len(line) > limit_bytes:
            return False
        try:
            while line:
                line = line[os.write(descriptor, line) :]
            os.fdatasync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    return True


def letters(path: Path) -> Iterator[Letter]:
    """What is in the file, oldest first; nothing if there is none. Raises OSError."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        yield from map(Letter.parse, _lines(file))


def remove(path: Path, ids: Callable[[str], bool]) -> int:
    """Take the lines with these ids out of the file, and return how many. Raises OSError."""
    removed, path = 0, path.resolve()
    draft = path.with_name(f"{path.name}.new")
    with _locked(path) as descriptor:
        with open(descriptor, "rb", closefd=False) as old, open(draft, "wb", opener=_private) as new:
            for line in _lines(old):
                if ids(Letter.parse(line).id):
                    removed += 1
                else:
                    new.write(line)
            owner = os.fstat(descriptor)
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(new.fileno(), owner.st_uid, owner.st_gid)
            new.flush()
            os.fsync(new.fileno())
        draft.replace(path)
        _sync_directory(path.parent)
    return removed


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Every line with a newline; the last one may have lost it."""
    for line in file:
        if line.strip():
            yield line if line.endswith(b"\n") else line + b"\n"


@contextlib.contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[int]:
    """The file of that name, open for reading and adding, and nobody else's until the end."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_there(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
