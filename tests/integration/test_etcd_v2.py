# SPDX-License-Identifier: Apache-2.0
"""The v2 API of a real server with authentication and TLS, and servers that have none."""

import pytest

from logagent.config.values import Address
from logagent.errors import EtcdRefused, MemberUnavailable
from logagent.spawn import Spawner
from logagent.stores.etcd_v2 import KeysStore
from logagent.stores.store import ABSENT, Access
from tests.support.certificates import Certificates
from tests.support.etcd import ETCD_35, HOST

KEY = "/logagent/h/logconfig"


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


@pytest.fixture
def open_store():
    stores = []

    def start(node, **access):
        stores.append(KeysStore(Address(HOST, node.port), Access(3.0, **access), Spawner(fail)))
        return stores[-1]

    yield start
    for store in stores:
        store.close()


@pytest.fixture
def password_file(tmp_path):
    def write(password):
        file = tmp_path / f"password-{password}"
        file.write_text(password)
        file.chmod(0o600)
        return file

    return write


def test_with_authentication_a_user_reads_writes_and_watches_what_its_role_allows(
    etcd_node, open_store, password_file
):
    node = etcd_node(ETCD_35, v2=True)
    node.etcdctl("user", "add", "root", stdin="root-secret\n", api=2)
    node.etcdctl("user", "add", "agent", stdin="secret\n", api=2)
    node.etcdctl("role", "add", "host", api=2)
    node.etcdctl("role", "grant", "host", "--path", "/logagent/h/*", "--readwrite", api=2)
    node.etcdctl("user", "grant", "agent", "--roles", "host", api=2)
    node.etcdctl("auth", "enable", api=2)
    root = ["--username", "root:root-secret"]
    node.etcdctl(*root, "role", "revoke", "guest", "--path", "/*", "--readwrite", api=2)

    store = open_store(node, user="agent", password_file=password_file("secret"))
    revision = store.commit({KEY: ABSENT}, {KEY: b"1"})
    assert store.load([KEY]).items[KEY].revision == revision
    assert next(store.follow([KEY], revision - 1, 2.0)) == 1
    with pytest.raises(EtcdRefused, match=r"/logagent/other/logconfig\): check user and password_file"):
        store.load(["/logagent/other/logconfig"])

    wrong = open_store(node, user="agent", password_file=password_file("wrong"))
    for nobody in (wrong, open_store(node)):
        with pytest.raises(EtcdRefused, match="check user and password_file"):
            nobody.load([KEY])
        with pytest.raises(EtcdRefused, match="check user and password_file"):
            nobody.commit({}, {KEY: b"1"})
        with pytest.raises(EtcdRefused, match="check user and password_file"):
            next(nobody.follow([KEY], revision, 2.0))


def test_with_tls_the_server_is_verified_and_the_client_shows_its_certificate(
    etcd_node, open_store, tmp_path
):
    ours = Certificates(tmp_path / "ours")
    theirs = Certificates(tmp_path / "theirs")
    node = etcd_node(ETCD_35, v2=True, tls=ours, client_certs=True)
    files = {"tls": True, "ca": ours.ca, "cert": ours.client_cert, "key": ours.client_key}

    store = open_store(node, **files)
    revision = store.commit({KEY: ABSENT}, {KEY: b"1"})
    assert next(store.follow([KEY], revision - 1, 2.0)) == 1

    for untrusted in (files | {"ca": theirs.ca}, files | {"ca": None}):
        with pytest.raises(EtcdRefused):
            open_store(node, **untrusted).load([KEY])
    with pytest.raises((EtcdRefused, MemberUnavailable)):
        open_store(node, tls=True, ca=ours.ca).load([KEY])


def test_servers_without_the_v2_api_are_refused(etcd_node, etcd_new, open_store):
    for node in (etcd_new, etcd_node(ETCD_35)):
        with pytest.raises(EtcdRefused, match="does not serve the v2 API"):
            open_store(node).load([KEY])


def test_a_directory_that_vanishes_is_a_change_of_the_keys_in_it(etcd_35, open_store, key_root):
    store = open_store(etcd_35)
    key = f"{key_root}/h/logconfig"
    revision = store.commit({}, {key: b"1"})
    etcd_35.etcdctl("rm", "--recursive", key_root, api=2)
    watch = store.follow([key], revision, 2.0)
    assert next(watch) == 1
    watch.close()
    assert store.load([key]).items == {}
