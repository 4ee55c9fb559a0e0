# SPDX-License-Identifier: Apache-2.0
"""The last good configuration of Etcd on disk, to start from when Etcd is away."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from logagent.config.services import PathRules
from logagent.control.documents import Document, Raw, restore
from logagent.control.keys import Keys, group_name_refusal
from logagent.control.trust import Seen
from logagent.errors import StateError
from logagent.stores.store import Api

FILE_NAME: Final = "etcd-cache.json"
FORMAT: Final = 1
_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CachedDocument:
    """What was in force of one list, see `Document`."""

    revision: int
    sha256: str
    accepted: tuple[Raw, ...]


@dataclass(frozen=True, slots=True)
class Cached:
    """What was in force, and where it came from. `saved_at_s` are seconds since 1970."""

    api: Api
    cluster_id: str
    revision: int
    term: int
    watch_key: str
    host_id: str
    documents: Mapping[str, CachedDocument]
    groups: tuple[str, ...]
    saved_at_s: float
    suspicion: str = ""

    def restored(self, rules: PathRules) -> tuple[Document, ...]:
        """The documents, the highest first, as far as the rules of today allow them."""
        keys = Keys(self.watch_key, self.host_id).documents(self.groups)
        found = ((key, source, self.documents[key]) for key, source in keys.items() if key in self.documents)
        return tuple(
            restore(one.accepted, one.revision, key, rules, source=source, sha256=one.sha256)
            for key, source, one in found
        )

    @property
    def seen(self) -> Seen:
        """What to compare the first snapshot with."""
        present = set(self.documents)
        if self.groups:
            present.add(Keys(self.watch_key, self.host_id).groups)
        return Seen(self.cluster_id, self.revision, self.term, frozenset(present), self.suspicion)


def cached_document(document: Document) -> CachedDocument:
    """What is kept of a document."""
    return CachedDocument(document.revision, document.sha256, document.accepted)


def save(path: Path, cached: Cached) -> None:
    """Replace the file in one step. Blocks on the disk; raises StateError, and the old file stays."""
    body = {name: getattr(cached, name) for name in _FIELDS} | {
        "groups": list(cached.groups),
        "documents": {key: _plain(document) for key, document in cached.documents.items()},
    }
    content = json.dumps({"format": FORMAT, "sha256": _checksum(body), "body": body}).encode()
    temporary = path.with_name(path.name + ".new")
    try:
        _write(temporary, content)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StateError(f"{path} cannot be written: {error.strerror}") from error


def load(path: Path, watch_key: str, host_id: str) -> tuple[Cached | None, str]:
    """What was saved for this host and pattern, or None and a clause that says why not. Raises nothing."""
    try:
        cached = _read_body(_read_bytes(path))
    except FileNotFoundError:
        return None, "there is none yet"
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    except ValueError as error:
        return None, str(error)
    if cached.watch_key != watch_key:
        return None, f"it is for etcd_watch_key {cached.watch_key}, not for {watch_key}"
    if cached.host_id != host_id:
        return None, f"it is for host {cached.host_id}, not for {host_id}"
    return cached, ""


_TEXTS = ("api", "cluster_id", "watch_key", "host_id", "suspicion")
_NUMBERS = ("revision", "term")
_FIELDS = (*_TEXTS, *_NUMBERS, "saved_at_s")


def _plain(document: CachedDocument) -> dict[str, Any]:
    accepted = [dict(raw) for raw in document.accepted]
    return {"revision": document.revision, "sha256": document.sha256, "accepted": accepted}


def _checksum(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_bytes(path: Path) -> bytes:
    # O_NONBLOCK: a FIFO must be refused, not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LIMIT_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LIMIT_BYTES:
        raise _damaged(f"more than {_LIMIT_BYTES} bytes")
    return content


def _read_body(content: bytes) -> Cached:
    try:
        whole = json.loads(content)
    except RecursionError as error:
        raise _damaged("nested too deep") from error
    except ValueError as error:
        raise _damaged("not JSON") from error
    if not isinstance(whole, dict) or "format" not in whole:
        raise _damaged("no format")
    if whole["format"] != FORMAT:
        raise ValueError(f"it has another format than this version reads ({FORMAT})")
    body = _take(whole, "body", dict)
    if _checksum(body) != whole.get("sha256"):
        raise _damaged("its checksum does not match")
    return _cached(body)


def _cached(body: dict[str, Any]) -> Cached:
    texts = {name: _take(body, name, str) for name in _TEXTS}
    numbers = {name: _take(body, name, int) for name in _NUMBERS}
    saved_at_s = _take(body, "saved_at_s", float)
    groups = tuple(_take(body, "groups", list))
    if texts["api"] not in get_args(Api) or not math.isfinite(saved_at_s):
        raise _damaged("api or saved_at_s")
    if any(group_name_refusal(name) for name in groups):
        raise _damaged("groups")
    documents = {key: _document(value) for key, value in _take(body, "documents", dict).items()}
    return Cached(**texts, **numbers, saved_at_s=saved_at_s, groups=groups, documents=documents)


def _document(value: object) -> CachedDocument:
    if not isinstance(value, dict):
        raise _damaged("documents")
    revision, sha256 = _take(value, "revision", int), _take(value, "sha256", str)
    accepted = _take(value, "accepted", list)
    if not all(isinstance(raw, dict) for raw in accepted):
        raise _damaged("accepted")
    return CachedDocument(revision, sha256, tuple(accepted))


def _take(body: dict[str, Any], name: str, kind: type) -> Any:
    """A value of just this type: True is no number here."""
    value = body.get(name)
    if type(value) is not kind:
        raise _damaged(name)
    return value


def _damaged(what: str) -> ValueError:
    return ValueError(f"it is damaged ({what})")
