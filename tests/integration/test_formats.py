# SPDX-License-Identifier: Apache-2.0
"""Every byte of a line arrives, in each form that a record can have."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.agent import AgentProcess
from tests.support.consumer import read_messages
from tests.support.kafka import KafkaNode

HOST = "web-1"
MAX_LINE_BYTES = 999_900  # the default
LONG = b"L" + b"0123456789" * 98_999 + b"123456789"
TOO_LONG = b"T" + b"abcdefghij" * 120_000

# (bytes in the file, value in Kafka or None when the line is skipped)
LINES: list[tuple[bytes, bytes | None]] = [
    (b"plain\n", b"plain"),
    (b"carriage return\r\n", b"carriage return"),
    (b"two of them\r\r\n", b"two of them\r"),
    (b"\r in the \r middle\n", b"\r in the \r middle"),
    (b"\n", None),
    (b"  \t \n", None),
    (b"\r\n", None),
    (b"  space around \t\n", b"  space around \t"),
    ("ünïcödé ☃ 𝄞\n".encode(), "ünïcödé ☃ 𝄞".encode()),
    (b"invalid \xff\xfe\xc3( UTF-8\n", b"invalid \xff\xfe\xc3( UTF-8"),
    (b"cut \xf0\x9f\x98\n", b"cut \xf0\x9f\x98"),
    (b"control \x00\x01\x07\x1b[31m\x7f bytes\n", b"control \x00\x01\x07\x1b[31m\x7f bytes"),
    (
        b'quotes " \\ \\n / and \xe2\x80\xa8 \xe2\x80\xa9\n',
        b'quotes " \\ \\n / and \xe2\x80\xa8 \xe2\x80\xa9',
    ),
    (
        b"vertical\x0b form\x0c file\x1c next line\xc2\x85\n",
        b"vertical\x0b form\x0c file\x1c next line\xc2\x85",
    ),
    (LONG + b"\n", LONG),
    (TOO_LONG + b"\n", TOO_LONG[:MAX_LINE_BYTES]),
    (b"after the long ones\n", b"after the long ones"),
]
VALUES = [value for _, value in LINES if value is not None]


def _offsets() -> list[int]:
    """Where each line that is not skipped begins in the file."""
    found, at = [], 0
    for data, value in LINES:
        if value is not None:
            found.append(at)
        at += len(data)
    return found


def _expected_json(path: Path, value: bytes, offset: int, sent_at: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "host": HOST,
        "service": "json",
        "path": str(path),
        "offset": offset,
        "ts": sent_at,
    }
    try:
        return body | {"message": value.decode()}
    except UnicodeDecodeError:
        return body | {"message_b64": base64.b64encode(value).decode()}


def test_every_byte_arrives_raw_as_json_and_with_origin_and_key(
    kafka: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.log"
    path.write_bytes(b"".join(data for data, _ in LINES) + b"half a line")
    assert len(LONG) == 990_000
    common = {"log_path": path}
    before_ms = int(time.time() * 1000)
    shipper = agent(
        kafka_addr=kafka.address,
        services={
            "raw": common | {"topic": f"{topic}-raw"},
            "json": common | {"topic": f"{topic}-json", "format": "json", "key": "path"},
            "origin": common | {"topic": f"{topic}-origin", "headers": "origin", "key": "service"},
        },
        agent={"host_id": HOST},
    )
    whole = path.stat().st_size - len(b"half a line")
    shipper.wait_for(
        lambda: [file["acked_offset_bytes"] for file in shipper.fetch_status()["files"]] == [whole] * 3,
        what="all whole lines are acknowledged",
    )

    def records(kind: str) -> list[Any]:
        found = list(read_messages(kafka.address, f"{topic}-{kind}", expect=len(VALUES), quiet_s=0.3))
        assert len({record.partition() for record in found}) == 1
        return found

    raw, as_json, origin = records("raw"), records("json"), records("origin")
    after_ms = int(time.time() * 1000)
    assert [record.value() for record in raw] == VALUES
    assert {(record.key(), record.headers()) for record in raw} == {(None, None)}
    assert all(before_ms <= record.timestamp()[1] <= after_ms for record in raw)

    documents = [json.loads(record.value()) for record in as_json]
    assert documents == [
        _expected_json(path, value, offset, document["ts"])
        for value, offset, document in zip(VALUES, _offsets(), documents, strict=True)
    ]
    assert all(before_ms <= document["ts"] <= after_ms for document in documents)
    assert {record.key() for record in as_json} == {bytes(path)}

    assert [record.value() for record in origin] == VALUES
    assert {record.key() for record in origin} == {b"origin"}
    assert [record.headers() for record in origin] == [
        [("host", HOST.encode()), ("service", b"origin"), ("path", bytes(path)), ("offset", b"%d" % offset)]
        for offset in _offsets()
    ]

    metrics = shipper.metrics()
    for service in ("raw", "json", "origin"):
        assert metrics[f'logagent_lines_cut_total{{service="{service}"}}'] == 1
        assert metrics[f'logagent_cut_bytes_total{{service="{service}"}}'] == len(TOO_LONG) - MAX_LINE_BYTES

    with path.open("ab") as file:
        file.write(b" becomes whole\n")
    shipper.wait_acked()
    last = [record.value() for record in records("raw")][-1]
    assert last == b"half a line becomes whole"


def test_a_line_that_json_makes_too_large_is_dead_lettered_and_the_rest_goes_on(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "blown.log"
    control, binary = b"\x01" * 400_000, b"\xff" * 900_000
    path.write_bytes(b"\n".join([b"first", control, b"second", binary, b"third"]) + b"\n")
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={"json": {"log_path": path, "topic": topic, "format": "json"}},
    )
    shipper.wait_acked()

    found = list(read_messages(kafka_39.address, topic, expect=3, quiet_s=0.3))
    assert [json.loads(record.value())["message"] for record in found] == ["first", "second", "third"]
    dead = [json.loads(line) for line in (shipper.data_dir / "dead-letter.jsonl").read_text().splitlines()]
    assert [(one["offset"], one["code"]) for one in dead] == [(6, 10), (6 + len(control) + 8, 10)]
