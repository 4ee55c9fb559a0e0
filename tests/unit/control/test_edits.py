# SPDX-License-Identifier: Apache-2.0
"""What is written together with a document, and the way back to every earlier one."""

import json
from datetime import UTC, datetime

import pytest

from logagent.control import differences, edits
from logagent.control.edits import (
    BEFORE,
    KEPT_BYTES,
    KEPT_RECORDS,
    OLD_BYTES,
    Author,
    Outcome,
    Place,
    State,
    change,
    earlier,
    outcome,
    overtaken_by,
    versions,
)
from logagent.errors import NoSuchVersion
from logagent.stores.memory_store import MemoryServer, MemoryStore
from logagent.stores.store import ABSENT, Item

PLACE = Place("/logagent/h1/logconfig", "/logagent-audit/h1/")
ANN = Author("ann@desk", "more")
NOON_S = datetime(2026, 1, 31, 12, 0, 0, 123456, UTC).timestamp()


def document(*paths: str, **fields: object) -> bytes:
    return json.dumps(
        [{"service": "web", "log_path": path, "topic": "web_log", **fields} for path in paths]
    ).encode()


A, B, C = document("/a"), document("/a", "/b"), document("/c")


class Desk:
    """A place on a memory store."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.store = MemoryStore(self.server)
        self.at_s = NOON_S

    def read(self) -> State:
        return edits.read(PLACE, self.store.load([PLACE.key, PLACE.audit]).items)

    def write(self, new: bytes | None, author: Author = ANN, state: State | None = None) -> str:
        self.at_s += 1
        made = change(state or self.read(), new, author, self.at_s, "00ff00")
        assert self.store.commit(made.guards, made.writes) is not None
        return made.version


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestAChange:
    def test_guards_the_document_that_was_read_and_nothing_else(self) -> None:
        state = State(PLACE, Item(A, 7), (), {})
        assert change(state, B, ANN, NOON_S, "x").guards == {PLACE.key: 7}
        assert change(State(PLACE, None, (), {}), B, ANN, NOON_S, "x").guards == {PLACE.key: ABSENT}

    def test_puts_document_and_record_together(self) -> None:
        made = change(State(PLACE, Item(A, 7), (), {}), B, ANN, NOON_S, "a1b2c3")
        assert made.version == "20260131T120000.123456Z-a1b2c3"
        assert list(made.writes) == [PLACE.key, PLACE.audit + made.version], "the document first, for API v2"
        assert made.writes[PLACE.key] == B
        record = made.writes[PLACE.audit + made.version]
        assert record is not None
        assert json.loads(record) == {
            "who": "ann@desk",
            "comment": "more",
            "from_rev": 7,
            "old": A.decode(),
            "new": B.decode(),
        }

    def test_is_found_again_as_it_was_made(self, desk: Desk) -> None:
        desk.server.put(PLACE.key, A)
        version = desk.write(B)
        state = desk.read()
        assert state.recorded
        record = state.records[0]
        assert (record.version, record.who, record.comment) == (version, "ann@desk", "more")
        assert (record.old, record.new, record.old_kept) == (A, B, True)
        assert record.at == datetime(2026, 1, 31, 12, 0, 1, 123456, UTC)
        assert (record.from_revision, record.revision) == (2, 3) == (state.revision - 1, state.revision)

    @pytest.mark.parametrize("old", [b'\xff\x00\n"\\', b"", "[é\u2028😀]".encode(), b'["\\ud800"]'])
    def test_keeps_any_bytes_that_it_replaces(self, desk: Desk, old: bytes) -> None:
        desk.server.put(PLACE.key, old)
        version = desk.write(B)
        assert earlier(desk.read(), BEFORE + version) == (BEFORE + version, old)

    def test_does_not_keep_what_no_agent_takes_for_its_size(self, desk: Desk) -> None:
        desk.server.put(PLACE.key, b"x" * (OLD_BYTES + 1))
        version = desk.write(B)
        record = desk.read().records[0]
        assert (record.old, record.old_kept) == (None, False)
        with pytest.raises(NoSuchVersion, match="larger than 256 KiB and is not kept"):
            earlier(desk.read(), None)
        assert earlier(desk.read(), version) == (version, B)

    @pytest.mark.parametrize("chars", ['"', "é", "\n"])
    def test_fits_one_request_even_if_every_byte_is_escaped(self, chars: str) -> None:
        large = (chars * OLD_BYTES).encode()[:OLD_BYTES]
        made = change(State(PLACE, Item(large, 7), (), {}), large, ANN, NOON_S, "x")
        assert sum(len(value or b"") for value in made.writes.values()) < 1536 * 1024 - 4096


class TestTheHistory:
    def test_keeps_the_last_fifty_records(self, desk: Desk) -> None:
        made = [desk.write(document(f"/{number}")) for number in range(KEPT_RECORDS + 7)]
        state = desk.read()
        assert [record.version for record in state.records] == made[: -KEPT_RECORDS - 1 : -1]
        assert len(state.sizes) == KEPT_RECORDS

    def test_is_bounded_in_bytes_too(self, desk: Desk) -> None:
        large = OLD_BYTES - 100
        for number in range(20):
            desk.write(document("/a", note=f"{number:03}" + "x" * (large - 200)))
        state = desk.read()
        assert KEPT_BYTES - 600_000 < sum(state.sizes.values()) <= KEPT_BYTES
        assert state.recorded

    def test_is_cut_in_steps_that_fit_a_transaction(self, desk: Desk) -> None:
        for number in range(200):
            desk.server.put(f"{PLACE.audit}rubbish-{number:03}", b"?")
        state = desk.read()
        assert state.records == ()
        made = change(state, A, ANN, NOON_S, "x")
        assert len(made.writes) < 128
        for _ in range(4):
            desk.write(B)
            desk.write(A)
        assert len(desk.read().sizes) == 8

    def test_is_in_the_order_of_the_changes_whatever_the_clocks_said(self, desk: Desk) -> None:
        first = desk.write(A)
        desk.at_s -= 3600
        second = desk.write(B)
        assert second < first
        assert [record.version for record in desk.read().records] == [second, first]

    @pytest.mark.parametrize(
        "value",
        [b"", b"null", b"[]", b"{}", b'{"from_rev": "x", "new": null}', b'{"from_rev":1,"new":3}', b"\xff"],
    )
    def test_leaves_aside_what_is_no_record(self, desk: Desk, value: bytes) -> None:
        version = desk.write(A)
        desk.server.put(PLACE.audit + "20990101T000000.000000Z-abc", value)
        desk.server.put(PLACE.audit + "no-time", b'{"from_rev": 1, "new": null}')
        state = desk.read()
        assert [record.version for record in state.records] == [version]
        assert state.recorded

    def test_shows_what_was_written_without_logagent(self, desk: Desk) -> None:
        desk.server.put(PLACE.key, A)
        first = desk.write(B)
        desk.server.put(PLACE.key, C)
        second = desk.write(A)
        desk.server.put(PLACE.key, b"not JSON")
        rows = versions(desk.read())
        assert [row.name for row in rows] == ["-", second, BEFORE + second, first, BEFORE + first]
        assert [(row.before, row.after) for row in rows] == [
            (None, None),
            (1, 1),
            (None, 1),
            (1, 2),
            (None, 1),
        ]
        assert [row.current for row in rows] == [True, False, False, False, False]
        assert [row.value for row in rows] == [b"not JSON", A, C, B, A]
        assert [row.at is None for row in rows] == [True, False, True, False, True]

    def test_shows_an_unbroken_row_of_changes_as_it_is(self, desk: Desk) -> None:
        made = [desk.write(A), desk.write(B), desk.write(None), desk.write(C)]
        rows = versions(desk.read())
        assert [row.name for row in rows] == made[::-1]
        assert [(row.before, row.after) for row in rows] == [(0, 1), (2, 0), (1, 2), (0, 1)]
        assert [row.current for row in rows] == [True, False, False, False]

    def test_tells_a_document_that_was_deleted_without_logagent(self, desk: Desk) -> None:
        desk.write(A)
        desk.server.delete(PLACE.key)
        row = versions(desk.read())[0]
        assert (row.name, row.after, row.value, row.current) == ("-", 0, None, True)

    def test_of_nothing_is_empty(self, desk: Desk) -> None:
        assert versions(desk.read()) == ()


class TestTheWayBack:
    def test_is_to_before_the_latest_change(self, desk: Desk) -> None:
        first, _second = desk.write(A), desk.write(B)
        assert earlier(desk.read(), None) == (first, A)

    def test_leads_to_what_was_written_without_logagent(self, desk: Desk) -> None:
        desk.server.put(PLACE.key, C)
        version = desk.write(B)
        assert earlier(desk.read(), None) == (BEFORE + version, C)
        desk.write(C)
        assert earlier(desk.read(), BEFORE + version) == (BEFORE + version, C), "not a later one"

    def test_leads_past_a_change_without_logagent(self, desk: Desk) -> None:
        version = desk.write(A)
        desk.server.put(PLACE.key, C)
        assert earlier(desk.read(), None) == (version, A)

    def test_leads_to_nothing_if_nothing_was_there(self, desk: Desk) -> None:
        version = desk.write(A)
        assert earlier(desk.read(), None) == (BEFORE + version, None)

    def test_leads_to_every_version_also_after_a_compaction(self, desk: Desk) -> None:
        desk.server.put(PLACE.key, C)
        made = {desk.write(value): value for value in (A, B, None, A)}
        desk.server.compact()
        state = desk.read()
        for row in versions(state):
            assert earlier(state, row.name)[1] == row.value
        for version, value in made.items():
            assert earlier(state, version) == (version, value)

    @pytest.mark.parametrize("wanted", ["", "nonsense", BEFORE, "-"])
    def test_needs_a_version_that_there_is(self, desk: Desk, wanted: str) -> None:
        desk.write(A)
        with pytest.raises(NoSuchVersion, match="has no version"):
            earlier(desk.read(), wanted)

    def test_needs_a_history(self, desk: Desk) -> None:
        desk.server.put(PLACE.key, A)
        with pytest.raises(NoSuchVersion, match="has no history"):
            earlier(desk.read(), None)


class TestWithoutAnAnswer:
    """What reading again tells."""

    def test_the_change_may_be_in_force(self, desk: Desk) -> None:
        sent = change(desk.read(), A, ANN, NOON_S, "x")
        desk.store.commit(sent.guards, sent.writes)
        assert outcome(sent, desk.read()) is Outcome.IN_FORCE

    def test_it_may_not_have_come(self, desk: Desk) -> None:
        desk.write(B)
        sent = change(desk.read(), A, ANN, NOON_S, "x")
        assert outcome(sent, desk.read()) is Outcome.NOT_WRITTEN

    def test_somebody_else_may_have_been_first(self, desk: Desk) -> None:
        sent = change(desk.read(), A, ANN, NOON_S, "x")
        desk.write(B)
        assert outcome(sent, desk.read()) is Outcome.NOT_WRITTEN

    def test_somebody_else_may_have_been_next(self, desk: Desk) -> None:
        sent = change(desk.read(), A, ANN, NOON_S, "x")
        desk.store.commit(sent.guards, sent.writes)
        desk.write(B)
        assert outcome(sent, desk.read()) is Outcome.REPLACED

    def test_a_server_without_transactions_may_have_done_half_of_it(self, desk: Desk) -> None:
        sent = change(desk.read(), A, ANN, NOON_S, "x")
        desk.server.put(PLACE.key, A)
        assert outcome(sent, desk.read()) is Outcome.UNRECORDED

    def test_a_deletion_is_told_by_its_record(self, desk: Desk) -> None:
        desk.write(A)
        sent = change(desk.read(), None, ANN, NOON_S, "x")
        assert outcome(sent, desk.read()) is Outcome.NOT_WRITTEN
        desk.store.commit(sent.guards, sent.writes)
        assert outcome(sent, desk.read()) is Outcome.IN_FORCE


class TestWhoWasFaster:
    def test_is_known_by_the_record(self, desk: Desk) -> None:
        before = desk.read()
        version = desk.write(A, Author("bob@box", ""))
        record = overtaken_by(before, desk.read())
        assert record is not None
        assert (record.version, record.who) == (version, "bob@box")

    def test_is_unknown_if_the_last_change_has_none(self, desk: Desk) -> None:
        before = desk.read()
        desk.write(A)
        desk.server.put(PLACE.key, C)
        assert overtaken_by(before, desk.read()) is None


class TestEquality:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (b'[{"a":1,"b":2}]', b'[ {"b": 2.0,\n "a": 1} ]\n'),
            (b"[]", b"\xef\xbb\xbf[]"),
            (b'["\\u00e9"]', '["é"]'.encode()),
            (None, None),
            (b"\xff", b"\xff"),
        ],
    )
    def test_is_that_of_the_value(self, first: bytes | None, second: bytes | None) -> None:
        assert differences.same(first, second)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (b"[1]", b"[true]"),
            (b"[0]", b"[false]"),
            (b'["1"]', b"[1]"),
            (b'[{"a":1},{"a":2}]', b'[{"a":2},{"a":1}]'),
            (None, b"[]"),
            (b"[]", b""),
            (b"x", b"x "),
            (b'[{"a":1,"a":2}]', b'[{"a":2}]'),
        ],
    )
    def test_is_not_more_than_that(self, first: bytes | None, second: bytes | None) -> None:
        assert not differences.same(first, second)
        assert not differences.same(second, first)


class TestDifferences:
    def test_are_told_by_service_and_path(self) -> None:
        old = b"""[{"service": "web", "log_path": "/a, /b", "topic": "t", "send_rate": 5, "x": [1]},
            {"service": "db", "log_path": "/a", "topic": "t"}]"""
        new = b"""[{"service": "web", "log_path": "/b", "topic": "t2", "send_rate": "5", "x": [1.0]},
            {"service": "new", "log_path": "/n", "topic": "t", "disabled": true}, 7]"""
        told = [
            (
                one.what,
                one.service,
                one.log_path,
                [(field.name, field.old, field.new) for field in one.fields],
            )
            for one in differences.changes(old, new)
        ]
        assert told == [
            ("changed", "web", "/b", [("topic", "t", "t2"), ("send_rate", "5", '"5"')]),
            ("added", "new", "/n", [("topic", "-", "t"), ("disabled", "-", "true")]),
            ("added", "?", "item 3", [("", "-", "7")]),
            ("removed", "web", "/a", [("topic", "t", "-"), ("send_rate", "5", "-"), ("x", "[1]", "-")]),
            ("removed", "db", "/a", [("topic", "t", "-")]),
        ]

    def test_of_the_same_are_none(self) -> None:
        assert differences.changes(B, B) == ()
        assert differences.unified(B, B, "a", "b") == ()

    def test_count_an_entry_that_stands_twice(self) -> None:
        twice = document("/a", "/a")
        assert differences.count(twice) == 2
        assert [one.what for one in differences.changes(document("/a"), twice)] == ["added"]

    @pytest.mark.parametrize("refused", [b"", b"{}", b"\xff", b"[", b"[" * 3000, b"[NaN]"])
    def test_with_what_is_no_list_are_lines(self, refused: bytes) -> None:
        assert differences.count(refused) is None
        assert [one.what for one in differences.changes(refused, A)] == ["added"]
        assert differences.unified(refused, A, "old", "new")

    def test_are_shown_a_field_per_line(self) -> None:
        lines = differences.unified(A, document("/a", send_rate=9), "old", "new")
        assert lines[:2] == ("--- old", "+++ new")
        assert [line for line in lines[2:] if line[0] in "+-"] == [
            '-    "topic": "web_log"',
            '+    "topic": "web_log",',
            '+    "send_rate": 9',
        ]

    def test_with_nothing_are_all_of_it(self) -> None:
        assert all(line[0] in "+@-" for line in differences.unified(None, A, "old", "new"))
