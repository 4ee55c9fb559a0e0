# SPDX-License-Identifier: Apache-2.0
"""Lives of log files against the real collector, tailer and positions in SQLite on a real directory.

What may be lost by construction is not done: nobody deletes what was not read, and what logrotate itself throws away
(lines between copy and truncation) may come or not.
"""

import gzip
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from logagent.sources import reader, sweeper, tailer
from logagent.sources.identity import HEAD_BYTES, Head
from logagent.sources.tailed_file import TailedFile
from logagent.state.database import Database
from tests.model.record import OFF, Record
from tests.unit.sources.twins import Bench, settle, until

LINK = "current"
LOGS = ("a.log", "b.log", LINK)
ENDS = (b"\n", b"\n", b"\r\n", b"\n\n", b"\n  \n")


def hurry(put: Callable[[object, str, object], None]) -> None:
    """Small reads and short pauses; `put(module, name, value)` sets them."""
    put(reader, "READ_BYTES", 60)
    put(tailer, "COALESCE_S", 0.001)
    put(tailer, "ROTATED_POLL_S", 0.002)
    put(tailer, "LOOK_AGAIN_S", 0.004)
    put(sweeper, "RESCAN_DELAY_S", 0.001)


class Life(Record):
    """Log files of one service that are written, rotated and deleted in every way while the agent comes and goes."""

    def __init__(self, place: Path, pattern: str, chance: random.Random) -> None:
        super().__init__()
        self.place = place / "logs"
        self.place.mkdir()
        self.pattern = pattern
        self.chance = chance
        self.database = Database(place / "state.db")
        self.halves: dict[Path, bytes] = {}
        self.rotated: list[Path] = []
        self.names: list[Path] = []
        self.number = self.files = 0
        self.deleted = False
        self.switch()
        self.bench = self._start()

    # -- writers ------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        path = self._some_log()
        data = b""
        for _ in range(self.chance.choice([1, 1, 2, 30])):
            data += self.halves.pop(path, b"") + self._line(path) + self.chance.choice(ENDS)
        self._append(path, data)

    def write_half(self) -> None:
        """The first part of a line; `write` goes on with what would be its rest."""
        path = self._some_log()
        if path not in self.halves:
            self._append(path, self._line(path))
            self.halves[path] = b"\n"

    def write_late(self) -> None:
        """A writer that has not noticed the rotation; in time."""
        if self.rotated and self._seen(self.rotated[-1]):
            path = self.rotated[-1]
            self.late = True
            self._append(path, self.halves.pop(path, b"") + self._line(path) + b"\n")

    # -- rotation -----------------------------------------------------------------------------------------------------

    def rotate(self) -> None:
        path = self._some_log()
        if self._seen(path) and path.name != LINK and (self.bench.running or self._is_known(path)):
            old = self._new_name(path)
            path.rename(old)
            self._renamed(path, old)
            self.rotated.append(old)

    def copytruncate(self) -> None:
        """With lines that nobody keeps, now and then."""
        path = self._some_log()
        if not self._seen(path) or path in self.halves or not path.stat().st_size:
            return
        if path.stat().st_nlink > 1 or not (self.bench.running or self._is_known(path)):
            return
        discards = self.chance.random() < 0.3 and self.bench.running
        if discards:
            self.quiet()
        copy = self._new_name(path)
        shutil.copyfile(path, copy)
        self._turn()
        lines, late = list(self.lines[path]), []
        if discards:
            late = [self._line(path) for _ in range(3)]
            self._append(path, b"".join(line + b"\n" for line in late))
            self.optional |= set(late)
            until(lambda: set(late) <= set(self.bench.outlet.lines()), "they are read in time")
        seen = len(self.bench.told.of("file_truncated"))
        os.truncate(path, 0)
        if late:
            # A short copy is known by the file that was emptied, as long as the agent runs.
            until(lambda: len(self.bench.told.of("file_truncated")) > seen, "it is seen that it was emptied")
            self.save()
        self.lines[copy] = lines
        self._anew(path)

    def empty_and_grow(self) -> None:
        """After everything was read; the agent may see nothing but that it holds something else."""
        path = self._some_log()
        if path in self.halves or not self._seen(path):
            return
        self.quiet()
        os.truncate(path, 0)
        self._anew(path)
        if self.chance.random() < 0.7:
            for _ in range(self.chance.choice([1, 5, 40])):
                self._append(path, self._line(path) + b"\n")

    def delete(self) -> None:
        path = self._some_log()
        if path not in self.halves and self._seen(path) and path.name != LINK:
            path.unlink()
            self.lines.pop(path)
            self.deleted = True
            if self.chance.random() < 0.5:
                self._append(path, self._line(path) + b"\n")

    def link(self) -> None:
        """A second name for a log."""
        self.quiet()
        path = self._some_log()
        if self._seen(path) and path.name != LINK:
            self.files += 1
            name = path.with_name(f"h{self.files}.log")
            os.link(path, name)
            self.names.append(name)
            self.linked = True

    def unlink(self) -> None:
        if self.names:
            self.names.pop().unlink()

    def switch(self) -> None:
        """The link leads to a new file."""
        link = self.place / LINK
        if link.exists():
            if not self._seen(link) or link in self.halves:
                return
            old = link.resolve()
            self.lines[old] = self.lines.pop(link)
        self.files += 1
        target = self.place / f"target-{self.files}.txt"
        target.touch()
        draft = self.place / "draft"
        draft.symlink_to(target)
        draft.rename(link)
        self._anew(link)

    # -- the agent ----------------------------------------------------------------------------------------------------

    def block(self) -> None:
        self.bench.outlet.block()

    def unblock(self) -> None:
        self.bench.outlet.unblock()

    def hold(self) -> None:
        self.bench.outlet.holding = not self.bench.outlet.holding

    def acknowledge_some(self) -> None:
        open_ = self.bench.outlet.open
        self.bench.outlet.acknowledge(self.chance.sample(open_, self.chance.randint(0, len(open_))))

    def give_up_some(self) -> None:
        self.bench.outlet.take_back(self.chance.randint(0, 5))

    def look(self) -> None:
        settle(self.chance.choice([1, 3]))

    def time_passes(self) -> None:
        """So long that rotated files are let go; their last lines are whole before."""
        for path in [path for path in self.halves if path in self.rotated]:
            self._append(path, self.halves.pop(path))
        self.quiet()
        self.bench.skip(11)
        settle(5)

    def sweep(self) -> None:
        self.bench.collector._sweeper.sweep()

    def save(self) -> None:
        outlet = self.bench.outlet
        safe = set(outlet.acknowledged()) - set(outlet.behind_positions())
        assert self.bench.book.save()
        self.safe = safe

    def restart(self) -> None:
        self._before_end()
        self.bench.stop()
        self.may_double |= set(self.bench.outlet.behind_positions())
        self._off()

    def kill(self) -> None:
        """The positions are those that were saved last."""
        self._before_end()
        outlet = self.bench.outlet
        self.bench.kill()
        self.may_double |= set(outlet.acknowledged()) - self.safe
        self._off()

    def _before_end(self) -> None:
        """What was deleted and not read before is lost with the agent's descriptor, so that is waited for."""
        self._all_seen()
        settle(8)  # of a file that is emptied before anybody saw a byte of it nothing is known later
        if self.deleted:
            self.quiet()
            self.deleted = False
        for _ in range(3):
            if all(map(self._is_saved, self.bench.collector.files.values())):
                break
            self.save()  # what was found within the last second and is renamed now would be found by nobody

    def _is_saved(self, file: TailedFile) -> bool:
        """Whether the generation that the file holds is known to the database."""
        for position in self.database.load_positions():
            if position.identity == file.identity:
                data = os.pread(file.descriptor, HEAD_BYTES, 0)
                head = Head(position.head_bytes, position.head_digest)
                return not file.head.size_bytes or (head.size_bytes > 0 and head.fits(data))
        return False

    def _all_seen(self) -> None:
        for name in LOGS:
            path = self.place / name
            if path.exists():
                until(lambda path=path: self._seen(path), f"{path} is seen")

    def _off(self) -> None:
        """The agent is off; things go on."""
        self.delivered += self.bench.outlet.acknowledged()
        for _ in range(self.chance.randint(0, 3)):
            getattr(self, self.chance.choice(OFF))()
        self.safe = set()
        self.bench = self._start()

    def compress(self) -> None:
        """A rotated file that may not be read to its end; of which any byte was ever seen."""
        for path in reversed(self.rotated):
            if not path.exists() or path in self.halves or path.stat().st_nlink > 1:
                continue
            if self._is_known(path):
                with path.open("rb") as source, gzip.open(f"{path}.gz", "wb") as target:
                    shutil.copyfileobj(source, target)
                path.unlink()
                self.lines.pop(path)
                return

    def _is_known(self, path: Path) -> bool:
        """Whether any byte of the file was seen before the agent ended."""
        data = path.read_bytes()[:HEAD_BYTES]
        known = self.database.load_positions()
        return any(one.head_bytes and Head(one.head_bytes, one.head_digest).fits(data) for one in known)

    def recreate(self) -> None:
        """All of a file is read, it is deleted, and another one gets its inode."""
        path = self._some_log()
        done = set(self.delivered) - self.may_double
        lines = self.lines.get(path)
        if (
            lines
            and path.name != LINK
            and path not in self.halves
            and set(lines) <= done
            and path.stat().st_nlink == 1
        ):
            path.unlink()
            self._append(path, self._line(path) + b"\n")

    # -- what is checked ----------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Everything that can be read has been read and acknowledged."""
        if not self.bench.running:
            return
        bench, looks = self.bench, 0
        bench.outlet.unblock()
        bench.outlet.holding = False

        def done() -> bool:
            nonlocal looks
            looks += 1
            if looks == 50:
                self.sweep()  # nobody tells of what is written under another name
            if looks == 300:
                bench.skip(61)  # what began like a file beside it is one of its own
            bench.outlet.acknowledge()
            return all(
                file.intact()
                and file.acks.acked_offset > os.pread(file.descriptor, file.size_bytes(), 0).rfind(b"\n")
                for file in list(bench.collector.files.values())
                if not file.closed
            )

        self._all_seen()
        until(done, "everything is read")

    def finish(self) -> None:
        for path in list(self.halves):
            self._append(path, self.halves.pop(path))
        self.quiet()
        settle(5)
        self.quiet()
        self.bench.stop()
        assert self.bench.failures == []
        self.delivered += self.bench.outlet.acknowledged()
        self.check()

    def close(self) -> None:
        if self.bench.running:
            self.bench.kill()
        self.database.close()

    # -- small things -------------------------------------------------------------------------------------------------

    def _start(self) -> Bench:
        bench = Bench(database=self.database)
        bench.read(self.place / self.pattern)
        bench.read(self.place / LINK)
        return bench

    def _some_log(self) -> Path:
        return self.place / self.chance.choice(["a.log", "a.log", "b.log", LINK])

    def _new_name(self, path: Path) -> Path:
        self.files += 1
        real = path.resolve()
        return real.with_name(f"{real.name}.{self.files}")

    def _renamed(self, path: Path, old: Path) -> None:
        self.lines[old] = self.lines.pop(path)
        if path in self.halves:
            self.halves[old] = self.halves.pop(path)
            self.late = True

    def _line(self, path: Path) -> bytes:
        self.number += 1
        dots = b"." * self.chance.choice([0, 5, 40])
        return b"%s %d %s of the lines %08d" % (os.fsencode(path.name), self.number, dots, self.number)

    def _anew(self, path: Path) -> None:
        self.lines[path] = []
        self.generations.append(self.lines[path])

    def _append(self, path: Path, data: bytes) -> None:
        new = not path.exists()
        if new and path.name == LINK:
            self.switch()
        elif new:
            self._anew(path)
        with path.open("ab", buffering=0) as file:
            file.write(data)
        self.lines[path] += [line.strip() for line in data.splitlines() if line.strip()]
        if new:
            self._turn()

    def _turn(self) -> None:
        if self.bench_runs:
            settle(self.chance.choice([0, 0, 1, 3]))

    @property
    def bench_runs(self) -> bool:
        return hasattr(self, "bench") and self.bench.running

    def _seen(self, path: Path) -> bool:
        """Whether the agent knows the file: its own inode, or, while it is off, whether it ever did."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        return any(
            (file.key.device, file.key.inode) == (status.st_dev, status.st_ino) and not file.retired
            for file in self.bench.collector.files.values()
        )
