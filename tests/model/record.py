# SPDX-License-Identifier: Apache-2.0
"""What was written to which file, what came, and what must hold between the two."""

from collections import Counter
from pathlib import Path

OFF = ("write", "write", "rotate", "compress", "compress", "recreate", "write_half", "copytruncate", "unlink")
"""What may happen while the agent is off."""

ACTIONS = {
    "write": 12,
    "write_half": 3,
    "write_late": 3,
    "rotate": 4,
    "copytruncate": 4,
    "empty_and_grow": 1,
    "delete": 1,
    "link": 1,
    "unlink": 1,
    "switch": 2,
    "block": 2,
    "unblock": 3,
    "hold": 4,
    "acknowledge_some": 4,
    "give_up_some": 4,
    "look": 8,
    "time_passes": 1,
    "sweep": 1,
    "save": 2,
    "restart": 2,
    "kill": 1,
}
PATTERNS = ("*.log", "*.log*")


class Record:
    """Of one life of some log files."""

    pattern: str

    def __init__(self) -> None:
        self.lines: dict[Path, list[bytes]] = {}
        """What was written to the file that is at a path, in order."""

        self.generations: list[list[bytes]] = []
        self.optional: set[bytes] = set()
        self.may_double: set[bytes] = set()
        self.delivered: list[bytes] = []
        self.safe: set[bytes] = set()
        """What will not be read again, whenever the agent is killed."""

        self.late = self.linked = False

    def check(self) -> None:
        got = Counter(self.delivered)
        expected = {line for lines in self.generations for line in lines}
        missing = expected - got.keys() - self.optional
        assert sorted(missing) == [], "lines are missing"
        twice = {line for line, times in got.items() if times > 1}
        assert sorted(twice - self.may_double) == [], "lines came twice"
        assert sorted(got.keys() - expected) == [], "nobody wrote that"
        for lines in self.generations:
            of_file = set(lines)
            if not self.may_double & of_file:
                came = [line for line in self.delivered if line in of_file]
                assert came == [line for line in lines if line in got], "a file is out of order"

        self._check_generations(got)

    def _check_generations(self, got: Counter[bytes]) -> None:
        """Of one path they come one after the other, if no writer was late and all bear the name of the path."""
        if self.may_double or self.late or self.linked or self.pattern != "*.log":
            return
        for name in (b"a.log ", b"b.log "):
            came = [line for line in self.delivered if line.startswith(name)]
            written = [
                line for lines in self.generations for line in lines if line.startswith(name) and line in got
            ]
            assert came == sorted(written, key=lambda line: int(line.split()[1])), "generations are mixed up"
