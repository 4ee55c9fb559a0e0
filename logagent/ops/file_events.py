# SPDX-License-Identifier: Apache-2.0
"""Facts about log files and the lines in them. Paths are bytes, as the kernel has them."""

from logging import DEBUG, ERROR, INFO, WARNING

from logagent.ops.facts import Extra, FactTeller, fact
from logagent.ops.log import TRACE
from logagent.ops.shown import printable, shown

# What can be wrong with a path; a file that is found or closed has it behind it.
_TROUBLES = ("file_refused", "read_failed", "file_missing", "file_stalled")


class FileEvents(FactTeller):
    """The part of Events about files."""

    @fact("files", INFO, "Reading %(path)s for service %(service)s from byte %(offset)s of %(size)s.")
    def file_found(self, *, service: str, path: bytes, offset: int, size: int) -> Extra:
        self._forget(service, path)
        return None

    @fact("files", DEBUG, "Reading %(path)s for service %(service)s from byte %(offset)s of %(size)s.")
    def file_found_too(self, *, service: str, path: bytes, offset: int, size: int) -> Extra:
        """One of very many that are found at once."""
        self._forget(service, path)
        return None

    @fact("files", INFO, "Reading %(files)s more files of %(log_path)s for service %(service)s.")
    def files_found(self, *, service: str, log_path: bytes | str, files: int) -> Extra: ...

    @fact(
        "files",
        WARNING,
        "Service %(service)s: %(log_path)s names files beyond the %(max_open)s that may be open (max_open,"
        " LimitNOFILE). They are read in turn: one that is read to its end is closed until it changes.",
        subject=("service", "log_path"),
    )
    def files_in_turn(self, *, service: str, log_path: bytes | str, max_open: int) -> Extra: ...

    @fact(
        "files",
        WARNING,
        "Service %(service)s: nothing at %(log_path)s yet. It is read as soon as it appears.",
        subject=("service", "log_path"),
    )
    def file_missing(self, *, service: str, log_path: bytes | str) -> Extra: ...

    @fact(
        "files",
        ERROR,
        "Service %(service)s: not reading %(path)s: %(reason)s. It is tried again at every sweep.",
        "logagent_files_refused_total",
        subject=("service", "path"),
    )
    def file_refused(self, *, service: str, path: bytes, reason: str) -> Extra:
        self._metrics.files_refused.labels(printable(service)).inc()
        return None

    @fact(
        "files",
        INFO,
        "Service %(service)s: %(path)s is compressed."
        " It is read only as the missing rest of a file known before.",
    )
    def file_compressed(self, *, service: str, path: bytes) -> Extra: ...

    @fact(
        "files",
        INFO,
        "Service %(service)s: %(path)s can be read again.",
        subject=("service", "path"),
        ends=("file_refused", "read_failed"),
    )
    def file_readable_again(self, *, service: str, path: bytes) -> Extra: ...

    @fact(
        "files",
        INFO,
        "Service %(service)s: %(path)s was rotated."
        " Its %(unread_bytes)s unread bytes are read before the next file.",
        "logagent_rotations_total",
    )
    def file_rotated(self, *, service: str, path: bytes, unread_bytes: int) -> Extra:
        self._metrics.rotations.labels(printable(service)).inc()
        return None

    @fact(
        "files",
        WARNING,
        "Service %(service)s: %(path)s was emptied after %(position)s bytes were read; it has %(size)s now."
        " It is read from its start.",
        "logagent_truncations_total",
    )
    def file_truncated(self, *, service: str, path: bytes, position: int, size: int) -> Extra:
        self._metrics.truncations.labels(printable(service)).inc()
        return None

    @fact(
        "files",
        INFO,
        "Service %(service)s: %(path)s was copied to %(copy)s before it was emptied."
        " The copy's %(unread_bytes)s unread bytes are read first.",
    )
    def file_copied(self, *, service: str, path: bytes, copy: bytes, unread_bytes: int) -> Extra: ...

    @fact("files", INFO, "Service %(service)s: closed %(path)s: %(reason)s.")
    def file_closed(self, *, service: str, path: bytes, reason: str) -> Extra:
        self._forget(service, path)
        return None

    @fact(
        "files", INFO, "Service %(service)s: %(path)s is another file than before. It is read from its start."
    )
    def file_replaced(self, *, service: str, path: bytes) -> Extra: ...

    @fact(
        "files",
        WARNING,
        "Service %(service)s: reading %(path)s failed: %(error)s. It is tried again.",
        subject=("service", "path"),
    )
    def read_failed(self, *, service: str, path: bytes, error: BaseException | str) -> Extra: ...

    @fact(
        "files",
        WARNING,
        "Service %(service)s: nobody read the %(unread_bytes)s new bytes of %(path)s for %(stalled_s).0f s,"
        " for no known reason. It is opened again.",
        "logagent_stalls_total",
        subject=("service", "path"),
    )
    def file_stalled(self, *, service: str, path: bytes, unread_bytes: int, stalled_s: float) -> Extra:
        self._metrics.stalls.labels(printable(service)).inc()
        return None

    @fact(
        "files",
        WARNING,
        "Service %(service)s: %(path)s lost its end when the machine went down:"
        " %(position)s bytes of it were delivered, it has %(size)s now. It is read from byte %(offset)s.",
        "logagent_shrunk_after_crash_bytes_total",
    )
    def file_shrunk(self, *, service: str, path: bytes, position: int, size: int, offset: int) -> Extra:
        self._metrics.shrunk_after_crash_bytes.labels(printable(service)).inc(position - offset)
        return None

    @fact(
        "files",
        ERROR,
        "Service %(service)s: %(lost_bytes)s bytes of %(path)s are lost: %(reason)s."
        " Reading goes on behind them.",
        "logagent_lost_bytes_total",
    )
    def bytes_lost(self, *, service: str, path: bytes, lost_bytes: int, reason: str) -> Extra:
        """`reason` is one of a few short texts: it becomes a label."""
        self._metrics.lost_bytes.labels(printable(service), printable(reason)).inc(lost_bytes)
        return None

    @fact(
        "files",
        WARNING,
        "Deleted files hold %(held_bytes)s bytes that are not all delivered."
        " Beyond %(key)s = %(value)s the oldest are given up.",
        subject=("key",),
    )
    def deleted_near_bound(self, *, held_bytes: int, key: str, value: str) -> Extra: ...

    @fact(
        "files",
        INFO,
        "Deleted files are well within %(key)s again.",
        subject=("key",),
        ends=("deleted_near_bound",),
    )
    def deleted_within_bound(self, *, key: str) -> Extra: ...

    @fact(
        "files",
        TRACE,
        "Service %(service)s: read %(lines)s lines, %(bytes_)s bytes.",
        "logagent_lines_read_total",
        "logagent_bytes_read_total",
    )
    def lines_read(self, *, service: str, lines: int, bytes_: int) -> Extra:
        counters = self._metrics.service(service)
        counters.lines_read += lines
        counters.bytes_read += bytes_
        return None

    @fact(
        "files",
        TRACE,
        "Service %(service)s: %(lines)s lines, %(bytes_)s bytes are acknowledged.",
        "logagent_lines_acked_total",
        "logagent_bytes_acked_total",
    )
    def lines_acked(self, *, service: str, lines: int, bytes_: int) -> Extra:
        counters = self._metrics.service(service)
        counters.lines_acked += lines
        counters.bytes_acked += bytes_
        return None

    @fact(
        "files",
        ERROR,
        "Service %(service)s: %(lines)s lines of %(path)s were longer than max_line_bytes"
        " and lost %(cut_bytes)s bytes. Their beginnings are sent.",
        "logagent_lines_cut_total",
        "logagent_cut_bytes_total",
        subject=("service", "path"),
    )
    def lines_cut(self, *, service: str, path: bytes, lines: int, cut_bytes: int) -> Extra:
        self._metrics.lines_cut.labels(printable(service)).inc(lines)
        self._metrics.cut_bytes.labels(printable(service)).inc(cut_bytes)
        return None

    @fact(
        "files",
        WARNING,
        "Service %(service)s: %(hole_bytes)s bytes of %(path)s were never written (zeros)."
        " Reading goes on behind them.",
        "logagent_hole_bytes_total",
        subject=("service", "path"),
    )
    def holes_skipped(self, *, service: str, path: bytes, hole_bytes: int) -> Extra:
        self._metrics.hole_bytes.labels(printable(service)).inc(hole_bytes)
        return None

    @fact(
        "files",
        TRACE,
        "Service %(service)s: waits %(wait_s).3f s for its send_rate.",
        "logagent_rate_limit_wait_seconds_total",
    )
    def rate_limited(self, *, service: str, wait_s: float) -> Extra:
        self._metrics.service(service).rate_limit_wait_seconds += wait_s
        return None

    @fact(
        "files",
        WARNING,
        "The kernel dropped file events. A sweep over all directories follows.",
        "logagent_inotify_overflow_total",
        subject=(),
    )
    def inotify_overflow(self) -> Extra:
        self._metrics.inotify_overflow.inc()
        return None

    @fact(
        "files",
        WARNING,
        "Watching %(path)s failed: %(error)s. The sweep finds what changes there.",
        subject=("path",),
    )
    def inotify_failed(self, *, path: bytes, error: BaseException | str) -> Extra: ...

    @fact(
        "files",
        INFO,
        "On %(kind)s, where %(path)s lies, others write without this kernel telling: it is looked at every second.",
    )
    def files_polled(self, *, path: bytes, kind: str) -> Extra: ...

    @fact("files", DEBUG, "The sweep over all directories took %(seconds).3f s.", "logagent_scan_seconds")
    def scan_done(self, *, seconds: float) -> Extra:
        self._metrics.scan_seconds.observe(seconds)
        return None

    def _forget(self, service: str, path: bytes) -> None:
        for trouble in _TROUBLES:
            self._repeats.over((trouble, shown(service), shown(path)))
