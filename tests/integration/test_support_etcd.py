# SPDX-License-Identifier: Apache-2.0
"""The Etcd that tests start: one member and three, v2, TLS, authentication, faults."""

import json

import pytest

from tests.support.certificates import Certificates
from tests.support.etcd import ETCD_35, ETCD_NEW, VERSIONS, EtcdNode


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def test_a_member_comes_back_on_its_port_with_its_data(etcd_node, version):
    node = etcd_node(version)
    node.etcdctl("put", "/a", stdin="one\n")

    node.freeze()
    with pytest.raises(OSError, match="timed out"):
        node.http("GET", "/version", timeout_s=0.2)
    node.thaw()
    node.wait_ready()
    node.kill9()
    assert not node.running
    with pytest.raises(OSError, match="refused"):
        node.http("GET", "/version")
    node.start()

    assert node.etcdctl("get", "--print-value-only", "/a").strip() == "one"
    node.freeze()
    node.stop()
    assert not node.running


def test_only_35_serves_the_v2_api(etcd):
    status, body = etcd.http("GET", "/v2/keys/none")
    assert status == 404
    if etcd.version == ETCD_35:
        assert json.loads(body)["errorCode"] == 100
    else:
        assert b"page not found" in body


def test_compaction_forgets_the_past(etcd, key_root):
    for value in "123":
        etcd.etcdctl("put", key_root, value)
    revision = etcd.compact()
    with pytest.raises(AssertionError, match="compacted"):
        etcd.etcdctl("get", key_root, f"--rev={revision - 1}")


def test_three_members_elect_another_leader(etcd_cluster, version):
    cluster = etcd_cluster(version)
    first = cluster.leader()
    first.kill9()
    second = cluster.leader()
    assert second is not first
    second.etcdctl("put", "/a", "1")
    first.start()
    assert len(cluster.followers()) == 2
    assert len(cluster.pids) == 3
    assert first.etcdctl("get", "--print-value-only", "/a").strip() == "1"


def test_with_authentication_only_who_has_a_password_may_read(etcd_node, version):
    node = etcd_node(version)
    node.enable_auth()
    node.etcdctl("put", "/a", "1")  # as root
    status, body = node.http("POST", "/v3/kv/range", b'{"key": "L2E="}')
    assert status == 400
    assert b"user name is empty" in body


def test_with_tls_a_client_needs_a_certificate_if_wanted(etcd_node, version, tmp_path):
    certificates = Certificates(tmp_path / "certificates")
    node = etcd_node(version, tls=certificates, client_certs=True)
    node.etcdctl("put", "/a", "1")
    cert, key = Certificates(tmp_path / "others").issue("stranger", "agent")
    certificates.client_cert, certificates.client_key = cert, key
    with pytest.raises(OSError, match=r"(?i)tls|ssl|reset"):
        node.http("GET", "/version")


def test_a_server_with_an_expired_certificate_still_becomes_ready(etcd_node, tmp_path):
    certificates = Certificates(tmp_path / "certificates")
    certificates.server_cert, certificates.server_key = certificates.issue("old", "127.0.0.1", expired=True)
    assert etcd_node(tls=certificates).running


def test_a_member_that_cannot_start_shows_its_log(etcd_node):
    node: EtcdNode = etcd_node(ETCD_NEW, start=False, flags={"heartbeat-interval": "nonsense"})
    with pytest.raises(AssertionError, match="heartbeat-interval"):
        node.start()
