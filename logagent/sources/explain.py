# SPDX-License-Identifier: Apache-2.0
"""Why a file is read, or is not: what the entries, the disk, the state and the running agent say about one path.

Without a running agent the same questions are answered from the configuration and the stored positions.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from logagent.config.services import Entry
from logagent.errors import FileRefused
from logagent.ops.shown import printable, shown
from logagent.sources.discovery import Pattern
from logagent.sources.globs import MAX_DEPTH
from logagent.sources.opening import Refusal, open_log
from logagent.sources.rotation import FileKey
from logagent.sources.tailed_file import TailedFile
from logagent.state.changes import Position

SCHEMA = 1


class Running(Protocol):
    """What the agent knows of an entry (`sources.watches.EntryFiles`)."""

    entry: Entry
    refused: dict[bytes, str]
    waiting: bool
    files: dict[TailedFile, None]

    @property
    def ignored(self) -> Collection[bytes]:
        """Paths of files that were too old when they were first seen."""

    @property
    def parked(self) -> Collection[bytes]:
        """Paths of files that were closed to make room for others."""


@dataclass(frozen=True, slots=True)
class Place:
    """What lies at a path. `problem` says why nothing there can be read; empty when it can."""

    path: bytes
    key: FileKey | None = None
    identity: str = ""
    real_path: bytes = b""
    size_bytes: int = 0
    problem: str = ""


def look(path: bytes, refusal: Refusal) -> Place:
    """Look at a path as the agent would; nothing but a regular file that may be read is opened, and closed again."""
    try:
        opened = open_log(path, refusal)
    except FileNotFoundError:
        link = os.path.islink(path)
        return Place(path, problem="it is a link to nothing" if link else "nothing is there")
    except FileRefused as error:
        return Place(path, problem=str(error))
    os.close(opened.descriptor)
    return Place(path, opened.key, opened.identity, opened.real_path, opened.size_bytes)


def explain(
    place: Place,
    entries: Iterable[Entry],
    positions: Iterable[Position],
    running: Sequence[Running] | None = None,
) -> dict[str, Any]:
    """The document; `running` are the entries of the agent, None if it is not asked."""
    known = [
        position
        for position in positions
        if position.path == place.path or position.identity == place.identity
    ]
    states = None if running is None else {state.entry.id: state for state in running}
    answers = [_Answer(place, entry, known, states).document() for entry in entries]
    answers.sort(key=lambda answer: answer["verdict"] == "not named")
    return {
        "schema": SCHEMA,
        "path": shown(place.path),
        "from": "configuration and stored positions" if running is None else "the running agent",
        "problem": place.problem,
        "real_path": shown(place.real_path),
        "size_bytes": place.size_bytes,
        "identity": place.identity,
        "entries": answers,
        "positions": [_position(position, place) for position in known],
    }


@dataclass(frozen=True, slots=True)
class _Answer:
    place: Place
    entry: Entry
    known: list[Position]
    states: dict[tuple[str, str], Running] | None

    def document(self) -> dict[str, Any]:
        files = [file for file in self._files(self.entry.id) if self._is_meant(file)]
        verdict, reason = self._verdict(files)
        return {
            "service": self.entry.service,
            "log_path": self.entry.log_path,
            "topic": self.entry.topic,
            "verdict": verdict,
            "reason": reason,
            "files": [_file(file) for file in files],
        }

    def _verdict(self, files: list[TailedFile]) -> tuple[str, str]:
        """One of a few words, and a sentence."""
        for file in files:
            if file.left_path_s is None and not file.closed:
                return "read", file.reason
        reason = why_not_named(Pattern(os.fsencode(self.entry.log_path)), self.place.path)
        if reason:
            return ("rotated", "it is read to its end") if files else ("not named", reason)
        excluded = why_excluded(self.entry, self.place.path)
        if excluded:
            return "excluded", excluded
        aside = self._set_aside()
        if aside is not None:
            return aside
        refused = self._refused() or self.place.problem
        if refused:
            return "refused" if self.place.problem != "nothing is there" else "waits", refused
        if self.states is None:
            return "would be read", self._beginning()
        if self.entry.id not in self.states:
            return "not read", "the running agent does not have this entry: it needs SIGHUP"
        return self._elsewhere()

    @property
    def _state(self) -> Running | None:
        return None if self.states is None else self.states.get(self.entry.id)

    def _set_aside(self) -> tuple[str, str] | None:
        """The running agent knows the file and keeps it closed."""
        if self._state is not None and self.place.path in self._state.ignored:
            limit_s = self.entry.ignore_older_s or 0
            return "ignored", f"it was not written to for {limit_s:g} s when it was found (ignore_older_s)"
        if self._state is not None and self.place.path in self._state.parked:
            return (
                "parked",
                "it was read to its end and closed, to make room for others (max_open), until it changes",
            )
        return None

    def _refused(self) -> str:
        return "" if self._state is None else self._state.refused.get(self.place.path, "")

    def _beginning(self) -> str:
        """Where reading would begin."""
        for position in self.known:
            if position.service == self.entry.service and position.identity == self.place.identity:
                return f"from byte {position.offset}, up to where it is acknowledged"
        return "nothing of it is acknowledged"

    def _elsewhere(self) -> tuple[str, str]:
        """It is named and readable, and not read under this entry."""
        for service, log_path in self.states or ():
            for file in self._files((service, log_path)):
                if service == self.entry.service and file.key == self.place.key and not file.closed:
                    if log_path != self.entry.log_path:
                        return "read", f"another entry of the service reads it: {log_path}"
                    return "read", f"it is read under its other name {shown(file.path)}"
        if self._state is not None and self._state.waiting:
            return "waits", "more files than may be open are read (max_open); they are read in turn"
        return "not read", "it was not found yet; the next sweep looks for it"

    def _files(self, entry_id: tuple[str, str]) -> list[TailedFile]:
        state = None if self.states is None else self.states.get(entry_id)
        return [] if state is None else list(state.files)

    def _is_meant(self, file: TailedFile) -> bool:
        return self.place.path in (file.path, file.label, file.real_path) or file.key == self.place.key


def why_not_named(pattern: Pattern, path: bytes) -> str:
    """Why a pattern does not name a path; empty if it does."""
    wanted, parts = pattern.parts, tuple(part for part in path.split(b"/") if part)
    if b"**" in wanted and len(parts) > len(wanted) - wanted.count(b"**") + MAX_DEPTH:
        return f"** goes {MAX_DEPTH} directories deep, and it lies deeper"
    if pattern.matches(path):
        return ""
    if not path.startswith(pattern.base.rstrip(b"/") + b"/"):
        return f"it does not lie below {shown(pattern.base)}"
    if b"**" in wanted:
        return f"its path does not match {shown(pattern.path)}"
    for want, part in zip(wanted, parts, strict=False):
        if not Pattern(b"/" + want).matches(b"/" + part):
            hidden_too = part.startswith(b".") and not want.startswith(b".")
            why = " (hidden names only match a pattern that begins with a dot)" if hidden_too else ""
            return f"{shown(part)} does not match {shown(want)}{why}"
    deeper = len(parts) > len(wanted)
    return f"it lies {'deeper' if deeper else 'less deep'} than {shown(pattern.path)}"


def why_excluded(entry: Entry, path: bytes) -> str:
    """Which member of `exclude` takes the path, or a directory above it, out; empty if none does."""
    for member in entry.exclude:
        if Pattern(os.fsencode(entry.log_path), (os.fsencode(member),)).excludes_path(path):
            return f"{printable(member)} is in exclude"
    return ""


def _file(file: TailedFile) -> dict[str, Any]:
    before = file.predecessor
    return {
        "path": shown(file.path),
        "label": shown(file.label),
        "identity": file.identity,
        "size_bytes": file.size_bytes(),
        "read_offset_bytes": file.read_offset,
        "acked_offset_bytes": file.acks.acked_offset,
        "at_its_path": file.left_path_s is None,
        "waits_for": None if before is None or before.closed else shown(before.label),
        "state": file.state,
        "reason": file.reason,
    }


def _position(position: Position, place: Place) -> dict[str, Any]:
    return {
        "service": position.service,
        "log_path": position.log_path,
        "path": shown(position.path),
        "identity": position.identity,
        "offset_bytes": position.offset,
        "gone_since_s": position.gone_since_s or None,
        "is_file_at_path": bool(place.identity) and position.identity == place.identity,
    }
