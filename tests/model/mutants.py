# SPDX-License-Identifier: Apache-2.0
"""Rules of the recognition of files, each broken in a way that somebody could break it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from logagent.sources import resume, rotation
from logagent.sources.collector import Collector
from logagent.sources.copies import Copies
from logagent.sources.emptied import Emptied
from logagent.sources.missed import Missed
from logagent.sources.off_time import OffTime
from logagent.sources.rotation import Fate, Known
from logagent.sources.tailed_file import TailedFile
from logagent.state.positions import PositionBook


def _replaced(owner: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def _rewind_too_far(self: TailedFile, offset: int, real: Any = TailedFile.rewind) -> None:
    real(self, offset)
    self.read_offset = self.scanned_offset = max(0, offset - 40)


MUTANTS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    "an emptied file is not noticed": _replaced(TailedFile, "intact", lambda _self: True),
    "a new generation does not wait for the one before": _replaced(
        TailedFile, "is_next", lambda *_args: True
    ),
    "another file at the path is taken for the same": _replaced(
        rotation, "fate", lambda _held, at_path: Fate.GONE if at_path is None else Fate.SAME
    ),
    "a rotated file is let go before it is read": _replaced(rotation, "finished", lambda **_facts: True),
    "every stored position fits": _replaced(resume, "examine", lambda *_args: Known.SAME),
    "no stored position fits": _replaced(resume, "examine", lambda *_args: Known.REPLACED),
    "nothing is held back as a copy": _replaced(Copies, "may_read", lambda *_args: True),
    "copies of emptied files are not looked for": _replaced(Copies, "kin_of", lambda *_args: []),
    "a short copy is read again": _replaced(Emptied, "_leave_out", lambda *_args: None),
    "what happened while the agent was off is not looked for": _replaced(
        OffTime, "find", lambda *_args: iter(())
    ),
    "generations that nobody saw are not looked for": _replaced(Missed, "adopt", lambda *_args: []),
    "positions do not go on in the copy": _replaced(PositionBook, "move", lambda *_args: None),
    "lines given up are read again from too early": _replaced(TailedFile, "rewind", _rewind_too_far),
    "a file that left its path is forgotten": _replaced(
        Collector, "_leave", lambda self, file: self.finished(file)
    ),
}
