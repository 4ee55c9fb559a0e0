# SPDX-License-Identifier: Apache-2.0
"""``logagent demo --picture OUT.svg``: runs the demo, and draws its real screen after some seconds."""

import io
import re
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from logagent.demo.place import Place
from logagent.demo.snapshot import Snapshot
from logagent.demo.stage import AskAgent, Stage
from logagent.demo.view import screen

COLUMNS = 88
AT_S = 18.0  # the end of the second burst: one service is at its limit
_HINTS = [
    ("logagent status -c logagent.ini", "the agent's own view"),
    ('make demo ARGS="--chaos"', "kill -9 the agent and a real Kafka"),
    ("make kafka", "a real broker to play with"),
]


def draw(shot: Snapshot, out: Path) -> None:
    """The screen of ``shot`` as SVG."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(screen(shot, COLUMNS, _HINTS))
    svg = console.export_svg(title="make demo", theme=MONOKAI)
    # Fonts from elsewhere are not needed: any monospaced one will do.
    out.write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def take(ask: AskAgent, out: Path, pause: Callable[[float], None] = time.sleep) -> Snapshot:
    """Run the demo for some seconds and draw what it shows."""
    place = Place(None)
    stage = Stage(place, ask, pause, chaos=False, inject="")
    try:
        stage.start_test_broker()
        place.write_ini(stage.address, stage.broker, stage.topic)
        stage.start_consumer()
        stage.start_agent()
        stage.wait_agent()
        stage.start_writer(None)
        shot = stage.sample()
        while shot.elapsed_s < AT_S:
            pause(0.2)
            shot = stage.sample()
    finally:
        stage.close()
        place.close()
    draw(shot, out)
    return shot
