# SPDX-License-Identifier: Apache-2.0
"""Keeps the files of all entries: finds them, notices where they went, and starts a greenlet for each that has work."""

import os
from collections.abc import Callable, Iterable

import gevent

from logagent.clock import MonotonicClock
from logagent.config.services import Entry
from logagent.errors import FileCompressed, FileRefused
from logagent.ops.events import Events
from logagent.pipeline.render import HeaderEncoder
from logagent.sources import ignored, line_reader, rotation
from logagent.sources.collector_settings import CollectorSettings
from logagent.sources.copies import Copies, original_names
from logagent.sources.deleted import DeletedFiles
from logagent.sources.discovery import Pattern
from logagent.sources.emptied import Emptied
from logagent.sources.feeder import Feeder
from logagent.sources.first_look import FirstLook
from logagent.sources.identity import HEAD_BYTES
from logagent.sources.intake import Intake
from logagent.sources.missed import Missed
from logagent.sources.off_time import OffTime
from logagent.sources.opening import Opened, key_of, open_if_log, open_log
from logagent.sources.parking import Parking
from logagent.sources.progress import Progress
from logagent.sources.recall import Recall
from logagent.sources.rotation import Fate, FileKey
from logagent.sources.scanner import Scanner
from logagent.sources.shelf import Shelf
from logagent.sources.sweeper import Sweeper
from logagent.sources.tailed_file import ServiceCounts, TailedFile
from logagent.sources.watches import EntryFiles, Watches
from logagent.spawn import Spawner
from logagent.state.positions import PositionBook


