# SPDX-License-Identifier: Apache-2.0
"""Every fact writes its sentence and moves its metric; a new method of Events without a row here fails."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from logagent.ops import delivery_events, events, facts, log
from logagent.ops.events import Events
from logagent.ops.facts import FactTeller
from logagent.ops.metrics import Metrics
from logagent.recovery.actions import Finding

PATH = b"/var/log/a.log"
FILE: dict[str, object] = {"service": "web", "path": PATH}
MEMBER: dict[str, object] = {"member": "e1:2379"}
PARTITION: dict[str, object] = {"topic": "t", "partition": 3}
DENIED = PermissionError(13, "Permission denied")

# name -> (arguments, a piece of the sentence)
FACTS: dict[str, tuple[dict[str, object], str]] = {
    "agent_started": ({"version": "0.1.0", "host_id": "h1", "data_dir": Path("/d")}, "started as host h1"),
    "data_dir_moved": ({"data_dir": Path("/d"), "host_id": "h1"}, "on another machine; here the host is h1."),
    "agent_stopping": ({"reason": "SIGTERM"}, "Stopping: SIGTERM."),
    "agent_stopped": ({"unacked_bytes": 12}, "12 bytes were read and not acknowledged"),
    "second_signal": ({}, "Leaving at once"),
    "reload_applied": ({"started": ["web"], "changed": 2, "stopped": ()}, "started: web; changed: 2; stopped: none."),
    "reload_refused": ({"reason": "x.ini: unknown key"}, "refused: x.ini: unknown key. The old one stays"),
    "restart_needed": ({"keys": ("kafka_addr", "thread_num")}, "kafka_addr, thread_num."),
    "config_warning": ({"text": "thread_num is high"}, "thread_num is high"),
    "greenlet_failed": ({"name": "tailer /a", "error": ValueError("x"), "restart_in_s": 0.5}, "restarted in 0.5 s."),
    "admin_listening": ({"address": "127.0.0.1:80"}, "127.0.0.1:80"),
    "admin_failed": ({"address": "127.0.0.1:80", "error": DENIED}, "Permission denied"),
    "admin_accept_failed": ({"address": "127.0.0.1:80", "error": DENIED}, "Permission denied"),
    "admin_request_failed": ({"path": "/status", "error": ValueError("x")}, "ValueError: x"),
    "systemd_failed": ({"error": DENIED}, "Permission denied"),
    "file_found": ({**FILE, "offset": 7, "size": 9}, "from byte 7 of 9"),
    "file_missing": ({"service": "web", "log_path": "/a/*.log"}, "nothing at /a/*.log yet"),
    "file_refused": ({**FILE, "reason": "it is a FIFO"}, "it is a FIFO"),
    "file_found_too": ({**FILE, "offset": 0, "size": 9}, "from byte 0 of 9"),
    "files_found": ({"service": "web", "log_path": "/l/*", "files": 9900}, "Reading 9900 more files of /l/*"),
    "files_in_turn": ({"service": "web", "log_path": "/l/*", "max_open": 9}, "files beyond the 9 that may be open"),
    "file_readable_again": (FILE, "can be read again. It took 0 s."),
    "file_rotated": ({**FILE, "unread_bytes": 5}, "5 unread bytes"),
    "file_copied": ({**FILE, "copy": b"/l/a.log.1", "unread_bytes": 7}, "copied to /l/a.log.1 before it was emptied"),
    "file_compressed": (FILE, "/var/log/a.log is compressed. It is read only as"),
    "file_truncated": ({**FILE, "position": 9, "size": 2}, "emptied after 9 bytes were read; it has 2 now"),
    "file_closed": ({**FILE, "reason": "it was deleted"}, "it was deleted"),
    "file_replaced": (FILE, "another file"),
    "read_failed": ({**FILE, "error": OSError(5, "Input/output error")}, "Input/output error"),
    "bytes_lost": ({**FILE, "lost_bytes": 5, "reason": "truncated"}, "5 bytes of /var/log/a.log are lost"),
    "deleted_near_bound": (
        {"held_bytes": 9, "key": "hold_deleted_bytes", "value": "10"},
        "hold 9 bytes that are not all delivered. Beyond hold_deleted_bytes = 10 the oldest",
    ),
    "deleted_within_bound": ({"key": "hold_deleted_bytes"}, "within hold_deleted_bytes again."),
    "file_stalled": (
        {**FILE, "unread_bytes": 5, "stalled_s": 61.0},
        "nobody read the 5 new bytes of /var/log/a.log for 61 s",
    ),
    "file_shrunk": (
        {**FILE, "position": 9, "size": 7, "offset": 6},
        "9 bytes of it were delivered, it has 7 now. It is read from byte 6.",
    ),
    "lines_read": ({"service": "web", "lines": 5, "bytes_": 50}, "read 5 lines, 50 bytes"),
    "lines_acked": ({"service": "web", "lines": 5, "bytes_": 50}, "5 lines, 50 bytes are acknowledged"),
    "lines_cut": ({**FILE, "lines": 5, "cut_bytes": 50}, "lost 50 bytes"),
    "holes_skipped": ({**FILE, "hole_bytes": 700}, "700 bytes of /var/log/a.log were never written"),
    "rate_limited": ({"service": "web", "wait_s": 0.25}, "waits 0.250 s"),
    "inotify_overflow": ({}, "dropped file events"),
    "inotify_failed": ({"path": b"/var/log", "error": OSError(28, "No space left on device")}, "No space left"),
    "files_polled": ({"path": b"/mnt/logs", "kind": "nfs4"}, "On nfs4, where /mnt/logs lies"),
    "scan_done": ({"seconds": 0.5}, "0.500 s"),
    "metadata_failed": ({"reason": "k1:9092: refused"}, "k1:9092: refused"),
    "metadata_back": ({}, "tells again"),
    "broker_failed": ({"address": "k1:9092", "reason": "refused"}, "k1:9092: refused"),
    "broker_back": ({"address": "k1:9092"}, "k1:9092 works again"),
    "batch_sent": ({"topic": "t", "records": 5, "bytes_": 50, "seconds": 0.01}, "5 records, 50 bytes"),
    "batch_retried": ({**PARTITION, "code": 6, "reason": "moved", "wait_s": 0.5}, "t/3 did not take a batch: moved"),
    "batch_split": ({**PARTITION, "records": 8}, "8 records"),
    "batch_restamped": (PARTITION, "time stamp"),
    "topic_parked": ({"topic": "t", "code": 29, "reason": "not allowed"}, "not allowed (code 29)"),
    "topic_back": ({"topic": "t"}, "takes lines again"),
    "producer_id_renewed": ({**PARTITION, "code": 59}, "(code 59)"),
    "record_dead_lettered": ({**FILE, "topic": "t", "offset": 4, "code": 10, "reason": "too large"}, "at byte 4"),
    "dead_letter_failed": ({"path": "/d/dead-letter.jsonl", "error": DENIED}, "Permission denied"),
    "dead_letter_back": ({"path": "/d/dead-letter.jsonl"}, "can be written again"),
    "journal_degraded": ({"reason": "the disk is full"}, "before they are sent: the disk is full. Lines go on"),
    "journal_back": ({}, "noted again"),
    "journal_refused": (
        {"file": Path("/d/intents.a"), "start": 4, "end": 9, "reason": "a checksum is wrong"},
        "Bytes 4 to 9 of /d/intents.a are not to be used: a checksum is wrong.",
    ),
    "intent_found": ({**PARTITION, "records": 5}, "t/3: a batch of 5 records was on its way"),
    "intent_answer": ({**PARTITION, "records": 5, "answer": "delivered"}, "5 records in doubt it is found that it had"),
    "duplicates_possible": ({**PARTITION, "records": 5, "reason": "old"}, "5 records may be there twice (old)."),
    "intent_unknown": (
        {"service": "web", "identity": "8:1-2", "start": 5, "end": 9}, "bytes 5 to 9 of the file 8:1-2 were sent"
    ),
    "acknowledged_lost": (PARTITION, "t/3: the cluster has lost batches that it had acknowledged"),
    "dead_letter_full": (
        {"service": "web", "path": "/d/dead-letter.jsonl", "limit_bytes": 9}, "(dead_letter_max_bytes = 9). Service web"
    ),
    "dead_letter_room": ({"service": "web"}, "has room again. Service web goes on."),
    "record_dropped": (
        {**FILE, "topic": "t", "offset": 4, "bytes_": 7, "code": 10, "reason": "too large"},
        "byte 4 of /var/log/a.log for topic t: too large (code 10). It is lost",
    ),
    "positions_saved": ({"rows": 5, "seconds": 0.01}, "5 positions"),
    "positions_failed": ({"error": DENIED}, "Permission denied"),
    "positions_back": ({}, "saved again"),
    "etcd_api_detected": ({**MEMBER, "api": "v3"}, "serves v3 at e1:2379"),
    "etcd_warning": ({"text": "Two copies"}, "Two copies"),
    "etcd_connected": ({**MEMBER, "api": "v3", "revision": 7}, "e1:2379 (v3) from revision 7"),
    "etcd_unreachable": ({**MEMBER, "reason": "e1:2379: refused"}, "at e1:2379: refused. The services in force stay"),
    "etcd_back": (MEMBER, "e1:2379 answers again. It took 0 s."),
    "etcd_listed": ({**MEMBER, "revision": 7}, "at revision 7"),
    "etcd_watching": ({**MEMBER, "revision": 7}, "after revision 7"),
    "etcd_heard": ({**MEMBER, "changes": 3}, "3 changes"),
    "etcd_resync": ({**MEMBER, "kind": "watch", "reason": "it was compacted"}, "is over: it was compacted."),
    "etcd_config_changed": ({"revision": 7, "keys": ["/a", "/b"]}, "revision 7 now, from /a, /b."),
    "etcd_applied": ({"started": 1, "changed": 2, "stopped": 0}, "started: 1; changed: 2; stopped: 0."),
    "etcd_document_rejected": ({"key": "/a", "reason": "/a: expected a list"}, "refused: /a: expected a list. What"),
    "etcd_entries_rejected": ({"key": "/a", "faults": ["x", "y"]}, "refused: x, y. Their last"),
    "etcd_suspicious_empty": ({"reason": "the cluster is another one"}, "the cluster is another one. The last ones"),
    "etcd_empty_over": ({}, "believed again"),
    "etcd_stale_member": ({**MEMBER, "reason": "revision 5 after 7"}, "revision 5 after 7. It is not believed"),
    "etcd_restored": ({"reason": "revision 5 after 7"}, "restored from a backup"),
    "etcd_cache_used": ({"age_s": 90.0}, "services of 90 s ago"),
    "etcd_cache_unusable": ({"reason": "it is not JSON"}, "it is not JSON"),
    "etcd_cache_failed": ({"error": DENIED}, "Permission denied"),
    "etcd_cache_back": ({}, "written again"),
    "status_publish_failed": ({"reason": "no permission"}, "no permission"),
    "status_publish_back": ({}, "published in Etcd again"),
    "state_recovered": (
        {"error": "no database", "kept_as": "state.db.bad-1", "source": "its copy"}, "no database. It is kept as state"
    ),
    "state_copy_failed": ({"error": DENIED}, "Permission denied"),
    "state_copied": ({}, "written again"),
    "positions_expired": ({"files": 3, "days": 7.0}, "3 files that are gone for more than 7.0 days"),
}  # fmt: skip

DECLARED = {declared.name: declared for declared in events.catalogue()}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Told:
    """An Events, and what it wrote."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.events = Events(self.metrics, self.clock, wall=lambda: 1.7e9)
        self._caplog = caplog

    def call(self, name: str, **changes: object) -> list[str]:
        self._caplog.clear()
        getattr(self.events, name)(**{**FACTS[name][0], **changes})
        return [record.getMessage() for record in self._caplog.records]

    def record(self) -> logging.LogRecord:
        (record,) = self._caplog.records
        return record

    def samples(self) -> dict[str, float]:
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if family.name.startswith("logagent_")
        }


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    logger = logging.getLogger("logagent")
    before = logger.propagate
    logger.propagate = True
    with caplog.at_level(log.TRACE, "logagent"):
        yield Told(caplog)
    logger.propagate = before


