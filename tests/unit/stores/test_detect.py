# SPDX-License-Identifier: Apache-2.0
"""Which API is taken, and the one sentence when there is none."""

import pytest

from logagent.errors import EtcdRefused, MemberUnavailable
from logagent.spawn import Spawner
from logagent.stores.detect import Found, detect
from logagent.stores.store import Access
from logagent.stores.tokens import Tokens
from tests.unit.stores.servers import Server, always, answer, scripted

KEY = "/logagent/h/logconfig"
HEADER = {"cluster_id": "1", "revision": "7", "raft_term": "2"}
KV = {"key": "L2xvZ2FnZW50L2gvbG9nY29uZmln", "mod_revision": "5", "value": "W10="}


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


V3_EMPTY = answer(200, {"header": HEADER, "succeeded": True, "responses": [{"response_range": {}}]})
V3_HAS = answer(200, {"header": HEADER, "succeeded": True, "responses": [{"response_range": {"kvs": [KV]}}]})
V2_EMPTY = answer(404, {"errorCode": 100, "message": "Key not found"})
V2_HAS = answer(200, {"action": "get", "node": {"key": KEY, "modifiedIndex": 4}})
NOT_FOUND = answer(404, b"404 page not found\n")


@pytest.fixture
def ask():
    servers = []

    def start(handler, user=None, password_file=None):
        servers.append(Server(handler))
        tokens = Tokens(user, password_file)
        return detect(servers[-1].at, Access(0.5, user=user), tokens, Spawner(fail), KEY)

    yield start
    for server in servers:
        server.stop()


def member(version, v3, v2):
    """A member of a cluster that speaks ``version``."""
    range_ = NOT_FOUND if v3 is NOT_FOUND else answer(200, {"header": HEADER})
    return scripted(
        {
            "/version": answer(200, {"etcdserver": f"{version}.9", "etcdcluster": f"{version}.0"}),
            "/v3/kv/range": range_,
            "/v3/kv/txn": v3,
            f"/v2/keys{KEY}": v2,
        }
    )


@pytest.mark.parametrize(
    ("version", "v3", "v2", "api"),
    [
        ("3.5", V3_EMPTY, NOT_FOUND, "v3"),
        ("3.5", V3_EMPTY, V2_EMPTY, "v3"),
        ("3.5", V3_HAS, V2_EMPTY, "v3"),
        ("3.5", V3_EMPTY, V2_HAS, "v2"),
        ("3.5", NOT_FOUND, V2_EMPTY, "v2"),
        ("3.5", NOT_FOUND, V2_HAS, "v2"),
        ("2.3", NOT_FOUND, V2_HAS, "v2"),
        ("3.6", V3_EMPTY, V2_HAS, "v3"),
        ("4.0", V3_HAS, V2_HAS, "v3"),
    ],
)
def test_the_store_that_has_the_key_wins_and_v3_where_it_does_not_matter(ask, version, v3, v2, api):
    assert ask(member(version, v3, v2)) == Found(api, "")


def test_a_key_in_both_stores_is_warned_of(ask):
    api, warning = ask(member("3.5", V3_HAS, V2_HAS))

    assert api == "v3"
    assert f"{KEY} is in the v3 store (revision 5) and, separately, in the v2 store (index 4)" in warning


def test_a_server_with_neither_api_is_refused(ask):
    with pytest.raises(EtcdRefused, match="is Etcd, but offers neither API: v3 needs --enable-grpc-gateway"):
        ask(member("3.5", NOT_FOUND, NOT_FOUND))


@pytest.mark.parametrize(
    "handler",
    [
        always(answer(200, b"<html>It works!")),
        always(answer(200, {"version": "1.0"})),
        always(answer(404, b"not here")),
        always(answer(301, b"", "Location: http://elsewhere/")),
    ],
)
def test_another_web_server_is_not_etcd(ask, handler):
    with pytest.raises(EtcdRefused, match=r"what answers is not Etcd \(check etcd_addr\); it says "):
        ask(handler)


def test_a_balancer_without_servers_is_unavailable(ask):
    with pytest.raises(MemberUnavailable, match="HTTP 503"):
        ask(always(answer(503, b"no upstream")))


def test_what_is_no_web_server_hangs_up_or_is_refused(ask):
    with pytest.raises(MemberUnavailable):
        ask(always(b"220 mail.example ESMTP\r\n"))
    with pytest.raises(EtcdRefused, match="this port speaks gRPC only"):
        ask(always(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0\r\n"))


def test_the_old_api_is_asked_with_user_and_password(ask, tmp_path):
    file = tmp_path / "password"
    file.write_text("secret")
    file.chmod(0o600)
    seen = []

    def serve(server, socket, request):
        seen.append(request)
        member("3.5", NOT_FOUND, V2_HAS)(server, socket, request)

    assert ask(serve, "agent", file) == Found("v2", "")
    assert b"Authorization: Basic YWdlbnQ6c2VjcmV0\r\n" in seen[-1]
