# SPDX-License-Identifier: Apache-2.0
"""A disk that tests fill up."""

import os
import subprocess
from pathlib import Path

from tests.support.missing import skip_or_fail


class SmallDisk:
    """A small file system that can be filled, emptied, and made read-only. The journal takes 8 MiB."""

    def __init__(self, path: Path, size_mib: int = 16) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._mount("-t", "tmpfs", "-o", f"size={size_mib}m,mode=0700", "none", str(path))

    @staticmethod
    def _mount(*options: str) -> None:
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if done.returncode:
            skip_or_fail(f"A file system cannot be mounted: {done.stderr.strip()}")

    def fill(self) -> None:
        filler = os.open(self.path / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while os.write(filler, b"x" * 4096):
                pass
        except OSError:
            return
        finally:
            os.close(filler)

    def empty(self) -> None:
        (self.path / "filler").unlink()

    def read_only(self, yes: bool) -> None:
        self._mount("-o", f"remount,{'ro' if yes else 'rw'}", str(self.path))

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)
