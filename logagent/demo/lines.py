# SPDX-License-Identifier: Apache-2.0
"""The two services of the demo and their lines, which prove themselves. Writer and checker share nothing else. Pure."""

import zlib
from typing import NamedTuple

_REQUESTS = (
    b"GET /ping?v=%d",
    b"POST /srv/input?id=%d",
    b"GET /dict/update?from=%d",
    b"GET /skin/list?page=%d",
)


class Service(NamedTuple):
    """Who writes, where, how fast, and what the agent may send."""

    name: str
    file_name: str
    send_rate_lines_per_s: int
    calm_lines_per_s: int
    burst_lines_per_s: int
    first_rotation_s: float


SERVICES = (
    Service("test_service", "ping-android.shouji.sogou.com_access_log", 1000, 600, 600, 3.0),
    Service("srv.android.shouji.sogou.com", "srv.android.shouji.sogou.com_access_log", 2000, 1200, 3200, 5.0),
)
CYCLE_S, BURST_FROM_S, BURST_UNTIL_S = 12.0, 4.0, 6.0
ROTATE_EVERY_S = 4.0


def lines_due(service: Service, elapsed_s: float) -> int:
    """How many lines the service has written after ``elapsed_s``: calm, with a burst in every cycle."""
    cycles, rest_s = divmod(elapsed_s, CYCLE_S)
    burst_s = cycles * (BURST_UNTIL_S - BURST_FROM_S)
    burst_s += min(max(rest_s - BURST_FROM_S, 0.0), BURST_UNTIL_S - BURST_FROM_S)
    more = service.burst_lines_per_s - service.calm_lines_per_s
    return int(elapsed_s * service.calm_lines_per_s + burst_s * more)


class Line(NamedTuple):
    """What a line says of itself."""

    service: str
    sequence: int
    written_ns: int  # since 1970


def make_line(service: str, sequence: int, written_ns: int) -> bytes:
    """One line of an access log without its newline, about 200 bytes."""
    head = b"%s %d %d" % (service.encode(), sequence, written_ns)
    request = _REQUESTS[sequence % len(_REQUESTS)] % sequence
    rest = b'10.134.%d.%d "%s HTTP/1.1" 200 %d "-" "Dalvik/2.1.0 (Linux; U; Android 14)" %s' % (
        sequence % 251,
        sequence % 241,
        request,
        400 + sequence % 3000,
        b"0123456789abcdefghijklmnopqrstuvwxyz"[sequence % 7 :],
    )
    return b"%s %08x %s" % (head, zlib.crc32(rest, zlib.crc32(head)), rest)


def parse_line(value: bytes) -> Line | None:
    """None when the value is no such line or its checksum does not fit."""
    parts = value.split(b" ", 4)
    if len(parts) != 5 or not parts[1].isdigit() or not parts[2].isdigit():
        return None
    name, sequence, written_ns, checksum, rest = parts
    head = b"%s %s %s" % (name, sequence, written_ns)
    if checksum != b"%08x" % zlib.crc32(rest, zlib.crc32(head)):
        return None
    return Line(name.decode(errors="replace"), int(sequence), int(written_ns))
