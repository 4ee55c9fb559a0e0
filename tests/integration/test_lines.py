# SPDX-License-Identifier: Apache-2.0
"""Lines of every kind through the real agent into a real Kafka, with a stop in the middle of each file."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.support.agent import AgentProcess
from tests.support.consumer import read_messages
from tests.support.kafka import KafkaNode

Expected = list[tuple[bytes, int]]
"""(value, offset of its line)"""


def _text(encoding: str, first: int, last: int, offset: int) -> tuple[bytes, Expected]:
    """Lines in an encoding, and what Kafka gets of them."""
    data, expected = b"", []
    for number in range(first, last):
        line = f"{number} 汉字 ☃" if encoding != "shift_jis" else f"{number} 日本語ソ表"
        expected.append((line.encode(), offset + len(data)))
        data += f"{line}\r\n".encode(encoding)
    return data, expected


def _traces(first: int, last: int, offset: int) -> tuple[bytes, Expected]:
    data, expected = b"", []
    for number in range(first, last):
        event = b"2026-01-%02d error %d\n" % (number % 28 + 1, number)
        event += b"".join(b'  File "a.py", line %d\n\n' % line for line in range(number % 40)) + b"ValueError"
        expected.append((event, offset + len(data)))
        data += event + b"\n"
    return data, expected


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_lines_of_every_kind_arrive_once_with_their_offsets(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path
) -> None:
    """Cases 9, 28-34, 36, 37: encodings, marks, events, long lines, a hole; a stop while an event is open."""
    logs = tmp_path / "logs"
    (logs / "old").mkdir(parents=True)
    encodings = {"u16": "utf-16-be", "gb": "gb18030", "sj": "shift_jis"}
    expected: dict[str, Expected] = {}
    mark = {"u16": b"\xfe\xff", "gb": b"", "sj": b""}
    for name, encoding in encodings.items():
        data, expected[name] = _text(encoding, 0, 2000, len(mark[name]))
        _append(logs / f"{name}.log", mark[name] + data)
    data, expected["trace"] = _traces(0, 500, 0)
    _append(logs / "trace.log", data + b"2026-02-01 open\n  File")
    long = b"x" * 5000 + b"\n"
    _append(logs / "hole.log", b"before\n")
    os.truncate(logs / "hole.log", 50_000_000)
    _append(logs / "hole.log", b"behind\n" + long + b"after\n")
    _append(logs / "old" / "no.log", b"excluded\n")
    _append(logs / "no.gz", b"excluded\n")
    expected["hole"] = [(b"before", 0), (b"behind", 50_000_000), (b"after", 50_005_008)]

    services = {
        "u16": {"log_path": logs / "u16.log", "encoding": "utf-16"},
        "gb": {"log_path": logs / "gb.log", "encoding": "gb18030"},
        "sj": {"log_path": logs / "sj.log", "encoding": "shift_jis"},
        "trace": {
            "log_path": logs / "trace.log",
            "multiline_start": r"\d{4}-\d\d-\d\d ",
            "multiline_timeout_s": 60,
        },
        "hole": {"log_path": logs / "**" / "*", "exclude": f"old, *.gz, u16.log, gb.log, sj.log, {logs}/tr*"},
    }
    shipper = agent(
        kafka_addr=kafka_39.address,
        services={
            name: {"topic": f"{topic}-{name}", "headers": "origin"} | options
            for name, options in services.items()
        },
        files={"oversize": "dead_letter", "max_line_bytes": 4000},
    )
    lines = sum(map(len, expected.values())) + 1  # and the dead letter
    shipper.wait_for(
        lambda: shipper.metric("logagent_lines_acked_total") == lines, what="all is acknowledged"
    )
    assert shipper.metrics()['logagent_hole_bytes_total{service="hole"}'] == 50_000_000 - len(b"before\n")
    shipper.stop()

    for name, encoding in encodings.items():
        path = logs / f"{name}.log"
        data, more = _text(encoding, 2000, 3000, path.stat().st_size)
        _append(path, data)
        expected[name] += more
    trace = logs / "trace.log"
    opened = trace.stat().st_size - len(b"2026-02-01 open\n  File")
    data, more = _traces(500, 600, trace.stat().st_size + len(b" 1\n"))
    _append(trace, b" 1\n" + data + b"2026-03-01 last\n")
    expected["trace"] += [(b"2026-02-01 open\n  File 1", opened), *more]
    shipper.start()
    again = sum(map(len, expected.values())) + 1 - lines
    shipper.wait_for(lambda: shipper.metric("logagent_lines_acked_total") == again, what="the rest is, too")

    for name, wanted in expected.items():
        found = read_messages(kafka_39.address, f"{topic}-{name}", expect=len(wanted), quiet_s=0.2)
        records = [(one.value(), int(dict(one.headers())["offset"])) for one in found]
        assert records == wanted, name
    (letter,) = (shipper.data_dir / "dead-letter.jsonl").read_text().splitlines()
    dead = json.loads(letter)
    assert (dead["offset"], dead["line_bytes"], dead["code"]) == (50_000_007, 5000, -1)
    assert base64.b64decode(dead["bytes_b64"]) == b"x" * 4000
