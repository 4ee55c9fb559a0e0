# SPDX-License-Identifier: Apache-2.0
"""A file was emptied: its generation goes on in a copy if there is one, and what it holds now is another generation."""

from logagent.clock import MonotonicClock
from logagent.ops.events import Events
from logagent.sources import resume
from logagent.sources.copies import Copies
from logagent.sources.intake import Beginning
from logagent.sources.missed import Missed
from logagent.sources.opening import Opened
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
        emptied = Opened(file.descriptor, file.key, file.identity, file.real_path, size_bytes)
        current = generations.is_current(file)
        last = generations.before(file.service, file.path) is file
        path, left_path_s = file.path, file.left_path_s
        state.files.pop(file, None)
        shelf.watches.forget(file)
        lives_on = self._live_on(state, file)
        successor = shelf.put(state, path, emptied, Beginning(0, b"", file.label))
        for other in state.files:
            if other.predecessor is file:
                other.predecessor = successor
        if lives_on:
            successor.predecessor = self._between(state, file, path, successor)
        else:
            # Whoever waits for the old bytes waits for what is left of the file.
            successor.caught_up = file.caught_up
        if current:
            generations.arrive(successor)
        else:
            successor.left_path_s = left_path_s
        if last:
            generations.leave(successor)
        shelf.feeder.wake(successor)

    def _between(self, state: EntryFiles, file: TailedFile, path: bytes, successor: TailedFile) -> TailedFile:
        """The last generation before the successor: the file was perhaps copied and emptied more than once."""
        generations = self._missed.adopt(state, path, file.label, file.found_at_s, successor.descriptor)
        before = file
        for one in generations:
            one.predecessor, before = before, one
        return before

    def _live_on(self, state: EntryFiles, file: TailedFile) -> bool:
        """The generation goes on in its copy, if there is one; what is lost is counted."""
        shelf = self._shelf
        held = self._copies.held_for(state, file)
        if held is not None and held.size_bytes() < file.read_offset:
            # All of the copy was delivered before the original was emptied.
            held.skip_to(held.size_bytes(), resume.tail_at(held.descriptor, held.size_bytes()))
            held.originals, held.may_be_copy = [], False
            shelf.book.touch(held)
            self._retire(file, lost_bytes=0)
            return False
        opened = self._copies.find(file, shelf.files) if held is None else shelf.take(held)
        if opened is None:
            self._retire(file, lost_bytes=max(0, file.seen_bytes - file.read_offset))
            return False
        shelf.book.move((file.service, file.identity), (file.service, opened.identity))
        shelf.generations.drop(file)
        file.live_on(opened)
        file.left_path_s = self._clock()
        if held is not None:
            file.path, file.left_path_s = held.path, None
            shelf.generations.arrive(file)
        shelf.put_back(state, file)
        self._events.file_copied(
            service=file.service,
            path=file.label,
            copy=opened.real_path,
            unread_bytes=opened.size_bytes - file.read_offset,
        )
        shelf.feeder.wake(file)
        return True

    def _retire(self, file: TailedFile, lost_bytes: int) -> None:
        file.retired = True  # late acknowledgements of the old bytes must not move the new position
        self._shelf.book.forget_marks(file.service, file.identity)
        if lost_bytes:
            self._events.bytes_lost(
                service=file.service, path=file.label, lost_bytes=lost_bytes, reason="truncated"
            )