def test_every_public_method_is_a_fact_with_a_row_here() -> None:
    methods = {name for name in dir(Events) if not name.startswith("_")}
    assert methods == set(FACTS) == set(DECLARED)
    assert not {name for name in dir(FactTeller) if not name.startswith("_")}


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_writes_one_sentence_and_moves_its_metric(told: Told, name: str) -> None:
    declared = DECLARED[name]
    for trouble in declared.ends:
        same = {key: value for key, value in FACTS[name][0].items() if key in (declared.subject or ())}
        told.call(trouble, **same)
    before = told.samples()
    (sentence,) = told.call(name)
    record = told.record()
    assert FACTS[name][1] in sentence
    assert "%(" not in sentence
    assert re.match(r"[A-Z]|/d|logagent |tailer |thread_num", sentence)
    assert (record.name, record.levelno) == (declared.logger, declared.level)
    assert record.__dict__["fact"] == name
    moved = {key for key, value in told.samples().items() if before.get(key) != value}
    for metric in declared.metrics:
        assert any(key.startswith(metric.partition("{")[0]) for key in moved), metric


@pytest.mark.parametrize("name", [name for name, declared in DECLARED.items() if declared.ends])
def test_an_end_without_a_failure_before_it_says_nothing(told: Told, name: str) -> None:
    assert told.call(name) == []


