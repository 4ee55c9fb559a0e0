# SPDX-License-Identifier: Apache-2.0
"""Path rules and short forms for the tests of lists of services."""

import json
from typing import Any

from logagent.config.services import PathRules
from logagent.control.documents import Document, read

RULES = PathRules(
    allowed=(), denied=("/etc", "/dev", ".ssh"), own_log="/var/log/agent.log", data_dir="/var/lib/agent"
)
KEY = "/logagent/h/logconfig"


def raw(log_path: str = "/var/log/a.log", **changes: Any) -> dict[str, Any]:
    return {"service": "web", "log_path": log_path, "topic": "t", **changes}


def encoded(*members: Any) -> bytes:
    return json.dumps(members).encode()


def document(
    *members: Any, previous: Document | None = None, key: str = KEY, source: str = "etcd"
) -> Document:
    return read(encoded(*members), 1, key, RULES, previous, source=source)
