# SPDX-License-Identifier: Apache-2.0
"""`logagent demo` from the first line to the verdict."""

import importlib.util
import os
import random
import secrets
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from logagent.clock import monotonic
from logagent.demo.chaos import Chaos
from logagent.demo.place import Place
from logagent.demo.snapshot import Snapshot, Verdict, judge
from logagent.demo.stage import TEST_BROKER, AskAgent, Stage
from logagent.demo.view import plain_lines, screen
from logagent.errors import DemoFailed

FRAME_S = 0.2
PLAIN_EVERY_S = 2.0
DRAIN_S = 30.0  # after --seconds
HURRY_S = 0.5  # after Ctrl-C everything together takes less than 2 s


@dataclass(frozen=True, slots=True)
class Options:
    """As on the command line; ``inject`` drops or doubles a record so that one can see the count fail."""

    seconds: float | None = None
    kafka: str = ""
    keep: Path | None = None
    chaos: bool = False
    inject: str = ""


def run(options: Options, ask: AskAgent, console: Console) -> int:
    """0 when every line arrived once, 1 when not. Raises DemoFailed when the demo cannot go on."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise DemoFailed("The demo needs confluent-kafka, which is not here: pip install 'logagent[demo]'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Place(options.keep)
    stage = Stage(place, ask, time.sleep, chaos=options.chaos, inject=options.inject)
    try:
        _start(stage, options, console)
        verdict = _Show(stage, options, console).play()
    except OSError as error:
        raise DemoFailed(f"{error.filename or place.directory}: {error.strerror}.") from error
    finally:
        stage.close()
        place.close()
    _tell(verdict, stage, options, console)
    return 0 if verdict.exact else 1


def say(console: Console, text: str) -> None:
    """A line as it is, however long."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _start(stage: Stage, options: Options, console: Console) -> None:
    place = stage.place
    say(
        console,
        f"logagent demo: everything is in {place.directory}" + ("" if options.keep else ", until it ends"),
    )
    if options.kafka:
        stage.use_broker(options.kafka, f"logagent_demo_{secrets.token_hex(4)}")
    elif options.chaos:
        say(console, "Starting a real Kafka, which takes some seconds ...")
        stage.start_real_broker()
    else:
        stage.start_test_broker()
    say(console, f"Kafka: {stage.broker}, at {stage.address}, topic {stage.topic}")
    place.write_ini(stage.address, stage.broker, stage.topic)
    stage.start_consumer()
    say(console, "Starting the agent: logagent run -c " + str(place.ini))
    stage.start_agent()
    stage.wait_agent()
    stage.start_writer(options.seconds)


def _tell(verdict: Verdict, stage: Stage, options: Options, console: Console) -> None:
    for sentence in verdict.sentences:
        say(console, sentence)
    if options.keep:
        say(console, f"Kept: {stage.place.directory}")
    if options.kafka:
        left = f"The topic {stage.topic} stays at {stage.address}."
        say(console, left)


class _Show:
    """The time between the first written line and the verdict."""

    def __init__(self, stage: Stage, options: Options, console: Console) -> None:
        self._stage, self._options, self._console = stage, options, console
        self._hints = hints(stage, options)
        self._live: Live | None = None
        self._plain_at_s = 0.0
        self._stop: list[int] = []

    def play(self) -> Verdict:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda signalled, _frame: self._stop.append(signalled))
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            with Live(console=self._console, screen=True, auto_refresh=False) as self._live:
                return self._play()
        return self._play()

    def _play(self) -> Verdict:
        stage = self._stage
        chaos = self._chaos() if self._options.chaos else None
        while not self._stop and stage.writing:
            if chaos is not None:
                chaos.step(monotonic())
            self._frame()
        stage.require("writer")
        if self._stop:
            return self._hurry()
        if chaos is not None:
            chaos.calm()
        drained_s = self._drain()
        if self._stop:
            return self._hurry()
        stage.finish(agent_s=10, consumer_s=5)
        return judge(stage.sample(), drained_for_s=drained_s)

    def _chaos(self) -> Chaos:
        stage, node = self._stage, self._stage.node
        # Unpredictable to nobody but the agent.
        return Chaos(stage, node.launch if node else None, random.Random(), monotonic())  # noqa: S311

    def _drain(self) -> float:
        """Wait until everything has arrived; the longest time that it may take."""
        limit_s = DRAIN_S * (2 if self._options.chaos else 1)
        deadline = monotonic() + limit_s
        while not self._frame().complete and not self._stop and monotonic() < deadline:
            continue
        return limit_s

    def _hurry(self) -> Verdict:
        stage = self._stage
        stage.stop_writer()
        deadline = monotonic() + HURRY_S
        while not stage.sample().complete and monotonic() < deadline:
            time.sleep(0.02)
        stage.finish(agent_s=HURRY_S, consumer_s=HURRY_S)
        return judge(stage.sample(), drained_for_s=None)

    def _frame(self) -> Snapshot:
        """Look, show, and sleep until the next time."""
        stage = self._stage
        stage.require("broker", "consumer", *(() if self._options.chaos else ("agent",)))
        shot = stage.sample()
        if self._live is not None:
            self._live.update(screen(shot, self._console.width, self._hints), refresh=True)
        elif shot.elapsed_s >= self._plain_at_s:
            self._plain_at_s = shot.elapsed_s + PLAIN_EVERY_S
            for line in plain_lines(shot):
                say(self._console, line)
        time.sleep(FRAME_S)
        return shot


def hints(stage: Stage, options: Options) -> list[tuple[str, str]]:
    """(command, what it shows), ready to be copied."""
    python, logagent = _short(sys.executable), _short(str(Path(sys.executable).parent / "logagent"))
    if not Path(logagent).exists():
        logagent = f"{python} -m logagent"
    logagent = "logagent" if shutil.which("logagent") else logagent
    made = bool(os.environ.get("MAKELEVEL"))

    def demo(arguments: str) -> str:
        return f'make demo ARGS="{arguments}"' if made else f"{logagent} demo {arguments}"

    found = [
        (f"{logagent} status -c {stage.place.ini}", "the agent's own view"),
        (f"cat {stage.place.ini}", "its configuration"),
        (f"ls -l {stage.place.logs}", "the logs and their rotations"),
        (f"{python} -m logagent.demo.consumer {stage.address} {stage.topic}", "what is in Kafka"),
    ]
    if not options.chaos:
        found.append((demo("--chaos"), "kills agent and broker, real Kafka"))
    if stage.broker == TEST_BROKER:
        found += [("make kafka", "a real broker"), (demo("--kafka HOST:PORT"), "with yours")]
    return found


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path
