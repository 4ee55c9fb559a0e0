# SPDX-License-Identifier: Apache-2.0
"""On which file systems the kernel tells of changes, and on which only looking helps: others write there as well."""

import os
import re

MOUNTS = "/proc/self/mountinfo"

REMOTE = re.compile(
    r"nfs4?|cifs|smb3?|smbfs|ncpfs|afs|9p|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2|orangefs|pvfs2|virtiofs|vboxsf"
    r"|vmhgfs|prl_fs|fuse(?!ctl).*"
)
"""Other machines, or programs, change files there without this kernel's knowledge."""


def remote_kind(directory: bytes, mounts: str = MOUNTS) -> str:
    """The kind of file system that the directory lies on, if changes there may go untold; else an empty string."""
    try:
        device = os.stat(directory).st_dev
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            return remote_kinds(file.read()).get(f"{os.major(device)}:{os.minor(device)}", "")
    except OSError:
        return ""  # it is watched, if it is there


def remote_kinds(mounts: str) -> dict[str, str]:
    """Of each device with a file system of that sort its kind. Pure; the format is that of proc(5), mountinfo."""
    found = {}
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind = rest.partition(" ")[0]
        if REMOTE.fullmatch(kind):
            found[fields.split(" ")[2]] = kind
    return found
