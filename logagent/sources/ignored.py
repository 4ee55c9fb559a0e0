# SPDX-License-Identifier: Apache-2.0
"""Files that are too old to be read (`ignore_older_s`): they wait until they are written to."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from logagent.sources.opening import Opened
from logagent.sources.rotation import FileKey

if TYPE_CHECKING:
    from logagent.sources.watches import EntryFiles


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file as it was when it was first seen."""

    key: FileKey
    size_bytes: int
    modified_ns: int

    @staticmethod
    def of(status: os.stat_result) -> "Ignored":
        """The file of this status."""
        return Ignored(FileKey(status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)

    def is_start_of(self, opened: Opened) -> bool:
        """Whether the opened file is this one, and longer."""
        return self.key == opened.key and self.size_bytes <= opened.size_bytes


def still(state: "EntryFiles", path: bytes) -> bool:
    """Whether the file of the path is ignored and was not written to since."""
    if path not in state.ignored:
        return False
    if state.entry.ignore_older_s is None:
        del state.ignored[path]  # it is read now, all of it, as a file that is seen for the first time
        return False
    try:
        return Ignored.of(os.stat(path)) == state.ignored[path]
    except OSError:
        return False  # opening it will tell
