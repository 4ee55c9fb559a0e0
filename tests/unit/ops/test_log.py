# SPDX-License-Identifier: Apache-2.0
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from logagent.errors import ConfigError
from logagent.ops import log
from logagent.ops.log import LogHandle, configure

LOGGER = logging.getLogger("logagent.files")


@pytest.fixture(autouse=True)
def restored_logger() -> Iterator[None]:
    yield
    logger = logging.getLogger("logagent")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_a_line_has_time_with_zone_level_logger_and_sentence() -> None:
    stream = io.StringIO()
    configure("info", None, "text", stream)
    LOGGER.info("Reading %s.", "/a")
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d INFO    logagent\.files: Reading /a\.\n"
    assert re.fullmatch(pattern, stream.getvalue())


def test_control_characters_cannot_forge_a_second_line() -> None:
    stream = io.StringIO()
    configure("info", None, "text", stream)
    LOGGER.info("Reading %s.", "a\nERROR b")
    assert stream.getvalue().count("\n") == 1


def test_json_lines_carry_the_fact_and_its_values() -> None:
    stream = io.StringIO()
    configure("info", None, "json", stream)
    LOGGER.info("Reading %(path)s.", {"path": "/a"}, extra={"fact": "file_found"})
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").startswith("20")
    assert entry == {
        "level": "info", "logger": "logagent.files", "message": "Reading /a.",
        "event": "file_found", "fields": {"path": "/a"},
    }  # fmt: skip


def test_tracebacks_are_below_the_line_in_text_and_a_field_in_json() -> None:
    for log_format in ("text", "json"):
        stream = io.StringIO()
        configure("info", None, log_format, stream)
        LOGGER.error("It failed.", exc_info=ValueError("bad"))
        text = stream.getvalue()
        if log_format == "json":
            text = json.loads(text)["traceback"]
        assert text.rstrip().endswith("ValueError: bad")


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("trace", ["t", "d", "i", "w", "e"]),
        ("DEBUG", ["d", "i", "w", "e"]),
        ("Info", ["i", "w", "e"]),
        ("warning", ["w", "e"]),
        ("error", ["e"]),
    ],
)
def test_levels_let_through_what_is_as_grave_or_graver(level: str, told: list[str]) -> None:
    stream = io.StringIO()
    handle = configure("error", None, "text", stream)
    handle.set_level(level)
    LOGGER.log(log.TRACE, "t")
    LOGGER.debug("d")
    LOGGER.info("i")
    LOGGER.warning("w")
    LOGGER.error("e")
    assert [line.rsplit(": ", 1)[1] for line in stream.getvalue().splitlines()] == told


def test_the_ring_keeps_the_last_500_lines_as_written() -> None:
    stream = io.StringIO()
    handle = configure("info", None, "text", stream)
    for number in range(600):
        LOGGER.info("line %s", number)
    assert handle.ring() == stream.getvalue().splitlines()[100:]


def test_the_directory_of_the_log_is_made(tmp_path: Path) -> None:
    configure("info", tmp_path / "a" / "b" / "agent.log", "text", io.StringIO())
    LOGGER.info("ü\udcff")
    assert (tmp_path / "a" / "b" / "agent.log").read_text("utf-8").endswith("ü\\xff\n")


def test_a_renamed_log_is_opened_anew_at_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    configure("info", path, "text", io.StringIO())
    LOGGER.info("one")
    path.rename(tmp_path / "agent.log.1")
    LOGGER.info("two")
    assert path.read_text().count("two") == 1
    assert (tmp_path / "agent.log.1").read_text().count("one") == 1


def test_reopen_lets_go_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    handle = configure("info", path, "text", io.StringIO())
    LOGGER.info("one")
    open_files = len(os.listdir("/proc/self/fd"))
    path.rename(tmp_path / "agent.log.1")
    handle.reopen()
    assert len(os.listdir("/proc/self/fd")) == open_files - 1
    LOGGER.info("two")
    LOGGER.info("three")
    assert [line.rsplit(": ", 1)[1] for line in path.read_text().splitlines()] == ["two", "three"]


def test_a_log_that_cannot_be_opened_again_is_complained_of_once_and_never_raises(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    complaints = io.StringIO()
    handle = configure("info", directory / "agent.log", "text", complaints)
    LOGGER.info("one")
    (directory / "agent.log").unlink()
    directory.rmdir()
    LOGGER.info("two")
    LOGGER.info("three")
    assert complaints.getvalue().count("\n") == 1
    assert "cannot write the log file" in complaints.getvalue()
    assert len(handle.ring()) == 3
    directory.mkdir()
    LOGGER.info("four")
    assert (directory / "agent.log").read_text().endswith("four\n")


def test_a_full_disk_is_complained_of_in_one_sentence() -> None:
    complaints = io.StringIO()
    handle = configure("info", Path("/dev/full"), "text", complaints)
    LOGGER.info("one")
    handle.reopen()
    assert complaints.getvalue() == (
        "logagent: cannot write the log file '/dev/full': No space left on device\n"
    )
    handle.close()


def unusable_logs(tmp_path: Path) -> list[Path]:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    return [tmp_path, tmp_path / "file" / "agent.log", tmp_path / "fifo", Path("/proc/agent.log")]


def test_a_log_that_cannot_be_opened_is_a_fault_that_names_the_key(tmp_path: Path) -> None:
    for path in unusable_logs(tmp_path):
        with pytest.raises(ConfigError) as caught:
            configure("info", path, "text", io.StringIO(), ini="/etc/logagent/logagent.ini")
        (fault,) = caught.value.faults
        assert (fault.file, fault.section, fault.key) == ("/etc/logagent/logagent.ini", "", "log")
        assert fault.value == str(path)
        assert "\n" not in str(fault)


def test_setting_up_again_replaces_what_was_there() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", None, "text", first)
    handle: LogHandle = configure("info", None, "text", second)
    LOGGER.info("one")
    assert first.getvalue() == ""
    assert second.getvalue().count("one") == 1
    handle.close()
    assert logging.getLogger("logagent").handlers == []


def test_pykafka_does_not_write_to_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", None, "text", io.StringIO())
    root_stream = io.StringIO()
    root_handler = logging.StreamHandler(root_stream)
    logging.getLogger().addHandler(root_handler)
    try:
        logging.getLogger("pykafka.broker").error("Unable to connect to broker")
    finally:
        logging.getLogger().removeHandler(root_handler)
    assert capsys.readouterr() == ("", "")
    assert root_stream.getvalue() == ""
