# SPDX-License-Identifier: Apache-2.0
"""Every key of the INI file, declared once. Pure."""

from collections.abc import Mapping
from typing import Final

from logagent.config import values
from logagent.config.services import SERVICE_KEYS
from logagent.config.values import Key

SECTIONS: Final[Mapping[str, str]] = {
    "": "The seven keys of the top stand before the first section.",
    "agent": "The agent itself.",
    "etcd": "How to get at Etcd, where etcd_addr names one.",
    "kafka": "How records are collected and sent.",
    "files": "How log files are read.",
    "services": "What to ship: one [[name]] per service.",
}
"""Section names in the order in which they are written, with one sentence each."""

SYSTEM_CA: Final = "system"
"""The word that stands for the certificate authorities of the system."""

KEYS: Final[tuple[Key, ...]] = (
    Key(
        "",
        "etcd_addr",
        values.addresses(2379, at_least=0),
        "Etcd servers; empty for a single host whose services all stand in this file.",
        default="",
        sample="",
    ),
    Key(
        "",
        "etcd_timeout",
        values.whole(1, 300, "seconds"),
        "Longest wait for an answer of Etcd.",
        default="5",
        field="etcd_timeout_s",
    ),
    Key(
        "",
        "etcd_watch_key",
        # What ends with a slash is a prefix to a Store, and %s/groups is the key of the host's groups.
        values.matching(
            r"(?!.*%s.*%s)(?!.*(?:/|%s/groups)\Z).*%s.*",
            "a key with %s, for the host, in it exactly once, that ends neither with / nor with %s/groups",
        ),
        "Etcd key that holds the services of this host.",
        default="/logagent/%s/logconfig",
    ),
    Key(
        "",
        "kafka_addr",
        values.addresses(9092, at_least=1),
        "Kafka brokers to ask first; one that answers is enough.",
        required=True,
        sample="localhost:9092",
    ),
    Key(
        "",
        "thread_num",
        values.whole(1, 64),
        "Requests that are sent to Kafka at the same time.",
        default="4",
    ),
    Key(
        "",
        "log",
        values.file_path(),
        "The agent's own log; a relative path is relative to this file.",
        default_words="standard error",
    ),
    Key(
        "",
        "level",
        values.choice("debug", "trace", "info", "warn", "error"),
        "How much goes into the agent's own log.",
        default="info",
        reloadable=True,
        sample="info",
    ),
    Key(
        "agent",
        "host_id",
        values.matching(
            r"(?!\.{1,2}\Z)[A-Za-z0-9._:-]{1,253}", "1 to 253 letters, digits, dots, colons, _ or -"
        ),
        "Name of this host in Etcd and in records.",
        default_words="the primary IPv4 address at the first start",
    ),
    Key(
        "agent",
        "data_dir",
        values.file_path(),
        "Directory of positions and sockets; relative to this file.",
        default_words="/var/lib/logagent as root, else logagent in $XDG_STATE_HOME or ~/.local/state",
    ),
    Key(
        "agent",
        "admin_addr",
        values.listen_address(),
        "Read-only HTTP: metrics, health and status; the address taken is written to admin.addr in data_dir.",
        default="127.0.0.1:0",
    ),
    Key(
        "agent",
        "memory_limit",
        values.size(64 * values.MIB, 1024 * values.GIB),
        "Resident memory that the agent stays below; full buffers make it stop reading.",
        default="96MiB",
        field="memory_limit_bytes",
    ),
    Key(
        "agent",
        "shutdown_timeout_s",
        values.decimal(0, 3600, "seconds"),
        "Longest wait at a stop for lines that were read to be acknowledged.",
        default="15",
        reloadable=True,
    ),
    Key(
        "agent",
        "state_sync",
        values.choice("normal", "full"),
        "Whether what is noted of a batch before it is sent survives a crash of the agent, or a power cut too.",
        default="normal",
    ),
    Key(
        "agent", "log_format", values.choice("text", "json"), "Lines of the agent's own log.", default="text"
    ),
    Key(
        "etcd",
        "api",
        values.choice("auto", "v3", "v2"),
        "Interface of the server; auto looks once and remembers.",
        default="auto",
    ),
    Key(
        "etcd",
        "user",
        values.matching(r"[^\s:]{1,200}", "a user name without white space and colons"),
        "User, where the server wants one; it needs password_file.",
        default_words="none",
    ),
    Key(
        "etcd",
        "password_file",
        values.file_path(),
        "File whose first line is the password, readable only for the agent; relative to this file.",
        default_words="none",
    ),
    Key(
        "etcd",
        "ca",
        values.file_path(),
        f"Certificates of the authorities to trust, or the word {SYSTEM_CA}; given, all connections use TLS.",
        default_words="none, connections are not encrypted",
    ),
    Key(
        "etcd",
        "cert",
        values.file_path(),
        "Client certificate, without a CommonName where the server has users; it needs key and ca.",
        default_words="none",
    ),
    Key(
        "etcd",
        "key",
        values.file_path(),
        "Private key of cert.",
        default_words="none",
    ),
    Key(
        "etcd",
        "accept_empty",
        values.yes_or_no(),
        "Whether to stop everything when a restored or emptied Etcd holds no services; no keeps the last ones.",
        default="no",
        reloadable=True,
    ),
    Key(
        "etcd",
        "publish_status",
        values.yes_or_no(),
        "Whether the agent writes its own state into Etcd, for the console.",
        default="yes",
    ),
    Key(
        "kafka",
        "linger_ms",
        values.whole(0, 10_000, "milliseconds"),
        "Wait for more lines before a batch is sent.",
        default="50",
    ),
    Key(
        "kafka",
        "batch_bytes",
        values.size(1024, 950_000),
        "A batch of this size is sent at once.",
        default="950000",
    ),
    Key(
        "kafka",
        "partitioner",
        values.choice("file", "round_robin", "random"),
        "Partition of a record: a stable one per file (keeps the order), in turn per batch, or at random.",
        default="file",
    ),
    Key(
        "kafka",
        "delivery",
        values.choice("exactly_once", "at_least_once"),
        "Whether each batch is noted on disk before it is sent, so that nothing comes twice after a crash.",
        default="exactly_once",
    ),
    Key(
        "kafka",
        "intent_give_up_s",
        values.decimal(1, 604_800, "seconds"),
        "How long the lines of a partition wait if Kafka does not tell what became of the batch before them.",
        default="600",
    ),
    Key(
        "kafka",
        "dead_letter_full",
        values.choice("block", "drop"),
        "What a record that Kafka refuses does when the dead-letter file is full: its service waits, or it is lost and"
        " counted.",
        default="block",
    ),
    Key(
        "kafka",
        "dead_letter_max_bytes",
        values.size(4 * values.MIB, 1024 * values.GIB),
        "The largest size of the dead-letter file.",
        default="256MiB",
    ),
    Key(
        "files",
        "start_at",
        values.choice("beginning", "end"),
        "Where to start in files that are there when a service is first seen.",
        default="beginning",
        reloadable=True,
    ),
    Key(
        "files",
        "rescan_s",
        values.decimal(1, 3600, "seconds"),
        "Time between two full looks for new files.",
        default="30",
        reloadable=True,
    ),
    Key(
        "files",
        "rotate_wait_s",
        values.decimal(0, 3600, "seconds"),
        "How long a renamed or deleted file is still read after its last line.",
        default="10",
        reloadable=True,
    ),
    Key(
        "files",
        "copy_wait_s",
        values.decimal(0, 86_400, "seconds"),
        "How long a new file that has the bytes of another one is held back: a copy whose original is emptied next.",
        default="60",
        reloadable=True,
    ),
    Key(
        "files",
        "hold_deleted_bytes",
        values.size(0, 1024 * 1024 * values.GIB),
        "What deleted files that are not all delivered may take on disks, together; beyond it the oldest are given up.",
        default="1GiB",
        reloadable=True,
    ),
    Key(
        "files",
        "hold_deleted_min_free",
        values.free_space(),
        "What a file system shall have free; deleted files on one with less are given up, the oldest first.",
        default="5%",
        reloadable=True,
    ),
    Key(
        "files",
        "max_line_bytes",
        values.size(64, 1_000_000),
        "The longest line and the longest event, in the file as in the record; leave room for the rest of a record.",
        default="999900",
        reloadable=True,
    ),
    Key(
        "files",
        "oversize",
        values.choice("cut", "split", "dead_letter"),
        "What happens to longer lines: their beginning is sent, or they are sent in pieces, or their beginning and"
        " their place go to the dead-letter file.",
        default="cut",
        reloadable=True,
    ),
    Key(
        "files",
        "allowed_paths",
        values.directories(bare_names=False),
        "Only files below these directories are read; empty for all.",
        default="",
        reloadable=True,
    ),
    Key(
        "files",
        "denied_paths",
        values.directories(bare_names=True),
        "Files below these directories are never read, even if allowed; replaces the default.",
        default="/etc, /root, /proc, /sys, /dev, /boot, .ssh",
        reloadable=True,
    ),
    Key(
        "files",
        "max_open",
        values.whole(0, 1_000_000),
        "So many files are open at once, the others are read in turn; 0 for what LimitNOFILE leaves.",
        default="0",
        reloadable=True,
    ),
    Key(
        "files",
        "poll",
        values.directories(bare_names=False),
        "Below these directories files are looked at every second, because changes there are not told: others write"
        " there. For NFS, CIFS, FUSE and the like the agent sees so itself.",
        default="",
    ),
    Key(
        "files",
        "forget_after_days",
        values.decimal(0, 3650, "days"),
        "How long the position of a file that is gone is remembered, should the file come back.",
        default="7",
        reloadable=True,
    ),
)

ALL_KEYS: Final[tuple[Key, ...]] = KEYS + SERVICE_KEYS