@pytest.mark.parametrize(
    "name",
    [name for name, declared in DECLARED.items() if declared.subject is not None and not declared.ends],
)
def test_a_failure_that_goes_on_is_told_at_once_and_after_a_minute_with_the_count(
    told: Told, name: str
) -> None:
    first = told.call(name)
    assert len(first) == 1
    told.clock.now_s += 30
    assert told.call(name) == []
    told.clock.now_s += 30
    (later,) = told.call(name)
    assert later == f"{first[0]} (1 more since the last message.)"


def test_the_end_of_a_failure_says_how_long_it_took(told: Told) -> None:
    told.call("broker_failed")
    told.clock.now_s += 90
    assert told.call("broker_back") == ["Broker k1:9092 works again. It took 90 s."]
    assert told.call("broker_back") == []


def test_a_failing_broker_does_not_silence_another(told: Told) -> None:
    told.call("broker_failed")
    assert len(told.call("broker_failed", address="k2:9092")) == 1


def test_a_broker_that_answers_is_up_even_without_a_failure_before(told: Told) -> None:
    told.call("broker_back")
    assert b'logagent_kafka_broker_up{broker="k1:9092"} 1.0\n' in told.metrics.exposition()
    told.call("broker_failed")
    assert b'logagent_kafka_broker_up{broker="k1:9092"} 0.0\n' in told.metrics.exposition()