class Collector:
    """Owns every `TailedFile`. All methods run in the hub's thread."""

    def __init__(
        self,
        settings: CollectorSettings,
        book: PositionBook,
        feeder: Feeder,
        *,
        counts_of: Callable[[str], ServiceCounts],
        encode_headers: HeaderEncoder,
        spawner: Spawner,
        events: Events,
        clock: MonotonicClock,
    ) -> None:
        self.settings = settings
        self._book = book
        self._feeder = feeder
        self._spawner, self._events, self._clock = spawner, events, clock
        self._shelf = Shelf(book, feeder, events)
        self.entries, self.files = self._shelf.entries, self._shelf.files
        self._generations = self._shelf.generations
        self.recall = Recall(book, self._open_again, feeder.wake, encode_headers)
        self._intake = self._shelf.intake = Intake(
            settings.host_id,
            book,
            start_at=lambda: self.settings.start_at,
            limits=lambda: self.settings.limits,
            counts_of=counts_of,
            recall=self.recall,
            on_acked=self._shelf.on_acked,
            on_rewind=feeder.wake,
            events=events,
            clock=clock,
        )
        self._sweeper = Sweeper(
            self.entries,
            rescan_s=lambda: self.settings.rescan_s,
            scan=lambda state: self._scanner.scan(state),
            check=lambda state: self._scanner.check(state),
            look=self._look,
            look_at=feeder.look,
            spawner=spawner,
            events=events,
            clock=clock,
        )
        self._watches = self._shelf.watches = self._build_watches()
        self._parking = Parking(
            self._shelf, lambda: self.settings.max_files, self._sweeper.rescan_soon, events, clock
        )
        self._missed = Missed(self._shelf, lambda: self.settings.refusal, clock)
        self.deleted = DeletedFiles(self._shelf, lambda: self.settings.deleted, events, clock)
        self._progress = Progress(lambda: list(self.files.values()), feeder.wake, events, clock)
        self._scanner = self._build_scanner()
        copies = self._build_copies()
        self._no_copy = copies.may_read
        self.truncated = Emptied(self._shelf, copies, self._missed, events, clock).happened
        self._greenlets: list[gevent.Greenlet] = []

    def _build_watches(self) -> Watches:
        return Watches(
            self.entries,
            on_modified=self._written,
            on_path=self._told,
            on_beside=lambda state, path: self._missed.came_up(state, path),
            on_rescan=self._sweeper.rescan_soon,
            on_overflow=self._sweeper.overflow,
            original_names=original_names,
            is_polled=self._is_polled,
            events=self._events,
        )

    def _build_scanner(self) -> Scanner:
        off_time = OffTime(
            self._shelf,
            self._missed,
            refusal=lambda: self.settings.refusal,
            scratch=self.settings.scratch,
            events=self._events,
            clock=self._clock,
        )
        self._first_look = FirstLook(self._shelf, self._missed, off_time, self._sweeper.rescan_soon)
        return Scanner(
            self._shelf,
            off_time,
            self._first_look,
            check=self._check,
            refuse=self._refuse,
            on_more=self._sweeper.rescan_soon,
            events=self._events,
            clock=self._clock,
        )

    def _build_copies(self) -> Copies:
        return Copies(
            self.entries,
            at=self._generations.all,
            wake=self._feeder.wake,
            was_read=lambda service, identity: self._book.find(service, identity) is not None,
            refusal=lambda: self.settings.refusal,
            copy_wait_s=lambda: self.settings.copy_wait_s,
            clock=self._clock,
        )

    def _look(self) -> None:
        """What the sweep does after it has looked for names."""
        self._feeder.look(self.files.values())
        self.deleted.look()
        self._progress.look()

    def _is_polled(self, directory: bytes) -> bool:
        path = os.fsdecode(directory)
        return any(path == one or path.startswith(one.rstrip("/") + "/") for one in self.settings.polled)

    def reasons(self) -> list[str]:
        """What is wrong with files as a whole, a sentence each."""
        return self.deleted.reasons

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start watching and sweeping."""
        self._greenlets = [
            self._spawner.forever("files-watch", self._watches.run),
            self._spawner.forever("files-read", self._feeder.run),
            self._spawner.forever("files-sweep", self._sweeper.run),
        ]

    def stop(self) -> None:
        """Stop reading. Acknowledgements still move positions."""
        self._scanner.stop()
        gevent.killall(self._greenlets)
        self._feeder.stop(self.files.values())
        self._watches.close()

    def start_entry(self, entry: Entry) -> None:
        """Begin to read what the entry names."""
        self.start_entries([entry])

    def start_entries(self, entries: Iterable[Entry]) -> None:
        """Begin to read what the entries name. Others have their turns meanwhile; a stop ends it."""
        added = []
        for entry in entries:
            state = EntryFiles(entry, Pattern.of(entry))
            state.known_before = self._book.knows_entry(entry.service, entry.log_path)
            self.entries[entry.id] = state
            added.append(state)
        self._scanner.scan_new(added)

    def reload(self, settings: CollectorSettings) -> None:
        """Other settings: lines that are read from now on are made records by these."""
        before, self.settings = self.settings, settings
        if before.limits != settings.limits:
            self._shelf.render_again()

    def change_entry(self, entry: Entry) -> None:
        """Topic or form of messages changed: from the next line read on, nothing is closed or read again."""
        state = self.entries[entry.id]
        before, state.entry = state.entry, entry
        if before.exclude != entry.exclude:
            state.pattern = Pattern.of(entry)
        for file in list(state.files):
            file.render = self._intake.render(entry, file.label)
            if before.topic != entry.topic:
                file.route = self._intake.route(entry, file.label)
            if state.pattern.excludes_path(file.path):
                self._shelf.drop(file)
            else:
                file.read_as(line_reader.of(entry))
                self._feeder.wake(file)
        self._sweeper.rescan_soon(state)  # other paths may be excluded, other ages ignored

    def stop_entries(self, entry_ids: Iterable[tuple[str, str]]) -> None:
        """Stop reading what the entries name; their positions stay."""
        services = set()
        for entry_id in entry_ids:
            state = self.entries.pop(entry_id)
            services.add(state.entry.service)
            for file in list(state.files):
                self._shelf.drop(file)
            self._watches.uncover(state)
            self._scanner.rest()
        self._sweeper.rescan_services(services)  # a file that another entry names too is its now

    def stop_entry(self, entry_id: tuple[str, str]) -> None:
        """The same for one."""
        self.stop_entries([entry_id])

    def _told(self, state: EntryFiles, path: bytes) -> None:
        """Something happened at a path that an entry names; only the greenlet of the watches says so."""
        if self.entries.get(state.entry.id) is not state:
            return
        if state.scanned:
            self._check(state, path)
        else:
            self._sweeper.rescan_soon(state)  # what was there before comes first
        self._scanner.rest()

    def _check(self, state: EntryFiles, path: bytes) -> None:
        """Compare what lies at a path with what was known of it."""
        service = state.entry.service
        try:
            key = key_of(path)
        except OSError as error:
            # Cannot look is not gone: whatever is open stays open.
            self._refuse(state, path, f"it cannot be looked at: {error.strerror}")
            return
        held = self._generations.at(service, path)
        if held is not None:
            fate = rotation.fate(held.key, key)
            if fate is Fate.SAME:
                state.refused.pop(path, None)
                return
            if fate is Fate.GONE:
                self._leave(held)
                return
        if key is None:
            state.refused.pop(path, None)
            self._parking.left(state, path)
            return
        known = self.files.get((service, key))
        if known is not None:
            self._moved(known, held, path)
        elif held is None or held.log_path == state.entry.log_path:
            self._open(state, path, held)

    def _moved(self, file: TailedFile, held: TailedFile | None, path: bytes) -> None:
        """A file that is being read shows up at another path."""
        if self._generations.is_current(file) and self._safe_key(file.path) == file.key:
            return  # a second name (link) of the same file; one is enough
        if held is not None:
            self._leave(held)
        self._generations.leave(file)
        self._watches.forget(file)
        file.path = path
        file.left_path_s = None
        file.real_path = os.path.realpath(path)
        self._generations.arrive(file)
        self._watches.remember(file)
        self._feeder.wake(file)

    def _leave(self, file: TailedFile) -> None:
        """The file is not at its path any more: drain it, wait for late writes, let it go."""
        if file.stands():
            self._missed.look_beside(file)
        self._generations.leave(file)
        file.left_path_s = self._clock()
        self._events.file_rotated(
            service=file.service, path=file.label, unread_bytes=max(0, file.size_bytes() - file.read_offset)
        )
        self._feeder.wake(file)

    def _open(self, state: EntryFiles, path: bytes, held: TailedFile | None, *, again: bool = False) -> None:
        """A file that was not known lies at a path that is named; `again`: whether there is room or not."""
        if ignored.still(state, path) or self._parking.still(state, path):
            return
        if not (again or self._parking.make_room(state)):
            return
        try:
            opened = open_log(path, self.settings.refusal)
        except FileNotFoundError:
            return
        except FileRefused as error:
            self._refuse(state, path, str(error), compressed=isinstance(error, FileCompressed))
            return
        service = state.entry.service
        if (service, opened.key) in self.files or self._first_look.waits(state, path, opened):
            os.close(opened.descriptor)
            return
        for original in self._parking.may_be_copied(state, path):
            self._open(state, original, None, again=True)
        if held is not None:
            self._leave(held)
        file = self._begin(state, path, opened)
        if file is None:
            return
        self._missed.adopt_last(state, path, file)
        file.predecessor = self._predecessor(file)
        file.may_be_copy = not file.read_offset
        self._generations.arrive(file)
        self._feeder.wake(file)

    def _begin(self, state: EntryFiles, path: bytes, opened: Opened) -> TailedFile | None:
        try:
            if self._intake.ignores(state, path, opened):
                os.close(opened.descriptor)
                return None
            beginning = self._intake.begin(state, path, opened)
            if (state.entry.service, opened.key) in self.files:
                os.close(opened.descriptor)  # somebody else found it meanwhile
                return None
            if state.refused.pop(path, None) is not None:
                self._events.file_readable_again(service=state.entry.service, path=path)
            return self._shelf.put(state, path, opened, beginning)
        except OSError as error:
            os.close(opened.descriptor)
            self._refuse(state, path, f"it cannot be read: {error.strerror}")
            return None

    def _open_again(self, path: bytes) -> Opened | None:
        return open_if_log(path, self.settings.refusal)

    def _predecessor(self, file: TailedFile) -> TailedFile | None:
        """The generation that was at this path before, while it is not read to its end."""
        before = self._generations.take_before(file)
        if before is None:
            return None
        before.caught_up.clear()
        self._feeder.wake(before)
        return before

    def may_read(self, file: TailedFile) -> bool:
        """Whether the file is certainly no copy, and nothing comes before it. Raises OSError."""
        self._missed.look_beside(file)
        return not file.may_be_copy or self._no_copy(file)

    def finished(self, file: TailedFile) -> None:
        """All of a file that left its path is acknowledged and nothing was added for a while."""
        self._events.file_closed(
            service=file.service, path=file.label, reason="it was rotated away and is done"
        )
        self._shelf.drop(file)
        if file.unpacked:
            self._book.forget(file.service, file.identity)

    def _refuse(self, state: EntryFiles, path: bytes, reason: str, *, compressed: bool = False) -> None:
        if state.refused.get(path) == reason:
            return
        state.refused[path] = reason
        if compressed:
            self._events.file_compressed(service=state.entry.service, path=path)
        else:
            self._events.file_refused(service=state.entry.service, path=path, reason=reason)

    @staticmethod
    def _safe_key(path: bytes) -> FileKey | None:
        try:
            return key_of(path)
        except OSError:
            return None

    def _written(self, file: TailedFile) -> None:
        if file.tailing and file.head.size_bytes < HEAD_BYTES:
            # It may wait for long, and be emptied meanwhile: by its head its copy will be known.
            try:
                file.grow_head()
            except OSError:
                return  # whoever reads it will tell
        self._feeder.written(file)
