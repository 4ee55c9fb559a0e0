# SPDX-License-Identifier: Apache-2.0
"""What of the settings the senders need."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from logagent.config.settings import Settings
from logagent.senders.dead_letter import FILE_NAME


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """What the operator can turn. `budget_bytes` bounds the memory of lines between reading and acknowledgement."""

    thread_num: int
    linger_s: float
    batch_bytes: int
    partitioner: str
    budget_bytes: int
    dead_letter: Path
    dead_letter_full: Literal["block", "drop"] = "block"
    dead_letter_max_bytes: int | None = None
    intent_give_up_s: float = 600.0

    @staticmethod
    def of(settings: Settings, data_dir: Path, budget_bytes: int) -> "SenderSettings":
        """From the INI."""
        kafka = settings.kafka
        return SenderSettings(
            thread_num=settings.thread_num,
            linger_s=kafka.linger_ms / 1000,
            batch_bytes=kafka.batch_bytes,
            partitioner=kafka.partitioner,
            budget_bytes=budget_bytes,
            dead_letter=data_dir / FILE_NAME,
            dead_letter_full=kafka.dead_letter_full,
            dead_letter_max_bytes=kafka.dead_letter_max_bytes,
            intent_give_up_s=kafka.intent_give_up_s,
        )
