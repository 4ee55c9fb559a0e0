# SPDX-License-Identifier: Apache-2.0
"""Every file that is read, by identity and by path; a file comes onto the shelf and goes from it only here."""

from logagent.ops.events import Events
from logagent.sources.feeder import Feeder
from logagent.sources.generations import Generations
from logagent.sources.intake import Beginning, Intake
from logagent.sources.opening import Opened
from logagent.sources.rotation import FileKey
from logagent.sources.tailed_file import TailedFile
from logagent.sources.watches import EntryFiles, Watches
from logagent.state.positions import PositionBook

TOLD_ONE_BY_ONE = 100
"""Of a scan; a log of ten thousand sentences tells nobody anything, and writing it takes longer than opening files."""


class Shelf:
    """`entries` by (service, log_path), `files` by (service, key)."""

    intake: Intake
    watches: Watches

    def __init__(self, book: PositionBook, feeder: Feeder, events: Events) -> None:
        self.entries: dict[tuple[str, str], EntryFiles] = {}
        self.files: dict[tuple[str, FileKey], TailedFile] = {}
        self.generations = Generations()
        self.book = book
        self.feeder = feeder
        self._events = events
        self._draining: dict[tuple[str, FileKey], TailedFile] = {}

    def entry_of(self, file: TailedFile) -> EntryFiles | None:
        """The entry through which a file was found; None when it is not read any more."""
        return self.entries.get((file.service, file.log_path))

    def put(self, state: EntryFiles, path: bytes, opened: Opened, beginning: Beginning) -> TailedFile:
        """An opened file is to be read. Raises OSError, and the descriptor is still the caller's."""
        file = self.intake.make(state.entry, path, opened, beginning)
        before = self._draining.pop((file.service, file.key), None)
        if before is not None and before.is_same_as(file):
            before.bequeath(file)
        self.put_back(state, file)
        state.found_count += 1
        tell = (
            self._events.file_found if state.found_count <= TOLD_ONE_BY_ONE else self._events.file_found_too
        )
        tell(service=file.service, path=path, offset=beginning.offset, size=opened.size_bytes)
        return file

    def count_found(self, state: EntryFiles) -> None:
        """A scan begins or is over: tell how many files were found that were not told one by one."""
        if state.found_count > TOLD_ONE_BY_ONE:
            self._events.files_found(
                service=state.entry.service,
                log_path=state.entry.log_path,
                files=state.found_count - TOLD_ONE_BY_ONE,
            )
        state.found_count = 0

    def put_back(self, state: EntryFiles, file: TailedFile) -> None:
        """The file goes on under another key."""
        self.files[file.service, file.key] = file
        state.files[file] = None
        self.watches.remember(file)
        self.book.touch(file)

    def render_again(self) -> None:
        """Settings changed that make records of lines."""
        for file in self.files.values():
            state = self.entry_of(file)
            if state is not None:
                file.render = self.intake.render(state.entry, file.label)

    def drop(self, file: TailedFile) -> None:
        """Read the file no more; what is on its way still moves its position."""
        self._take_off(file)
        if file.acks.pending:
            self._draining[file.service, file.key] = file
        self.feeder.release(file)
        file.close()

    def take(self, file: TailedFile) -> Opened:
        """What was opened for a file of which nothing was read; the file itself is no more."""
        self._take_off(file)
        # Its greenlet ends by itself: while this one waited for that, others could find the file anew.
        file.retired = True
        return Opened(file.descriptor, file.key, file.identity, file.real_path, file.size_bytes())

    def on_acked(self, file: TailedFile) -> None:
        """Something of a file is acknowledged."""
        if file.closed and not file.acks.pending and self._draining.get((file.service, file.key)) is file:
            del self._draining[file.service, file.key]
        successor = self.files.get((file.service, file.key))
        # A file that was dropped and is read again, however often, has its position noted by its last heir.
        if not file.retired and (successor is None or successor is file.holder):
            self.book.touch(file.holder)

    def _take_off(self, file: TailedFile) -> None:
        self.files.pop((file.service, file.key), None)
        state = self.entry_of(file)
        if state is not None:
            state.files.pop(file, None)
        self.generations.drop(file)
        self.watches.forget(file)
