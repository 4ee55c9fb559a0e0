# SPDX-License-Identifier: Apache-2.0
"""copytruncate: which file is the copy of one that was emptied, and which new file may become such a copy.

While logrotate copies, the copy is a file of its own whose bytes are all in the original too. It is held back until the
original is emptied (then it is the rest of that generation), it differs (then it is another file), or nothing happens.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping

from logagent.clock import MonotonicClock
from logagent.errors import FileRefused
from logagent.sources import rotation
from logagent.sources.identity import HEAD_BYTES
from logagent.sources.opening import Opened, Refusal, open_log
from logagent.sources.rotation import CopyFate, FileKey
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles

COMPARE_BYTES = 4096
FEW_FILES = 64
"""A new file is compared with those from whose names its own may have been made; with all of its directory if they are
not more than this and it has a whole head, so that small logs that begin alike are not held up."""

_DATE = re.compile(rb"[-._]?\d[-._\dT:]*(?=\.[^.]+\Z)")


def original_names(name: bytes) -> Iterator[bytes]:
    """Names of which logrotate could have made this one: the name with something put behind it, or before its end."""
    for length in range(len(name) - 1, 0, -1):
        yield name[:length]
    undated = _DATE.sub(b"", name)
    if undated != name:
        yield undated


class Copies:
    """`at(service, path)` is the file that is read for a path, `wake` makes somebody look at a file."""

    def __init__(
        self,
        entries: Mapping[tuple[str, str], EntryFiles],
        *,
        at: Callable[[str, bytes], TailedFile | None],
        wake: Callable[[TailedFile], None],
        refusal: Callable[[], Refusal],
        copy_wait_s: Callable[[], float],
        clock: MonotonicClock,
    ) -> None:
        self._entries = entries
        self._at = at
        self._wake = wake
        self._refusal = refusal
        self._copy_wait_s = copy_wait_s
        self._clock = clock

    # -- a new file ---------------------------------------------------------------------------------------------------

    def _near(self, state: EntryFiles, file: TailedFile) -> list[TailedFile]:
        """Files of which this one may be a copy."""
        directory, name = os.path.split(file.path)
        near = [self._at(file.service, os.path.join(directory, other)) for other in original_names(name)]
        if len(state.files) <= FEW_FILES and file.size_bytes() >= HEAD_BYTES:
            near += [other for other in state.files if os.path.dirname(other.path) == directory]
        others = [
            other
            for other in dict.fromkeys(near)
            if other is not None and other is not file and other.left_path_s is None
        ]
        if all(other.read_offset for other in others):
            return others
        # Of two that nobody has read the first is the original.
        order = list(state.files)
        return [other for other in others if other.read_offset or order.index(other) < order.index(file)]

    def may_read(self, file: TailedFile) -> bool:
        """Whether the file is certainly no copy of one that is being read. Raises OSError."""
        state = self._entries.get((file.service, file.log_path))
        size_bytes = file.size_bytes()
        if not size_bytes or state is None:
            return False
        if file.originals is None:
            file.originals = self._near(state, file)
        if size_bytes > file.compared_bytes:
            file.compared_bytes, file.last_growth_s = size_bytes, self._clock()
        waited_s = self._clock() - file.last_growth_s
        for original in list(file.originals):
            fate = self._fate(file, original, waited_s)
            if fate is CopyFate.OWN:
                file.originals.remove(original)
            elif fate is CopyFate.COMPLETE:
                self._wake(original)  # whoever reads it finds out, and takes this file
        file.may_be_copy = bool(file.originals)
        return not file.may_be_copy

    def _fate(self, file: TailedFile, original: TailedFile, waited_s: float) -> CopyFate:
        if original.closed or original.retired:
            return CopyFate.OWN
        size_bytes = file.size_bytes()
        begin = max(0, size_bytes - COMPARE_BYTES)
        same = all(
            os.pread(file.descriptor, count, offset) == os.pread(original.descriptor, count, offset)
            for count, offset in ((min(HEAD_BYTES, size_bytes), 0), (size_bytes - begin, begin))
        )
        seen_bytes = original.seen_bytes
        # Looked at last: what differed may have differed because the original was emptied meanwhile.
        shrunk = original.size_bytes() < max(seen_bytes, original.read_offset)
        return rotation.copy_fate(
            same=same,
            original_intact=not shrunk and original.intact(),
            waited_s=waited_s,
            copy_wait_s=self._copy_wait_s(),
        )

    # -- an emptied file ----------------------------------------------------------------------------------------------

    def held_for(self, state: EntryFiles, original: TailedFile) -> TailedFile | None:
        """The newest file that was held back because it begins like the emptied one, and holds what was read of it.

        One that is shorter was complete when more was read of the original; it was compared while it was held back.
        """
        for file in reversed(list(state.files)):
            if not file.may_be_copy or file is original:
                continue
            shorter = file.size_bytes() < original.read_offset
            if file.originals is None:
                # Nobody has come to compare it yet.
                fits = _same_head(file.descriptor, original) if shorter else holds(file.descriptor, original)
            else:
                fits = original in file.originals and (shorter or holds(file.descriptor, original))
            if fits:
                return file
        return None

    def find(self, original: TailedFile, known: Mapping[tuple[str, FileKey], TailedFile]) -> Opened | None:
        """The copy of an emptied file beside it that is not read yet, the one written last if there are several."""
        directory, name = os.path.split(original.real_path)
        stem = name.split(b".")[0]
        found: list[tuple[int, bytes]] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.startswith(stem) and entry.name != name and entry.is_file():
                        status = entry.stat()
                        key = FileKey(status.st_dev, status.st_ino)
                        if status.st_size >= original.read_offset and (original.service, key) not in known:
                            found.append((status.st_mtime_ns, entry.path))
        except OSError:
            return None  # cannot look; what is known to be lost is counted
        for _, path in sorted(found, reverse=True):
            opened = self._opened_if_copy(path, original)
            if opened is not None:
                return opened
        return None

    def _opened_if_copy(self, path: bytes, original: TailedFile) -> Opened | None:
        try:
            opened = open_log(path, self._refusal())
        except (FileRefused, FileNotFoundError):
            return None
        try:
            same = opened.size_bytes >= original.read_offset and holds(opened.descriptor, original)
        except OSError:
            same = False
        if same:
            return opened
        os.close(opened.descriptor)
        return None


def holds(descriptor: int, original: TailedFile) -> bool:
    """Whether the bytes that were read of a file stand in another one at the same place. Raises OSError."""
    offset, tail = original.tails.newest
    return _same_head(descriptor, original) and os.pread(descriptor, len(tail), offset - len(tail)) == tail


def _same_head(descriptor: int, original: TailedFile) -> bool:
    known = original.head.size_bytes > 0
    return known and original.head.fits(os.pread(descriptor, HEAD_BYTES, 0))
