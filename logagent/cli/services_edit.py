# SPDX-License-Identifier: Apache-2.0
"""`logagent services set`, `edit` and `rollback`: each change replaces exactly what was read before."""

import time
from collections.abc import Callable
from typing import Any, Final

import click

from logagent.backoff import Backoff
from logagent.cli.common import Exit, json_option
from logagent.cli.editor import Draft, on_terminal
from logagent.cli.services_desk import (
    Desk,
    Written,
    author,
    file_bytes,
    file_name,
    file_option,
    open_desk,
    place_options,
    wrong,
)
from logagent.cli.services_print import changes_json, print_changes, print_json, print_unified, unified
from logagent.cli.services_wait import wait_applied
from logagent.control import differences, edits
from logagent.control.edits import Author, State
from logagent.errors import ConfigError, EditConflict, NotApplied, OutcomeUnknown
from logagent.ops.shown import printable

AGAIN: Final = Backoff(first_s=0.05, limit_s=1.0)
ATTEMPTS: Final = 10
"""How often enforce reads and writes while others write too."""

MODES = ("replace", "seed", "enforce")


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that changes something takes."""
    comment = click.option("--comment", metavar="TEXT", help="Why, for the history.")
    wait = click.option(
        "--wait",
        "wait_s",
        metavar="SECONDS",
        type=click.FloatRange(0, 86_400),
        help="Wait until the agent of the host says that it applied the document, or why not.",
    )
    return comment(wait(command))


dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would change, write nothing.")


@click.command(
    "set",
    short_help="Put a document in place.",
    epilog="""Example: logagent services set --file web.json --host web1 --mode enforce --wait 10

    Exit codes: 0 the document is in force or, with seed, there was one, 1 Etcd failed, somebody else was faster, or
    the agent did not apply it, 2 the document, the configuration or usage is wrong and nothing was written.""",
)
@place_options
@file_option
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="replace",
    show_default=True,
    help="replace: what is there now; seed: only if nothing is there; enforce: until it is equal, whoever writes.",
)
@click.option(
    "--from-revision",
    metavar="NUMBER",
    type=click.IntRange(min=0),
    help="Only if the document has still this revision, which get printed; 0: only if there is none.",
)
@change_options
@dry_run_option
@json_option
def set_(
    config: str | None,
    host: str | None,
    group: str | None,
    file: str,
    mode: str,
    from_revision: int | None,
    comment: str | None,
    wait_s: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Put the document in FILE in the place of that of a host or group.

    A document that says the same already is left alone. Nothing is written if anything in it is faulty. With --json
    the answer tells whether something changed, with --dry-run whether something would.
    """
    desk = open_desk(config, host, group)
    _check_wait(desk, wait_s)
    if from_revision is not None and mode != "replace":
        raise wrong("--from-revision", str(from_revision), "expected it only with --mode replace")
    job = _Job(desk, author(comment), dry_run=dry_run, as_json=as_json, wait_s=wait_s)
    new = file_bytes(file)
    desk.check(new, file_name(file), as_json=as_json)
    if mode == "enforce":
        return job.enforce(new)
    state = desk.read()
    if from_revision is not None and state.revision != from_revision:
        raise EditConflict(
            f"{desk.place.key} is at revision {state.revision}, not {from_revision}; nothing was written"
        )
    if mode == "seed":
        return job.seed(state, new)
    return job.replace(state, new)


