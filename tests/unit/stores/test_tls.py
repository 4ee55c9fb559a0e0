# SPDX-License-Identifier: Apache-2.0
"""Certificates are loaded once, in a thread, and again when they were renewed."""

import os
import ssl
import threading

import pytest

from logagent.errors import EtcdRefused
from logagent.stores import tls
from logagent.stores.store import Access
from tests.support.certificates import Certificates


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(tls, "_kept", {})


@pytest.fixture
def loads(monkeypatch):
    """The thread of each loading."""
    seen, real = [], tls._load

    def load(access):
        seen.append(threading.get_ident())
        return real(access)

    monkeypatch.setattr(tls, "_load", load)
    return seen


@pytest.fixture
def made(tmp_path):
    return Certificates(tmp_path)


def mutual(made, **changes):
    files = {"ca": made.ca, "cert": made.client_cert, "key": made.client_key}
    return Access(1, tls=True, **(files | changes))


@pytest.mark.parametrize("system", [False, True])
def test_all_stores_share_what_was_loaded_once_in_a_thread(made, loads, system):
    access = Access(1, tls=True) if system else mutual(made)
    first = tls.context(access)
    assert first.verify_mode == ssl.CERT_REQUIRED
    assert first.check_hostname
    assert all(tls.context(access) is first for _ in range(5))
    assert len(loads) == 1
    assert loads[0] != threading.get_ident()


@pytest.mark.parametrize("which", ["ca", "client_cert", "client_key"])
@pytest.mark.parametrize("how", ["in place", "by another file"])
def test_what_was_renewed_is_loaded_again(made, loads, which, how):
    access = mutual(made)
    before = tls.context(access)
    file = getattr(made, which)
    if how == "in place":
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    else:
        copy = file.with_suffix(".new")
        copy.write_bytes(file.read_bytes())
        os.utime(copy, ns=(0, file.stat().st_mtime_ns))
        copy.replace(file)
    assert tls.context(access) is not before
    assert len(loads) == 2


def test_what_is_replaced_while_it_is_loaded_is_loaded_again(made, monkeypatch):
    access = mutual(made)
    real = tls._load

    def load(asked):
        found = real(asked)
        os.utime(made.ca, ns=(0, 0))
        return found

    monkeypatch.setattr(tls, "_load", load)
    first = tls.context(access)
    assert tls.context(access) is not first


def test_files_that_cannot_be_used_are_tried_again(made):
    good = made.client_key.read_bytes()
    access = mutual(made)
    made.client_key.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(EtcdRefused, match=r"client\.pem with key = .* cannot be used for TLS"):
            tls.context(access)
    made.client_key.write_bytes(good)
    tls.context(access)


def test_others_are_not_mixed_up_and_few_are_kept(made, loads):
    assert tls.context(mutual(made)) is not tls.context(mutual(made, cert=None, key=None))
    for number in range(2 * tls._MAX_KEPT):
        ca = made.ca.with_name(f"{number}.pem")
        ca.write_bytes(made.ca.read_bytes())
        tls.context(mutual(made, ca=ca))
    assert len(tls._kept) == tls._MAX_KEPT
    assert len(loads) == 2 + 2 * tls._MAX_KEPT
