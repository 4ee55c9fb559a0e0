# SPDX-License-Identifier: Apache-2.0
"""A text in the editor of the person at the terminal."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from logagent.errors import EditorFailed
from logagent.ops.shown import printable


def on_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Draft:
    """A file of its own, which only its owner can read. It is kept, and named, unless `done` was called."""

    def __init__(self, text: str) -> None:
        # Half a surrogate pair has no UTF-8, but this is how JSON escapes it.
        self._before = text.encode(errors="backslashreplace")
        descriptor, name = tempfile.mkstemp(prefix="logagent-services.", suffix=".json")
        self.path = Path(name)
        with open(descriptor, "wb") as file:
            file.write(self._before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self.path.exists():
            return
        if self.unchanged:
            self.done()
        else:
            click.echo(f"What you wrote is in {printable(str(self.path))}.", err=True)

    @property
    def unchanged(self) -> bool:
        """Whether it says what it said at first."""
        return self.read() == self._before

    def open(self) -> None:
        """Show it in the editor until that is closed. Raises EditorFailed."""
        command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            code = subprocess.call([*shlex.split(command), str(self.path)])
        except (OSError, ValueError) as error:
            raise EditorFailed(f"the editor {command!r} cannot be started: {error}") from error
        if code:
            raise EditorFailed(f"the editor {command!r} ended with code {code}; nothing was written")

    def read(self) -> bytes:
        """What it says now. Raises EditorFailed."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise EditorFailed(f"{self.path} cannot be read any more: {error.strerror}") from error

    def done(self) -> None:
        """It is not needed any more."""
        self.path.unlink(missing_ok=True)
