# SPDX-License-Identifier: Apache-2.0
"""When what is killed, and when it comes back: random, but decided in one place."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Victims(Protocol):
    """What the chaos does to the stage."""

    @property
    def agent_running(self) -> bool: ...
    def kill_agent(self) -> None: ...
    def start_agent(self) -> None: ...
    def kill_broker(self) -> None: ...


@dataclass(slots=True)
class _Turn:
    """One victim: up for a while, down for a while."""

    kill: Callable[[], None]
    restart: Callable[[], None]
    up_s: tuple[float, float]
    down_s: tuple[float, float]
    at_s: float
    down: bool = False


class Chaos:
    """Kills the agent, and the broker if it is ours (``restart_broker``), and restarts them."""

    def __init__(
        self,
        victims: Victims,
        restart_broker: Callable[[], None] | None,
        dice: random.Random,
        now_s: float,
    ) -> None:
        self._dice = dice
        agent = _Turn(victims.kill_agent, victims.start_agent, (3, 7), (0.3, 1.5), now_s + 3)
        self._turns = [agent]
        if restart_broker is not None:
            # A broker needs seconds to come back: it gets more time to stand.
            self._turns.append(_Turn(victims.kill_broker, restart_broker, (12, 20), (0.5, 2), now_s + 6))

    def step(self, now_s: float) -> None:
        """Do what is due."""
        for turn in self._turns:
            if now_s < turn.at_s:
                continue
            (turn.restart if turn.down else turn.kill)()
            turn.down = not turn.down
            turn.at_s = now_s + self._dice.uniform(*(turn.down_s if turn.down else turn.up_s))

    def calm(self) -> None:
        """Restart what is down and kill nothing any more."""
        for turn in self._turns:
            if turn.down:
                turn.restart()
        self._turns = []