@pytest.mark.parametrize("name", ["file_found", "file_closed"])
def test_a_file_that_is_found_or_closed_has_its_troubles_behind_it(told: Told, name: str) -> None:
    told.call("file_missing", log_path=PATH.decode())
    told.call("read_failed")
    told.call(name)
    assert len(told.call("file_missing", log_path=PATH.decode())) == 1
    assert len(told.call("read_failed")) == 1


def test_paths_from_outside_cannot_break_a_line(told: Told) -> None:
    (sentence,) = told.call("file_found", path=b"/a\n2025 ERROR \xff\x1b[0m")
    assert r"/a\n2025 ERROR \xff\x1b[0m" in sentence
    assert sentence.isprintable()


def test_everything_acknowledged_is_said_at_the_stop(told: Told) -> None:
    assert told.call("agent_stopped", unacked_bytes=0) == [
        "Stopped. Everything that was read is acknowledged."
    ]


def test_a_greenlet_that_is_not_restarted_says_so_with_its_traceback(told: Told) -> None:
    (sentence,) = told.call("greenlet_failed", restart_in_s=None)
    assert sentence == "tailer /a failed: ValueError: x. It is not restarted."
    assert told.record().exc_info is not None


def test_the_label_of_a_failed_greenlet_leaves_its_path_away(told: Told) -> None:
    told.call("greenlet_failed")
    assert b'logagent_greenlet_failures_total{name="tailer"} 1.0\n' in told.metrics.exposition()


def test_operator_errors_have_no_traceback(told: Told) -> None:
    told.call("read_failed")
    assert told.record().exc_info is None


def test_names_that_are_no_utf8_do_not_break_the_metrics_page(told: Told) -> None:
    for name in ("file_refused", "bytes_lost", "lines_read"):
        told.call(name, service="we\udcffb")
    told.call("broker_failed", address="k\udcff")
    assert rb'service="we\\xffb"' in told.metrics.exposition()


def test_what_is_in_doubt_is_counted_in_records_and_bytes(told: Told) -> None:
    told.call("duplicates_possible")
    told.call("intent_unknown")
    told.call("record_dropped")
    for answer in ("delivered", "not_delivered", "another"):
        told.call("intent_answer", answer=answer)
    page = told.metrics.exposition().decode().splitlines()
    assert {
        'logagent_duplicates_possible_total{reason="old"} 5.0',
        'logagent_unknown_bytes_total{service="web"} 4.0',
        'logagent_lost_bytes_total{reason="dead_letter_full",service="web"} 7.0',
        'logagent_dead_letter_dropped_total{service="web"} 1.0',
        'logagent_intents_recovered_total{answer="not_delivered"} 1.0',
    } <= set(page)


def test_every_finding_of_recovery_has_words() -> None:
    assert set(delivery_events._ANSWERS) == {finding.value for finding in Finding}


def test_positions_saved_leave_the_wall_time(told: Told) -> None:
    told.call("positions_saved")
    assert b"logagent_positions_last_success_timestamp_seconds 1.7e+09\n" in told.metrics.exposition()


def test_nothing_is_formatted_for_a_level_that_is_off(
    caplog: pytest.LogCaptureFixture, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "shown", pytest.fail)
    with caplog.at_level(logging.INFO, "logagent"):
        assert told.call("lines_read") == []
    assert b'logagent_lines_read_total{service="web"} 5.0\n' in told.metrics.exposition()


def test_the_events_page_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "events.md"
    assert page.read_text("utf-8") == events.page(), "run: python -m logagent.ops.events > docs/events.md"
