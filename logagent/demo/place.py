# SPDX-License-Identifier: Apache-2.0
"""Where a demo lives: one directory with the logs, the INI, and what the agent keeps."""

import shutil
import tempfile
from pathlib import Path

from logagent.demo.lines import SERVICES
from logagent.errors import DemoFailed

_INI = """\
# Written by `logagent demo`. The agent of the demo runs with it:
#   logagent run -c {directory}/logagent.ini
# Change a send_rate while it runs, and tell the agent: kill -HUP PID (`logagent status` shows the PID).
kafka_addr = {address}    # {broker}

[agent]
data_dir = {directory}/data    # positions, the admin socket
admin_addr = 127.0.0.1:0       # any free port; it is written to data/admin.addr
{files}
[services]
"""
_SERVICE = """\
[[{name}]]
log_path = {path}
topic = {topic}
send_rate = {rate}    # lines per second
"""
# A list of the INI and a glob read these characters otherwise than as they stand.
_UNUSABLE = set(",#*?[]{}\"'\\%$\n")


class Place:
    """Made new, or the empty one that --keep names; close() removes only what was made for this run."""

    def __init__(self, keep: Path | None) -> None:
        """Raises DemoFailed."""
        self._kept = keep is not None
        self.directory = _checked(keep) if keep else Path(tempfile.gettempdir())
        if strange := sorted(set(str(self.directory)) & _UNUSABLE):
            raise DemoFailed(
                f"{self.directory} has {' '.join(strange)} in its name; choose a plainer directory."
            )
        try:
            if keep is None:
                self.directory = Path(tempfile.mkdtemp(prefix="logagent-")).resolve()
            self.logs, self.data = self.directory / "logs", self.directory / "data"
            self.output = self.directory / "output"
            for made in (self.logs, self.output):
                made.mkdir(parents=True)
        except OSError as error:
            raise DemoFailed(f"Nothing can be written to {self.directory}: {error.strerror}.") from error
        self.ini, self.ledger = self.directory / "logagent.ini", self.directory / "ledger.json"

    def write_ini(self, address: str, broker: str, topic: str) -> None:
        """Raises DemoFailed."""
        files = ""
        if self.directory.is_relative_to("/root"):
            files = "\n[files]\ndenied_paths = /etc, /proc, /sys, /dev, /boot, .ssh    # the default without /root\n"
        text = _INI.format(directory=self.directory, address=address, broker=broker, files=files)
        text += "\n".join(
            _SERVICE.format(
                name=one.name,
                path=self.logs / one.file_name,
                topic=topic,
                rate=one.send_rate_lines_per_s,
            )
            for one in SERVICES
        )
        try:
            self.ini.write_text(text)
        except OSError as error:
            raise DemoFailed(f"{self.ini} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Removes it, unless it is to be kept."""
        if not self._kept:
            shutil.rmtree(self.directory, ignore_errors=True)


def _checked(keep: Path) -> Path:
    directory = keep.absolute()
    try:
        if directory.exists() and any(directory.iterdir()):
            raise DemoFailed(f"{directory} is not empty; --keep wants a new or an empty directory.")
    except OSError as error:
        raise DemoFailed(f"{directory} cannot be used: {error.strerror}.") from error
    return directory
