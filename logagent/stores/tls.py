# SPDX-License-Identifier: Apache-2.0
"""TLS to Etcd: what we trust and show, loaded once until a file changes, and what its failures mean."""

import ssl as plain_ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gevent import ssl

from logagent.errors import EtcdError, EtcdRefused, MemberUnavailable
from logagent.spawn import in_thread
from logagent.stores.store import Access

PLAIN = "speaks plain HTTP, not TLS: remove ca from [etcd], or give Etcd https addresses and certificates"
_EXPIRED, _WRONG_NAMES = 10, (62, 64)  # OpenSSL's X509_V_ERR_*
_MAX_KEPT = 8

Stamp = tuple[tuple[int, int, int] | None, ...]
"""What tells that a file is another one: inode, size, time of its last change."""

_kept: dict[tuple[Path | None, Path | None, Path | None], tuple[Stamp, Any]] = {}


def context(access: Access) -> Any:
    """Verifies always. Raises EtcdRefused that names the file which cannot be used.

    Loading takes up to 40 ms of a core, so that it is done in a thread, and only for files that are new.
    """
    name = access.ca, access.cert, access.key
    stamp = _stamp(access)
    found = _kept.get(name)
    if found is None or found[0] != stamp:
        made = in_thread(_load, access)
        while len(_kept) >= _MAX_KEPT:
            _kept.pop(next(iter(_kept)))
        found = _kept[name] = stamp, made
    return found[1]


def _stamp(access: Access) -> Stamp:
    """Taken before loading: what is replaced meanwhile is loaded again."""
    found: list[tuple[int, int, int] | None] = []
    for file in _files(access):
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _files(access: Access) -> Iterator[Path]:
    if access.ca is None:
        paths = plain_ssl.get_default_verify_paths()
        yield from (Path(path) for path in (paths.cafile, paths.capath) if path)
    yield from (file for file in (access.ca, access.cert, access.key) if file)


def _load(access: Access) -> Any:
    made = ssl.SSLContext(plain_ssl.PROTOCOL_TLS_CLIENT)
    used = f"{access.ca}"
    try:
        if access.ca is None:
            made.load_default_certs()
        else:
            made.load_verify_locations(str(access.ca))
        if access.cert is not None:
            used = f"{access.cert} with key = {access.key}" if access.key else f"{access.cert}"
            # A password that is given means that nobody is asked for one on the terminal.
            made.load_cert_chain(str(access.cert), access.key and str(access.key), password=lambda: "")
    except OSError as error:
        reason = _words(getattr(error, "reason", None) or error.strerror or "not PEM")
        raise EtcdRefused("[etcd]", f"{used} cannot be used for TLS: {reason}") from error
    return made


def error(member: str, failure: plain_ssl.SSLError, host: str, access: Access) -> EtcdError:
    """One sentence that says what to change, where something can be changed."""
    reason = failure.reason or ""
    ours = f"our client certificate (cert = {access.cert} in [etcd])"
    if isinstance(failure, plain_ssl.SSLCertVerificationError):
        by = f"ca = {access.ca} in [etcd]" if access.ca else "the system's authorities"
        said = f"its certificate is not trusted by {by}: {failure.verify_message}"
        if failure.verify_code == _EXPIRED:
            said = "its certificate has expired: it must be renewed on the server"
        elif failure.verify_code in _WRONG_NAMES:
            said = f"its certificate is not made for {host}: see etcd_addr"
    elif "WRONG_VERSION" in reason or "RECORD_LAYER" in reason or "HTTP_REQUEST" in reason:
        said = PLAIN
    elif "ALERT" not in reason:
        return MemberUnavailable(member, f"TLS failed: {_words(reason) or failure}")
    elif access.cert is None:
        said = "wants a client certificate: set cert and key in [etcd]"
    elif "CERTIFICATE_EXPIRED" in reason:
        said = f"{ours} has expired: renew it"
    else:
        said = f"refuses {ours}: expired, or not of the server's --trusted-ca-file ({_words(reason)})"
    return EtcdRefused(member, said)


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
