# SPDX-License-Identifier: Apache-2.0
"""A file was emptied: its generation goes on in a copy if there is one, and what it holds now is another generation."""

import os

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.sources import resume
from logagent.sources.copies import Copies, Kin, is_start_of
from logagent.sources.identity import HEAD_BYTES
from logagent.sources.intake import Beginning
from logagent.sources.missed import Missed
from logagent.sources.opening import Opened
from logagent.sources.rotation import Kinship
from logagent.sources.shelf import Shelf
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles


class Emptied:
    """What happens to files that lost bytes that had been read or seen."""

    def __init__(
        self, shelf: Shelf, copies: Copies, missed: Missed, events: Events, clock: MonotonicClock
    ) -> None:
        self._shelf = shelf
        self._copies = copies
        self._missed = missed
        self._events = events
        self._clock = clock

    def happened(self, file: TailedFile, size_bytes: int) -> None:
        """From now on the file is another generation, read from its beginning, after the rest of the one before."""
        self._events.file_truncated(
            service=file.service, path=file.label, position=file.read_offset, size=size_bytes
        )
        shelf, generations = self._shelf, self._shelf.generations
        state = shelf.entry_of(file)
        if state is None:
            return
        kin = self._copies.kin_of(state, file, shelf.files)
        emptied = Opened(file.descriptor, file.key, file.identity, file.real_path, size_bytes)
        current = generations.is_current(file)
        last_at = generations.comes_last_at(file)
        path, left_path_s = file.path, file.left_path_s
        state.files.pop(file, None)
        shelf.watches.forget(file)
        waited_for, followers = file.predecessor, [one for one in state.files if one.predecessor is file]
        lives_on = self._live_on(state, file, kin)
        successor = shelf.put(state, path, emptied, Beginning(0, b"", file.label))
        # It was emptied before it was last written; what lies beside it may be younger, and older than this look.
        successor.found_at_s = min(successor.found_at_s, os.fstat(emptied.descriptor).st_mtime)
        for other in followers:
            other.predecessor = successor
        for other in state.files:
            if other.originals and file in other.originals:
                # Of the generation that is gone it is no copy; it may be one of what the file holds now.
                other.originals = [successor if one is file else one for one in other.originals]
        if lives_on and not (waited_for is not None and waited_for.waits_for(file)):
            waited_for = file
        self._missed.adopt_before(state, successor, waited_for, file.found_at_s)
        if not lives_on:
            # Whoever waits for the old bytes waits for what is left of the file.
            successor.caught_up = file.caught_up
        successor.beside = True
        if current:
            generations.arrive(successor)
        else:
            successor.left_path_s = left_path_s
        for last in last_at:
            generations.comes_before(successor, last)
        shelf.feeder.wake(successor)

    def _live_on(self, state: EntryFiles, file: TailedFile, kin: list[Kin]) -> bool:
        """The generation goes on in its copy, if there is one; what is lost is counted."""
        rests = [one for one in kin if one.kinship is Kinship.REST]
        rest = max(rests, key=lambda one: (one.opened.size_bytes, one.modified_ns), default=None)
        first = kin[0] if kin else None
        for one in kin:
            if one is rest:
                continue
            if rest is not None:
                done = is_start_of(one.opened, rest.opened)
            else:
                # Of files with a few bytes others may begin alike: the copy is the oldest one.
                done = one is first or one.opened.size_bytes >= HEAD_BYTES
            self._leave_out(state, one, done)
        if rest is None:
            self._retire(file, lost_bytes=max(0, file.seen_bytes - file.read_offset))
            return False
        self._go_on_in(state, file, rest)
        return True

    def _leave_out(self, state: EntryFiles, one: Kin, done: bool) -> None:
        """A copy that is not needed: if it is `done`, all of it was, or will be, read elsewhere."""
        opened, size_bytes = one.opened, one.opened.size_bytes
        if not done:
            if one.held is None:
                os.close(opened.descriptor)
            return
        tail = resume.tail_at(opened.descriptor, size_bytes)
        file = one.held
        if file is None:
            file = self._shelf.put(state, one.path, opened, Beginning(size_bytes, tail, one.path))
            file.left_path_s = self._clock()  # until it is found there, if it is named
        else:
            file.skip_to(size_bytes, tail)
            file.originals, file.may_be_copy = [], False
            self._shelf.book.touch(file)
        self._shelf.feeder.wake(file)

    def _go_on_in(self, state: EntryFiles, file: TailedFile, copy: Kin) -> None:
        shelf, held = self._shelf, copy.held
        at_path = held is not None and shelf.generations.is_current(held)
        opened = copy.opened if held is None else shelf.take(held)
        shelf.book.move((file.service, file.identity), (file.service, opened.identity))
        shelf.generations.drop(file)
        file.live_on(opened)
        file.left_path_s = self._clock()
        if held is not None:
            file.path = held.path
            if at_path:
                file.left_path_s = None
                shelf.generations.arrive(file)
            if file.waits_for(held):
                # Taken for what it holds now, it was put behind what it held before.
                file.predecessor = held.predecessor
            for other in state.files:
                if other.predecessor is held:
                    other.predecessor = file
        shelf.put_back(state, file)
        self._events.file_copied(
            service=file.service,
            path=file.label,
            copy=opened.real_path,
            unread_bytes=opened.size_bytes - file.read_offset,
        )
        shelf.feeder.wake(file)

    def _retire(self, file: TailedFile, lost_bytes: int) -> None:
        self._shelf.generations.drop(file)
        file.retired = True  # late acknowledgements of the old bytes must not move the new position
        self._shelf.book.forget_marks(file.service, file.identity)
        if lost_bytes:
            self._events.bytes_lost(
                service=file.service, path=file.label, lost_bytes=lost_bytes, reason="truncated"
            )
