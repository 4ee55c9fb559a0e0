# SPDX-License-Identifier: Apache-2.0
"""Where the admin socket lies, and how to name it: the kernel takes no socket path of more than 107 bytes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "admin.sock"
LIMIT_BYTES = 107


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket address while the context lasts. Raises OSError."""
    if len(os.fsencode(path)) <= LIMIT_BYTES:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
