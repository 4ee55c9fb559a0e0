# SPDX-License-Identifier: Apache-2.0
"""The effective settings as rows of text, each with where it comes from. Pure."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from logagent.config.settings import KEYS, SERVICE_KEYS, Entry, Settings, value_of

DEFAULT = "default"


class Row(NamedTuple):
    """`section` is empty at the top and `services.NAME` for a service; `origin` is FILE:LINE or default."""

    section: str
    key: str
    value: str
    origin: str


def rows(settings: Settings) -> list[Row]:
    """Every key with its effective value in the order of the sample, services in the order of the file."""
    return [*_setting_rows(settings), *_service_rows(settings)]


def _setting_rows(settings: Settings) -> Iterator[Row]:
    for key in KEYS:
        text = _one_line(key.show(value_of(settings, key)))
        yield Row(
            key.section, key.name, text or f"({key.default_words or 'none'})", _origin(settings, key.dotted)
        )


def _service_rows(settings: Settings) -> Iterator[Row]:
    for service, group in groupby(settings.entries, key=attrgetter("service")):
        entries: list[Entry] = list(group)
        section = f"services.{service}"
        for key in SERVICE_KEYS:
            if key.name == "log_path":
                text = key.show(tuple(entry.log_path for entry in entries))
            elif key.name == "start_at":
                text = entries[0].start_at or settings.files.start_at
            else:
                text = key.show(getattr(entries[0], key.attribute))
            yield Row(section, key.name, _one_line(text), _origin(settings, f"{section}.{key.name}"))


def _origin(settings: Settings, dotted: str) -> str:
    return settings.origins.get(dotted, DEFAULT)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
