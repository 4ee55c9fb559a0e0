# SPDX-License-Identifier: Apache-2.0
"""copytruncate: which file is the copy of one that was emptied, and which new file may become such a copy.

While logrotate copies, the copy is a file of its own whose bytes are all in the original too. It is held back until the
original is emptied (then it is the rest of that generation), it differs (then it is another file), or nothing happens.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from logagent.clock import MonotonicClock
from logagent.errors import FileRefused
from logagent.sources import rotation
from logagent.sources.identity import HEAD_BYTES
from logagent.sources.opening import Opened, Refusal, open_log
from logagent.sources.rotation import CopyFate, FileKey, Kinship
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles

COMPARE_BYTES = 4096
FEW_FILES = 64
"""A new file is compared with those from whose names its own may have been made; with all of its directory if they are
not more than this and it has a whole head, so that small logs that begin alike are not held up."""

MOST_BESIDE = 64
CLOCK_STEP_S = 0.02
"""The time stamps of files lag behind the clock by a tick of the kernel."""

_DATE = re.compile(rb"[-._]?\d[-._\dT:]*(?=\.[^.]+\Z)")


def original_names(name: bytes) -> Iterator[bytes]:
    """Names of which logrotate could have made this one: the name with something put behind it, or before its end."""
    for length in range(len(name) - 1, 0, -1):
        yield name[:length]
    undated = _DATE.sub(b"", name)
    if undated != name:
        yield undated


@dataclass(frozen=True, slots=True)
class Kin:
    """A copy of an emptied file of which nothing was read. `held`: it is on the shelf, and held back."""

    kinship: Kinship
    opened: Opened
    path: bytes
    modified_ns: int
    held: TailedFile | None = None


class Copies:
    """`at(service, path)` are the files that are or were at a path, `wake` makes somebody look at a file.

    `was_read(service, identity)`: whether a file that is not open has a position.
    """

    def __init__(
        self,
        entries: Mapping[tuple[str, str], EntryFiles],
        *,
        at: Callable[[str, bytes], list[TailedFile]],
        wake: Callable[[TailedFile], None],
        was_read: Callable[[str, str], bool],
        refusal: Callable[[], Refusal],
        copy_wait_s: Callable[[], float],
        clock: MonotonicClock,
    ) -> None:
        self._entries = entries
        self._at = at
        self._wake = wake
        self._was_read = was_read
        self._refusal = refusal
        self._copy_wait_s = copy_wait_s
        self._clock = clock

    # -- a new file ---------------------------------------------------------------------------------------------------

    def _near(self, state: EntryFiles, file: TailedFile) -> list[TailedFile]:
        """Files of which this one may be a copy."""
        directory = os.path.dirname(file.path)
        names = {os.path.basename(file.path): None, os.path.basename(file.real_path): None}
        paths = [os.path.join(directory, other) for name in names for other in original_names(name)]
        near = [one for path in paths for one in self._at(file.service, path)]
        if len(state.files) <= FEW_FILES and file.size_bytes() >= HEAD_BYTES:
            beside = [other for other in state.files if other.left_path_s is None]
            near += [other for other in beside if os.path.dirname(other.path) == directory]
        others = [
            other
            for other in dict.fromkeys(near)
            if other is not file and not (other.closed or other.retired)
        ]
        if all(other.read_offset for other in others):
            return others
        # Of two that nobody has read the first is the original.
        later = set(itertools.dropwhile(lambda known: known is not file, state.files))
        return [other for other in others if other.read_offset or other not in later]

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
        file.originals = file.originals or None
        return not file.may_be_copy

    def _fate(self, file: TailedFile, original: TailedFile, waited_s: float) -> CopyFate:
        if original.closed or original.retired:
            return CopyFate.OWN
        same = _same(file.descriptor, original.descriptor, file.size_bytes())
        seen_bytes = original.seen_bytes
        # Looked at last: what differed may have differed because the original was emptied meanwhile.
        emptied = original.was_emptied(original.size_bytes(), seen_bytes)
        intact = not emptied and original.intact()
        if same and intact:
            file.alike |= {original}
        # Nobody empties a file that is not at its path any more.
        copy_wait_s = self._copy_wait_s() if original.left_path_s is None else 0.0
        return rotation.copy_fate(
            same=same, original_intact=intact, waited_s=waited_s, copy_wait_s=copy_wait_s
        )

    # -- an emptied file ----------------------------------------------------------------------------------------------

    def kin_of(
        self, state: EntryFiles, original: TailedFile, known: Mapping[tuple[str, FileKey], TailedFile]
    ) -> list[Kin]:
        """Files of which nothing was read, that are copies of an emptied one: held back, or beside it and not `known`.

        Those that are on no shelf are open, and the caller's.
        """
        kin = []
        for held in list(state.files):
            if held is original or not held.may_be_copy:
                continue
            if held.originals is None:
                held.originals = self._near(state, held)
            if original in held.originals:
                opened = Opened(held.descriptor, held.key, held.identity, held.real_path, held.size_bytes())
                kinship = _kinship(opened, original, alike=original in held.alike)
                kin.append(Kin(kinship, opened, held.path, _modified_ns(opened), held))
        for path in self._beside(original, known):
            one = self._opened(path, original)
            if one is not None:
                kin.append(one)
        return sorted(
            (one for one in kin if one.kinship is not Kinship.OTHER), key=lambda one: one.modified_ns
        )

    @staticmethod
    def _beside(original: TailedFile, known: Mapping[tuple[str, FileKey], TailedFile]) -> list[bytes]:
        """Paths of unknown files that were made or renamed since the emptied one was found, the last ones first."""
        directory, name = os.path.split(original.real_path)
        stem = name.split(b".")[0]
        since_ns = int((original.found_at_s - CLOCK_STEP_S) * 1e9)
        found: list[tuple[int, bytes]] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.startswith(stem) and entry.name != name and entry.is_file():
                        status = entry.stat()
                        key = FileKey(status.st_dev, status.st_ino)
                        if status.st_ctime_ns > since_ns and (original.service, key) not in known:
                            found.append((status.st_ctime_ns, entry.path))
        except OSError:
            return []  # cannot look; what is known to be lost is counted
        return [path for _, path in sorted(found, reverse=True)[:MOST_BESIDE]]

    def _opened(self, path: bytes, original: TailedFile) -> Kin | None:
        try:
            opened = open_log(path, self._refusal())
        except (FileRefused, FileNotFoundError):
            return None
        try:
            kinship = _kinship(opened, original)
        except OSError:
            kinship = Kinship.OTHER  # it cannot be read now
        if kinship is Kinship.OTHER or self._was_read(original.service, opened.identity):
            os.close(opened.descriptor)
            return None
        return Kin(kinship, opened, path, _modified_ns(opened))


def is_start_of(opened: Opened, other: Opened) -> bool:
    """Whether a file is the beginning of another one, as far as its first and last bytes tell. Raises OSError."""
    size_bytes = opened.size_bytes
    return size_bytes <= other.size_bytes and _same(opened.descriptor, other.descriptor, size_bytes)


def _same(one: int, other: int, size_bytes: int) -> bool:
    begin = max(0, size_bytes - COMPARE_BYTES)
    return all(
        os.pread(one, count, offset) == os.pread(other, count, offset)
        for count, offset in ((min(HEAD_BYTES, size_bytes), 0), (size_bytes - begin, begin))
    )


def _kinship(opened: Opened, original: TailedFile, *, alike: bool = False) -> Kinship:
    return rotation.kinship(
        begins_alike=alike or original.is_begun_by(opened.descriptor, opened.size_bytes),
        reaches=opened.size_bytes >= original.read_offset,
        marker_fits=original.stands_in(opened.descriptor),
    )


def _modified_ns(opened: Opened) -> int:
    return os.fstat(opened.descriptor).st_mtime_ns
