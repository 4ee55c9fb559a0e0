# SPDX-License-Identifier: Apache-2.0
"""The agent's own log: to a stream or a file, as text or JSON, and a ring of the last lines.

Log from greenlets only, not from pool threads: the locks of logging are gevent's in a patched process.
"""

import errno
import json
import logging
import sys
import time
import traceback
from collections import deque
from datetime import datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from logagent.errors import ConfigError, Fault
from logagent.ops.shown import printable, shown

ROOT = "logagent"
TRACE = logging.DEBUG - 5
LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
RING_LINES = 500
COMPLAIN_EVERY_S = 60.0

logging.addLevelName(TRACE, "TRACE")


class LogHandle:
    """What the agent can do with its log once it is set up."""

    def __init__(self, sink: logging.Handler, ring: "_Ring") -> None:
        self._sink = sink
        self._ring = ring

    def reopen(self) -> None:
        """Open the log file anew, after it was rotated; nothing for a stream."""
        if isinstance(self._sink, _FileSink):
            self._sink.reopen()

    def set_level(self, level: str) -> None:
        _set_level(level)

    def ring(self) -> list[str]:
        """The last 500 lines as they were written, oldest first."""
        return list(self._ring.lines)

    def close(self) -> None:
        logger = logging.getLogger(ROOT)
        for handler in (self._sink, self._ring):
            logger.removeHandler(handler)
            handler.close()


def configure(
    level: str,
    log_path: Path | None,
    log_format: str,
    stream: TextIO | None = None,
    *,
    ini: str = "logagent.ini",
) -> LogHandle:
    """Set the log up; whatever was set up before is replaced.

    `log_format` is "text" or "json"; without `log_path` lines go to `stream` (standard error). `ini` is the
    file that a fault names. Raises ConfigError if the log file cannot be opened, and changes nothing then.
    """
    complaints = stream or sys.stderr
    sink: logging.Handler = (
        _StreamSink(complaints) if log_path is None else _file_sink(log_path, complaints, ini)
    )
    ring = _Ring()
    formatter = JsonFormatter() if log_format == "json" else TextFormatter()
    logger = logging.getLogger(ROOT)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    for handler in (sink, ring):
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    logger.propagate = False
    _set_level(level)
    _hush_pykafka()
    return LogHandle(sink, ring)


def _set_level(level: str) -> None:
    logging.getLogger(ROOT).setLevel(LEVELS[level.lower()])


def _hush_pykafka() -> None:
    # pykafka logs tracebacks for every broker that is away; we tell the same in one sentence.
    logger = logging.getLogger("pykafka")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _file_sink(path: Path, complaints: TextIO, ini: str) -> "_FileSink":
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_fifo():
            # Opening it would wait for a reader, for ever.
            raise OSError(errno.EINVAL, "it is a FIFO")
        return _FileSink(path, complaints)
    except OSError as error:
        expected = f"expected a file that can be written, but opening it failed: {shown(error)}"
        raise ConfigError((Fault(ini, "", "log", printable(str(path)), expected),)) from error


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER: SENTENCE`, time in local time with its offset."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {printable(record.getMessage())}"
        return f"{line}\n{_traceback(record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line; the values of a fact are fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        fact = getattr(record, "fact", None)
        if fact is not None:
            entry["event"] = fact
            entry["fields"] = record.args if isinstance(record.args, dict) else {}
        if record.exc_info:
            entry["traceback"] = _traceback(record)
        return json.dumps(entry, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _traceback(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return "".join(traceback.format_exception(error)).rstrip("\n") if error else ""


class _Ring(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=RING_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class _StreamSink(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """The only place to complain to is the one that just failed; the ring still has the line."""


class _FileSink(WatchedFileHandler):
    """Follows its path: a log file that was renamed or deleted is opened anew. Never raises."""

    def __init__(self, path: Path, complaints: TextIO) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._complaints = complaints
        self._complained_s: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError as error:
            # WatchedFileHandler raises where the file cannot be opened again (directory gone, disk full).
            self._complain(error)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002  # logging calls it so
        self._complain(sys.exc_info()[1])

    def reopen(self) -> None:
        self.acquire()
        try:
            if self.stream:
                self.stream.close()
        except OSError as error:
            self._complain(error)
        finally:
            # FileHandler.emit opens a missing stream; opening here would raise into the reload.
            self.stream = None
            self.dev, self.ino = -1, -1
            self.release()

    def _complain(self, error: BaseException | None) -> None:
        now_s = time.monotonic()
        if self._complained_s is not None and now_s - self._complained_s < COMPLAIN_EVERY_S:
            return
        self._complained_s = now_s
        try:
            print(
                f"logagent: cannot write the log file {self.baseFilename!r}: {shown(error)}",
                file=self._complaints,
            )
        except (OSError, ValueError):
            self._complained_s = None
