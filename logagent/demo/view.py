# SPDX-License-Identifier: Apache-2.0
"""How a snapshot looks: on a terminal of any width, and as a line of plain text. Pure."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from logagent.demo.snapshot import ServiceCount, Snapshot

_MIB = 1024 * 1024
_BAR_CELLS = 10
MIDDLE = 72  # columns; below that the labels are short
Row = tuple[str, Callable[[ServiceCount], Text | str]]


def duration(ms: float | None) -> str:
    """With two or three digits and the unit that fits."""
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def bar(share: float, cells: int = _BAR_CELLS) -> str:
    """``share`` of 1 as blocks."""
    full = max(0, min(cells, round(share * cells)))
    return "█" * full + "░" * (cells - full)


def _rate(one: ServiceCount, width: int) -> Text:
    share = one.rate_lines_per_s / one.limit_lines_per_s
    # A mean over two seconds jitters by a few lines around the limit.
    shown = min(one.rate_lines_per_s, one.limit_lines_per_s) if share < 1.02 else one.rate_lines_per_s
    if width < MIDDLE:
        return Text(f"{shown:,.0f}")
    text = Text(f"{shown:,.0f} of {one.limit_lines_per_s:,}")
    style = "yellow" if share > 0.97 else "cyan"
    return Text.assemble((bar(share) + " ", style), text)


def _good(value: int, style: str) -> Text:
    return Text(f"{value:,}", style="bold green" if not value else style)


def _rows(width: int) -> list[Row]:
    narrow = width < MIDDLE
    rows: list[Row] = [
        ("written", lambda one: f"{one.written:,}"),
        ("acknowledged" if narrow else "acknowledged by Kafka", lambda one: f"{one.acknowledged:,}"),
        ("waiting" if narrow else "waiting in the file", lambda one: f"{one.waiting:,}"),
        ("lines/s" if narrow else "lines/s, limit", lambda one: _rate(one, width)),
    ]
    if narrow:
        return [
            *rows,
            ("limit", lambda one: f"{one.limit_lines_per_s:,}"),
            ("files open", lambda one: f"{one.files}"),
            ("rotations", lambda one: f"{one.rotations}"),
            *_proof(),
            ("p50", lambda one: duration(one.p50_ms)),
            ("p99", lambda one: duration(one.p99_ms)),
        ]
    return [
        *rows,
        ("files open, rotations", lambda one: f"{one.files}, {one.rotations}"),
        *_proof(),
        ("p50, p99 to Kafka", lambda one: f"{duration(one.p50_ms)}, {duration(one.p99_ms)}"),
    ]


def _proof() -> list[Row]:
    return [
        ("lost", lambda one: _good(one.lost, "bold red")),
        ("duplicated", lambda one: _good(one.doubled, "bold red")),
    ]


def counts_table(shot: Snapshot, width: int) -> Table:
    """A column per service."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, header_style="bold")
    table.add_column("", style="dim", no_wrap=True, overflow="ellipsis")
    column = (width - 18) // len(shot.services) if width < MIDDLE else None
    for one in shot.services:
        table.add_column(
            one.name, justify="right", no_wrap=True, overflow="ellipsis", min_width=column, max_width=column
        )
    for label, cell in _rows(width):
        table.add_row(label, *(cell(one) for one in shot.services))
    return table


def screen(shot: Snapshot, width: int, hints: Sequence[tuple[str, str]]) -> RenderableType:
    """Everything, in the order of importance: a low terminal cuts off the end."""
    head = Text.assemble(("logagent demo", "bold"), f"  {shot.elapsed_s:.0f} s  ", ("Ctrl-C ends it", "dim"))
    broker = Text.assemble(
        ("Kafka  ", "bold"), f"{shot.broker}, {shot.address}", _state(shot.broker_state, "up")
    )
    agent = Text.assemble(
        ("Agent  ", "bold"),
        f"{shot.agent_cpu_percent:.1f} % CPU, {shot.agent_rss_bytes / _MIB:.0f} MiB",
        _state(shot.agent_state, "running"),
    )
    parts: list[RenderableType] = [head, broker, agent]
    if shot.chaos:
        kills = f"agent killed {shot.agent_kills} times, broker {shot.broker_kills} times"
        parts.append(Text.assemble(("Chaos  ", "bold"), kills))
    parts += [Text(), counts_table(shot, width), Text()]
    if shot.corrupt:
        parts.append(Text(f"{shot.corrupt} records are not lines of the writer", style="bold red"))
    burst = "A burst beyond its limit waits in the file: nothing is dropped, nothing spikes."
    parts.append(Text(burst, style="dim"))
    parts += _hints(hints, width)
    return Group(*parts)


def _state(state: str, expected: str) -> Text:
    return Text() if state == expected else Text(f"  {state}", style="bold yellow")


def _hints(hints: Sequence[tuple[str, str]], width: int) -> list[RenderableType]:
    """Commands as they are, to be copied; what they are for only where that fits."""
    commands = max((len(command) for command, _ in hints), default=0)
    explained = commands + max((len(what) for _, what in hints), default=0) + 5 <= width
    lines = [
        Text.assemble(" ", (command, "cyan"), (" " * (commands - len(command)) + f"  # {what}", "dim"))
        if explained
        else Text.assemble(" ", (command, "cyan"))
        for command, what in hints
    ]
    return [Text("Try next, in another terminal", style="bold"), *lines] if hints else []


def plain_lines(shot: Snapshot) -> list[str]:
    """For what is no terminal: a line per service, and one for the agent."""
    time = f"{shot.elapsed_s:5.0f} s  "
    lines = [
        f"{time}{one.name}: written {one.written}, acknowledged {one.acknowledged}, waiting {one.waiting},"
        f" {one.rate_lines_per_s:.0f} of {one.limit_lines_per_s} lines/s, {one.files} files,"
        f" {one.rotations} rotations, lost {one.lost}, duplicated {one.doubled},"
        f" p50 {duration(one.p50_ms)}, p99 {duration(one.p99_ms)}"
        for one in shot.services
    ]
    kills = f"; killed: agent {shot.agent_kills}, broker {shot.broker_kills} times" if shot.chaos else ""
    agent = f"{shot.agent_cpu_percent:.1f} % CPU, {shot.agent_rss_bytes / _MIB:.0f} MiB"
    return [*lines, f"{time}agent {shot.agent_state}, {agent}{kills}"]