@click.command(
    short_help="Go back to an earlier version.",
    epilog="""Example: logagent services rollback 20260131T174502.123456Z-a1b2c3 --comment 'too many lines'

    Exit codes: 0 the version is in force, 1 Etcd failed, somebody else was faster, there is no such version, or the
    agent did not apply it, 2 the version is refused by what is checked today, or usage is wrong.""",
)
@click.argument("version", required=False)
@place_options
@change_options
@dry_run_option
@json_option
def rollback(
    version: str | None,
    config: str | None,
    host: str | None,
    group: str | None,
    comment: str | None,
    wait_s: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Put VERSION of the history in force again; without it, what was in force before the latest change.

    That is a change like any other: it is checked, gets a version of its own and can be rolled back.
    """
    desk = open_desk(config, host, group)
    _check_wait(desk, wait_s)
    state = desk.read()
    name, old = edits.earlier(state, version)
    if old is not None:
        desk.check(old, f"version {name}", as_json=as_json)
    job = _Job(desk, author(comment, f"rollback to {name}"), dry_run=dry_run, as_json=as_json, wait_s=wait_s)
    return job.replace(state, old)


@click.command(
    short_help="Change a document in your editor.",
    epilog="""Example: EDITOR=nano logagent services edit --group web

    Exit codes: 0 the document is in force or was not changed, 1 you declined, Etcd failed, or the agent did not apply
    it, 2 the document, the configuration or usage is wrong and nothing was written.""",
)
@place_options
@change_options
@click.option("--yes", is_flag=True, help="Write without asking; a fault or a conflict ends it.")
def edit(
    config: str | None,
    host: str | None,
    group: str | None,
    comment: str | None,
    wait_s: float | None,
    yes: bool,
) -> int:
    """Open a document in $VISUAL, $EDITOR or vi; check it, show what changes, ask, and put it in place.

    If somebody else changes it meanwhile, you are told who, and can look at their change and go on from it. What you
    wrote is not lost: its file is named whenever it was not put in place.
    """
    if not yes and not on_terminal():
        raise wrong("--yes", "", "it is missing and there is no terminal to ask")
    desk = open_desk(config, host, group)
    _check_wait(desk, wait_s)
    job = _Job(desk, author(comment), wait_s=wait_s)
    state = desk.read()
    before = "[]" if state.value is None else differences.pretty(state.value)
    with Draft(before + "\n") as draft:
        draft.open()
        while True:
            new = _checked(desk, draft, yes=yes)
            if differences.same(state.value, new) or (state.value is None and draft.unchanged):
                draft.done()
                click.echo(f"Nothing changed in {printable(desk.place.key)}.")
                return Exit.OK
            print_changes(state.value, new)
            print_unified(state.value, new, desk.place.key, "edited")
            if not yes and not click.confirm("Put this in place?", default=True):
                click.echo("Nothing was written.")
                return Exit.FAILED
            try:
                return job.write(state, new, before_wait=draft.done)
            except EditConflict as error:
                if yes:
                    raise
                state = _after_conflict(desk, state, error)
                draft.open()


def _checked(desk: Desk, draft: Draft, *, yes: bool) -> bytes:
    """What was written, once it has no fault."""
    while True:
        new = draft.read()
        try:
            desk.check(new, str(draft.path))
            return new
        except ConfigError as error:
            if yes:
                raise
            for fault in error.faults:
                click.echo(printable(str(fault)), err=True)
            if not click.confirm("Edit again?", default=True):
                raise ConfigError(error.faults) from None
            draft.open()


def _after_conflict(desk: Desk, state: State, error: EditConflict) -> State:
    """Tell, show theirs if wanted, and take it as what the next attempt replaces."""
    click.echo(f"{printable(str(error))}.", err=True)
    now = desk.read()
    if click.confirm("Show their change?", default=True):
        print_changes(state.value, now.value)
        print_unified(state.value, now.value, "read before", "now")
    click.confirm("Edit yours again, to be put in the place of theirs?", default=True, abort=True)
    return now


def _check_wait(desk: Desk, wait_s: float | None) -> None:
    if wait_s is not None and desk.host is None:
        raise wrong("--wait", f"{wait_s:g}", "expected it with a host, not with --group")


class _Job:
    """One change, from what was read to what is said about it."""

    def __init__(
        self,
        desk: Desk,
        who: Author,
        *,
        wait_s: float | None,
        dry_run: bool = False,
        as_json: bool = False,
    ) -> None:
        self._desk = desk
        self._who = who
        self._dry_run = dry_run
        self._as_json = as_json
        self._wait_s = wait_s

    def replace(self, state: State, new: bytes | None) -> int:
        """Put it in the place of what was read, unless it says the same."""
        if differences.same(state.value, new):
            return self._unchanged(state, "says the same already")
        return self._would(state, new) if self._dry_run else self.write(state, new)

    def seed(self, state: State, new: bytes) -> int:
        """Put it there if nothing is."""
        if state.current is None and self._dry_run:
            return self._would(state, new)
        if state.current is None:
            try:
                written = self._desk.write(state, new, self._who)
            except EditConflict:
                state = self._desk.read()
            else:
                return self._written(state, new, written)
        return self._unchanged(state, "exists already")

    def enforce(self, new: bytes) -> int:
        """Put it there until it says the same, whoever else writes."""
        attempt = 0
        while True:
            state = self._desk.read()
            if differences.same(state.value, new):
                return self._unchanged(state, "says the same already")
            if self._dry_run:
                return self._would(state, new)
            try:
                written = self._desk.write(state, new, self._who)
            except (EditConflict, OutcomeUnknown):
                # To repeat is safe: both attempts replace the same revision, so at most one of them does.
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                pause(AGAIN.delay_s(attempt))
            else:
                return self._written(state, new, written)

    def write(self, state: State, new: bytes | None, before_wait: Callable[[], None] | None = None) -> int:
        """Put it in the place of what was read."""
        written = self._desk.write(state, new, self._who)
        if before_wait is not None:
            before_wait()
        return self._written(state, new, written)

    def _would(self, state: State, new: bytes | None) -> int:
        if self._as_json:
            self._tell(Written(state.revision, None), state.value, new, changed=True)
            return Exit.OK
        key = self._desk.place.key
        print_changes(state.value, new)
        print_unified(state.value, new, key, "as it would be")
        click.echo(f"Nothing was written; without --dry-run this would change {printable(key)}.")
        return Exit.OK

    def _unchanged(self, state: State, why: str) -> int:
        key = self._desk.place.key
        if not self._as_json:
            click.echo(f"{printable(key)} {why} (revision {state.revision}); nothing was written.")
        written = Written(state.revision, state.records[0].version if state.recorded else None)
        return self._finish(written, state.value, state.value, changed=False)

    def _written(self, state: State, new: bytes | None, written: Written) -> int:
        if not self._as_json:
            print_changes(state.value, new)
            what = "Deleted" if new is None else "Wrote"
            key = printable(self._desk.place.key)
            click.echo(f"{what} {key}: revision {written.revision}, version {written.version}.")
        return self._finish(written, state.value, new, changed=True)

    def _finish(self, written: Written, old: bytes | None, new: bytes | None, *, changed: bool) -> int:
        waited: dict[str, Any] = {}
        refusal: NotApplied | None = None
        if self._wait_s is not None and not self._dry_run:
            try:
                wait_applied(self._desk, written.revision, new, self._wait_s)
            except NotApplied as error:
                refusal = error
            waited = {"applied": refusal is None, "reason": refusal and str(refusal)}
        if self._as_json:
            self._tell(written, old, new, changed=changed, **waited)
        if refusal is not None:
            raise refusal
        if waited and not self._as_json:
            click.echo(f"The agent of {printable(str(self._desk.host))} applied it.")
        return Exit.OK

    def _tell(self, written: Written, old: bytes | None, new: bytes | None, **fields: Any) -> None:
        key = self._desk.place.key
        print_json(
            **fields,
            dry_run=self._dry_run,
            key=key,
            revision=written.revision,
            version=written.version,
            changes=changes_json(old, new),
            diff=unified(old, new, key, "as it would be" if self._dry_run else "as written"),
        )


def pause(seconds: float) -> None:
    """Let others write."""
    time.sleep(seconds)
