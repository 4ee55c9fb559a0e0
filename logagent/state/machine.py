# SPDX-License-Identifier: Apache-2.0
"""Notices that data_dir comes from another machine: a clone or a restored backup, whose lines may be sent twice."""

import contextlib
import hashlib
from pathlib import Path

NAME = "machine"
MACHINE_ID = Path("/etc/machine-id")


def moved_here(directory: Path, machine_id: Path = MACHINE_ID) -> bool:
    """Whether another machine was the last to work on it. It belongs to this one from now on; never raises.

    Where machines have no id, as in many containers, nothing is noticed. What is kept is a digest: an id is not to
    leave its machine.
    """
    kept = directory / NAME
    try:
        identity = machine_id.read_bytes().strip()
    except OSError:
        return False
    if not identity:
        return False
    digest = hashlib.blake2b(identity, digest_size=16, person=b"logagent").hexdigest()
    try:
        before = kept.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        before = ""
    if before != digest:
        draft = kept.with_suffix(".new")
        with contextlib.suppress(OSError):  # it is noticed again at the next start
            draft.write_text(f"{digest}\n", "ascii")
            draft.replace(kept)
    return before not in ("", digest)
