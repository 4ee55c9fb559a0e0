# SPDX-License-Identifier: Apache-2.0
"""Looks for log files on this host: opens each as the agent would, reads its first bytes, changes nothing."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator

from logagent.config.proposal import LogFile, is_log_name
from logagent.config.services import PathRules
from logagent.errors import FileRefused
from logagent.sources.opening import Opened, open_log

DEEPEST = 8
MOST_NAMES = 50_000
"""Bounds of the walk, so that a tree of a million files costs seconds, not minutes."""

_HEAD_BYTES = 512
_BINARY_DIRECTORIES = frozenset({b"journal"})


def find_log_files(root: bytes, rules: PathRules) -> list[LogFile]:
    """Everything in and below `root` that is called like a live log, and the directories that cannot be listed."""
    found: list[LogFile] = []
    walk = _Walk(root)
    for path in walk.paths(root, DEEPEST):
        file = _examine(path, rules)
        if file is not None:
            found.append(file)
    return found + walk.unlisted


class _Walk:
    def __init__(self, root: bytes) -> None:
        self.unlisted: list[LogFile] = []
        self._root = root
        self._names_left = MOST_NAMES

    def paths(self, directory: bytes, depth: int) -> Iterator[bytes]:
        """Links to directories are not followed, links to files are unless what they name is found itself."""
        if self._names_left <= 0:
            return
        inner: list[bytes] = []
        for entry in self._entries(directory):
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _BINARY_DIRECTORIES:
                    inner.append(entry.path)
            elif is_log_name(entry.path, self._root) and not self._found_elsewhere(entry):
                yield entry.path
        if depth == 0 and inner:
            self._leave_out(directory, f"directories more than {DEEPEST} levels down were not looked into")
            return
        for path in inner:
            yield from self.paths(path, depth - 1)

    def _entries(self, directory: bytes) -> "list[os.DirEntry[bytes]]":
        try:
            with os.scandir(directory) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._leave_out(directory, f"it cannot be listed: {error.strerror}", _advice(directory, error))
            return []
        if len(entries) > self._names_left:
            self._leave_out(directory, f"after {MOST_NAMES} names the rest was not looked at")
        kept = entries[: self._names_left]
        self._names_left -= len(kept)
        return kept

    def _leave_out(self, directory: bytes, reason: str, advice: str = "") -> None:
        self.unlisted.append(LogFile(directory.rstrip(b"/") + b"/", refusal=reason, advice=advice))

    def _found_elsewhere(self, entry: "os.DirEntry[bytes]") -> bool:
        if not entry.is_symlink():
            return False
        target = os.path.realpath(entry.path)
        below = target.startswith(os.path.realpath(self._root).rstrip(b"/") + b"/")
        return below and is_log_name(target, self._root)


def _examine(path: bytes, rules: PathRules) -> LogFile | None:
    """None if nothing is there any more."""
    try:
        opened = open_log(path, rules.refusal)
    except FileNotFoundError:
        return None
    except FileRefused as error:
        return LogFile(path, refusal=str(error), advice=_advice(path, error.__cause__))
    try:
        refusal = _content_refusal(opened)
    finally:
        os.close(opened.descriptor)
    return LogFile(path, opened.size_bytes, refusal)


def _content_refusal(opened: Opened) -> str:
    try:
        head = os.pread(opened.descriptor, _HEAD_BYTES, 0)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "it is binary" if b"\0" in head else ""


def _advice(path: bytes, error: BaseException | None) -> str:
    """What helps when permissions are in the way; empty otherwise."""
    if not isinstance(error, PermissionError):
        return ""
    try:
        status = os.stat(path)
    except OSError:
        return "run the agent, and `logagent init`, as a user who may enter its directory"
    if status.st_mode & stat.S_IRGRP and status.st_gid != 0:
        group = _group_name(status.st_gid)
        return f"the group {group} may: `usermod -a -G {group} USER` for the agent's user, then init again"
    owner = _user_name(status.st_uid)
    return f"only {owner} may: run the agent, and `logagent init`, as {owner}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
