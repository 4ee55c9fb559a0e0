# SPDX-License-Identifier: Apache-2.0
"""One token for all stores of the process: servers spend 100 ms of a core on each, so nobody asks for a second one."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from gevent.lock import RLock

from logagent.errors import EtcdRefused

_MAX_PASSWORD_FILE_BYTES = 4096
_NOT_NEEDED = ""


class Tokens:
    """`user` None: no authentication. The password is read anew each time, so that it can be changed on disk."""

    def __init__(self, user: str | None, password_file: Path | None) -> None:
        self.user = user
        self._password_file = password_file
        self._token: str | None = None
        self._flight = RLock()

    def get(self, authenticate: Callable[[str, str], str]) -> str | None:
        """The token, or None where none is needed.

        `authenticate` turns user and password into a token, or into "" where the server has no authentication; while
        one greenlet is at it the others wait. Its errors are passed on; EtcdRefused names a password file that is
        unusable.
        """
        if self._token is None and self.user is not None:
            with self._flight:
                if self._token is None:
                    self._token = authenticate(self.user, self.password())
        return self._token or None

    def forget(self, token: str | None) -> None:
        """The server no longer takes `token`. Says nothing about one that somebody else has fetched meanwhile."""
        if (self._token or None) == token:
            self._token = None

    def password(self) -> str:
        """The first line of the password file."""
        file = self._password_file
        if file is None:
            raise EtcdRefused("[etcd]", f"user = {self.user} needs a password_file")
        try:
            with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:  # a pipe must not hold us
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
                line = opened.read(_MAX_PASSWORD_FILE_BYTES).split(b"\n")[0].rstrip(b"\r").decode()
        except OSError as error:
            raise EtcdRefused(str(file), f"password_file cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise EtcdRefused(str(file), "password_file is not UTF-8") from error
        if mode & stat.S_IRWXO:
            raise EtcdRefused(str(file), f"password_file is open to everybody: chmod 600 (it is {mode:o})")
        if not line:
            raise EtcdRefused(str(file), "password_file has an empty first line")
        return line
