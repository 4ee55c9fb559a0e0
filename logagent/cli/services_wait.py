# SPDX-License-Identifier: Apache-2.0
"""Waiting until the agent of a host says in Etcd that it applied a document."""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from logagent.cli.services_desk import Desk
from logagent.clock import monotonic
from logagent.errors import EtcdError, NotApplied

POLL_S: Final = 0.25
REASONS: Final = 5
"""How many of the agent's errors are told."""


def wait_applied(desk: Desk, revision: int, value: bytes | None, wait_s: float) -> None:
    """Until the agent of the desk's host applied `value` (None: that the key is gone) of `revision`, or a later one.

    Raises NotApplied when it refused it or did not say so in time.
    """
    until_s = monotonic() + wait_s
    while True:
        try:
            status = _status(desk)
        except EtcdError as error:
            status, said = {}, str(error)
        else:
            said = _said(desk, status)
        if _has_read(status, desk.place.key, revision, value):
            refusal = _refusal(status, desk.place.key)
            if refusal:
                raise NotApplied(
                    f"{desk.place.key} is written, but the agent of {desk.host} refused it: {refusal}"
                )
            return
        left_s = until_s - monotonic()
        if left_s <= 0:
            raise NotApplied(
                f"{desk.place.key} is written at revision {revision}, but within {wait_s:g} s the agent of"
                f" {desk.host} did not say that it applied it; {said}"
            )
        pause(min(POLL_S, left_s))


def _status(desk: Desk) -> Mapping[str, Any]:
    """What the agent says of itself; empty if it says nothing."""
    item = desk.load(desk.keys.status).items.get(desk.keys.status)
    try:
        status = json.loads(item.value) if item else {}
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def _said(desk: Desk, status: Mapping[str, Any]) -> str:
    if not status:
        return f"there is no {desk.keys.status}: does it run, and with publish_status = yes?"
    seen = _applied(status, desk.place.key).get("revision")
    error = f" ({status['error']})" if status.get("error") else ""
    return (
        f"its state is {status.get('state')}{error}, {f'it has revision {seen}' if seen else 'it has none'}"
    )


def _has_read(status: Mapping[str, Any], key: str, revision: int, value: bytes | None) -> bool:
    known = _applied(status, key).get("revision")
    if isinstance(known, int):
        return known >= revision
    # A key that is gone is not told of.
    return value is None and "applied" in status


def _applied(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    applied = status.get("applied")
    found = applied.get(key) if isinstance(applied, dict) else None
    return found if isinstance(found, dict) else {}


def _refusal(status: Mapping[str, Any], key: str) -> str:
    """Its errors about this key; those about other keys do not count."""
    errors = [
        error
        for error in status.get("errors") or ()
        if isinstance(error, str) and error.startswith(f"{key}:")
    ]
    if len(errors) > REASONS:
        errors[REASONS:] = [f"and {len(errors) - REASONS} more"]
    return "; ".join(errors)


def pause(seconds: float) -> None:
    """Between two looks."""
    time.sleep(seconds)
