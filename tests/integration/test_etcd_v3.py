# SPDX-License-Identifier: Apache-2.0
"""The v3 store against real servers: what it reads and writes, and how each fault shows."""

import time

import gevent
import pytest

from logagent.config.values import Address
from logagent.errors import (
    EtcdError,
    EtcdRefused,
    MemberSilent,
    MemberUnavailable,
    OutcomeUnknown,
    SessionLost,
    WatchEnded,
)
from logagent.spawn import Spawner
from logagent.stores.detect import Found, detect
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.store import ABSENT, Access, Item
from logagent.stores.tokens import Tokens
from tests.support.certificates import Certificates
from tests.support.etcd import ETCD_35, ETCD_NEW, VERSIONS
from tests.support.kafka import free_port
from tests.support.waiting import wait_until

TIMEOUT_S = 1.0
# Elections, and the end of a member that was told to stop, take a multiple of this.
FAST = {"heartbeat-interval": 20, "election-timeout": 200, "bcrypt-cost": 4}
KEY = "/logagent/10.0.0.1/logconfig"


def address_of(node):
    return Address("127.0.0.1", node.port)


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


SPAWNER = Spawner(fail)


class Client:
    """A store with what it is made of."""

    def __init__(self, node, tmp_path, *, user=None, password=None, **access):
        self.address = address_of(node)
        file = None
        if password is not None:
            file = tmp_path / "password"
            file.write_text(password)
            file.chmod(0o600)
        self.tokens = Tokens(user, file)
        self.access = Access(**({"timeout_s": TIMEOUT_S, "user": user, "password_file": file} | access))

    def store(self):
        return GatewayStore(self.address, self.access, self.tokens, SPAWNER)

    def detect(self, key=KEY):
        return detect(self.address, self.access, self.tokens, SPAWNER, key)

    def refusal(self):
        """Why neither looking nor reading works; both say the same or fail."""
        with pytest.raises(EtcdRefused) as seen:
            self.detect()
        return seen.value.reason


class Follower:
    """Follows in a greenlet of its own."""

    def __init__(self, store, keys, revision, idle_s=30):
        self.heard = []
        self.error = None
        self._greenlet = gevent.spawn(self._run, store, keys, revision, idle_s)
        self.wait(lambda: self.heard.count(0) >= len(keys) or self.error)
        assert self.error is None, self.error

    def _run(self, store, keys, revision, idle_s):
        try:
            for changes in store.follow(keys, revision, idle_s):
                self.heard.append(changes)
        except EtcdError as error:
            self.error = error

    @property
    def changes(self):
        return [count for count in self.heard if count]

    def wait(self, predicate, timeout_s=5):
        with gevent.Timeout(timeout_s):
            while not predicate():
                gevent.sleep(0.005)

    def end(self, within_s):
        """The error that ended it."""
        self._greenlet.join(within_s)
        assert self._greenlet.dead, f"still following after {within_s} s"
        return self.error


@pytest.fixture
def store(etcd, tmp_path):
    made = Client(etcd, tmp_path).store()
    yield made
    made.close()


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


def test_a_load_is_one_revision_of_keys_and_of_what_lies_below_others(store, key_root):
    names = [f"{key_root}/h1/a", f"{key_root}/h1/b", f"{key_root}/h10/a", f"{key_root}/one"]
    revision = store.commit({}, dict.fromkeys(names, b"\xffvalue"))

    found = store.load([f"{key_root}/h1/", f"{key_root}/one", f"{key_root}/none"])

    assert found.items == {
        name: Item(b"\xffvalue", revision) for name in names if not name.startswith(f"{key_root}/h10")
    }
    assert found.revision == revision
    assert found.term >= 1
    assert int(found.cluster_id)


def test_a_commit_writes_all_or_nothing(store, key_root):
    first, second = f"{key_root}/first", f"{key_root}/second"
    one = store.commit({first: ABSENT}, {first: b"1", second: b""})
    assert store.commit({first: ABSENT}, {first: b"2"}) is None
    two = store.commit({first: one, second: one}, {first: b"2", second: None})
    assert store.commit({first: two, second: one}, {first: b"3"}) is None

    assert store.load([f"{key_root}/"]).items == {first: Item(b"2", two)}
    assert two > one


def test_a_follower_hears_each_commit_once_and_only_those_after_its_revision(store, etcd, key_root):
    keys = [f"{key_root}/host/", f"{key_root}/default"]
    revision = store.commit({}, {f"{key_root}/host/a": b"1"})
    follower = Follower(store, keys, revision)

    store.commit({}, {f"{key_root}/host/a": b"2", f"{key_root}/host/b": b"2"})
    etcd.etcdctl("del", f"{key_root}/host/a")
    etcd.etcdctl("put", f"{key_root}/default", "x")
    store.commit({}, {f"{key_root}/other": b""})
    etcd.etcdctl("put", f"{key_root}/default", "y")
    follower.wait(lambda: len(follower.changes) == 4)

    assert follower.changes == [2, 1, 1, 1]
    assert store.gateway._pool.num_connections == 2


def test_changes_between_load_and_follow_are_heard(store, key_root):
    key = f"{key_root}/a"
    revision = store.load([key]).revision
    for value in range(3):
        store.commit({}, {key: b"%d" % value})

    follower = Follower(store, [key], revision)
    follower.wait(lambda: sum(follower.changes) == 3)


def test_closing_breaks_off_a_follower_in_another_greenlet(store, key_root):
    follower = Follower(store, [key_root], store.load([key_root]).revision)
    store.close()

    assert isinstance(follower.end(0.5), MemberUnavailable)
    with pytest.raises(MemberUnavailable, match="we have closed"):
        store.load([key_root])


def test_a_compacted_revision_ends_the_watch(store, etcd, key_root):
    revision = store.commit({}, {key_root: b"1"})
    store.commit({}, {key_root: b"2"})
    store.commit({}, {key_root: b"3"})
    etcd.compact()

    with pytest.raises(WatchEnded, match="compacted up to revision"):
        list(store.follow([key_root], revision, 30))


def test_silence_ends_the_watch(store, key_root):
    begun_s = time.monotonic()
    with pytest.raises(WatchEnded, match=r"nothing heard for 0\.4 s"):
        list(store.follow([key_root], store.load([key_root]).revision, 0.4))

    assert time.monotonic() - begun_s < 2


def test_leased_keys_go_with_their_session(store, key_root):
    session = store.session(30)
    session.put(f"{key_root}/status", b"1")
    session.put(f"{key_root}/status", b"2")
    session.keep_alive()
    assert store.load([f"{key_root}/"]).items[f"{key_root}/status"].value == b"2"

    session.close()

    assert store.load([f"{key_root}/"]).items == {}
    session.close()


def test_a_session_whose_lease_is_gone_is_lost(store, etcd, key_root):
    session = store.session(30)
    lease = etcd.etcdctl("lease", "list").splitlines()[-1]
    etcd.etcdctl("lease", "revoke", lease)

    with pytest.raises(SessionLost):
        session.keep_alive()
    with pytest.raises(SessionLost):
        session.put(key_root, b"")


def test_a_request_that_the_server_refuses_says_why(store, key_root):
    with pytest.raises(EtcdRefused, match=f"refuses to write {key_root}: .*request is too large"):
        store.commit({}, {key_root: bytes(2_000_000)})


def test_a_member_that_dies_stops_or_freezes_ends_the_watch(version, etcd_node, tmp_path, key_root):
    node = etcd_node(version, progress_s=0.3, flags=FAST)
    client = Client(node, tmp_path)
    store = client.store()

    def follow():
        revision = store.commit({}, {key_root: b"1"})
        follower = Follower(store, [key_root], revision, 30)
        store.commit({}, {key_root: b"2"})
        follower.wait(lambda: follower.changes)
        return follower

    follower = follow()
    node.kill9()
    assert isinstance(follower.end(0.5), MemberUnavailable)
    with pytest.raises(MemberUnavailable, match="refused"):
        store.load([key_root])
    with pytest.raises(MemberUnavailable, match="refused"):  # and surely not written
        store.commit({}, {key_root: b"3"})

    node.start()
    follower = follow()
    node.stop()  # takes 5 s in 3.7, which serves its watches until then
    assert isinstance(follower.end(0.5), MemberUnavailable)

    node.start()
    follower = follow()
    follower.wait(lambda: follower.heard[-2:] == [0, 0])  # the server's beat
    node.freeze()
    assert isinstance(follower.end(3), WatchEnded)
    errors = at_once(
        lambda: store.load([key_root]),
        lambda: client.store().commit({}, {key_root: b"3"}),
        lambda: list(client.store().follow([key_root], 1, 30)),
    )
    assert [type(error) for error in errors] == [MemberSilent, OutcomeUnknown, MemberSilent]
    assert "did not answer within 1 s" in str(errors[0])
    store.close()


def at_once(*calls):
    """What each of them raises, within the time of one request."""
    greenlets = [gevent.spawn(call) for call in calls]
    gevent.joinall(greenlets, timeout=2 * TIMEOUT_S)
    return [one.exception for one in greenlets]


def test_a_member_without_its_cluster_is_unavailable(version, etcd_cluster, tmp_path, key_root):
    cluster = etcd_cluster(version, flags=FAST)
    left = cluster.followers()[0]
    client = Client(left, tmp_path)
    store = client.store()
    follower = Follower(store, [key_root], store.load([key_root]).revision)

    for member in cluster.members:
        if member is not left:
            member.kill9()

    error = follower.end(5)
    assert isinstance(error, MemberUnavailable)
    assert "no leader" in str(error)
    errors = at_once(
        lambda: store.load([key_root]),
        lambda: client.store().commit({}, {key_root: b"1"}),
        lambda: list(client.store().follow([key_root], 1, 30)),
    )
    assert [isinstance(error, MemberUnavailable) for error in errors] == [True] * 3
    assert all("no leader" in str(error) for error in errors)
    store.close()


def enable_auth(node):
    """User agent, whose role may read one host's keys."""
    node.etcdctl("role", "add", "host")
    node.etcdctl("role", "grant-permission", "host", "read", "--prefix=true", "/logagent/10.0.0.1/")
    node.etcdctl("user", "add", "agent:secret")
    node.etcdctl("user", "grant-role", "agent", "host")
    node.enable_auth()


def test_with_authentication_on(version, etcd_node, tmp_path):
    node = etcd_node(version, flags=FAST | {"auth-token-ttl": 1})
    agent = Client(node, tmp_path, user="agent", password="secret\n")
    store = agent.store()
    assert store.load([KEY]).items == {}  # a user is configured, authentication is off
    enable_auth(node)
    node.etcdctl("put", KEY, "[]")

    revision = store.load([KEY]).revision
    assert agent.detect() == Found("v3", "")
    follower = Follower(store, [KEY], revision)
    with pytest.raises(EtcdRefused, match=r"user agent may not read /logagent/10\.0\.0\.10/logconfig"):
        store.load(["/logagent/10.0.0.10/logconfig"])
    with pytest.raises(EtcdRefused, match=r"user agent may not read /logagent/10\.0\.0\.10/"):
        list(store.follow(["/logagent/10.0.0.10/"], revision, 30))
    with pytest.raises(EtcdRefused, match=f"user agent may not write {KEY}"):
        store.commit({}, {KEY: b""})

    first = agent.tokens.get(pytest.fail)
    gevent.sleep(2.1)  # a simple token lives for a second after its last use, give or take one
    second_follower = Follower(store, [KEY], revision)
    second = agent.tokens.get(pytest.fail)
    node.etcdctl("user", "passwd", "--interactive=false", "agent", stdin="secret")  # ends its tokens, too
    assert store.load([KEY]).items[KEY].value == b"[]"
    assert len({first, second, agent.tokens.get(pytest.fail)}) == 3
    node.etcdctl("put", KEY, "[1]")
    follower.wait(lambda: follower.changes and second_follower.changes)  # a watch outlives its token

    node.etcdctl("role", "revoke-permission", "host", "--prefix=true", "/logagent/10.0.0.1/")
    with pytest.raises(EtcdRefused, match="may not read"):
        store.load([KEY])
    assert "wants a user: set user and password_file" in Client(node, tmp_path).refusal()
    wrong = Client(node, tmp_path, user="agent", password="guess").refusal()
    assert f"wrong user or password: check user = agent and {tmp_path}/password" in wrong
    store.close()


def test_a_jwt_that_another_user_made_invalid_is_renewed(version, etcd_node, tmp_path):
    secret = tmp_path / "jwt"
    secret.write_text("0123456789" * 8)
    jwt = f"jwt,priv-key={secret},sign-method=HS256,ttl=10m"
    node = etcd_node(version, flags=FAST | {"auth-token": jwt})
    enable_auth(node)
    agent = Client(node, tmp_path, user="agent", password="secret")
    store = agent.store()
    revision = store.load([KEY]).revision
    first = agent.tokens.get(pytest.fail)

    node.etcdctl("user", "add", "somebody:else")
    store.load([KEY])
    second = agent.tokens.get(pytest.fail)
    node.etcdctl("user", "add", "another:one")
    Follower(store, [KEY], revision)

    assert len({first, second, agent.tokens.get(pytest.fail)}) == 3
    store.close()


def test_tls_with_and_without_client_certificates(version, etcd_node, tmp_path):
    made = Certificates(tmp_path / "tls")
    other = Certificates(tmp_path / "other")
    with_cn = made.issue("named", "agent", common_name="agent")
    old = made.issue("old", "agent", expired=True)
    node = etcd_node(version, tls=made, client_certs=True, flags=FAST)

    def client(ca=made.ca, cert=made.client_cert, key=made.client_key, **options):
        return Client(node, tmp_path, tls=True, ca=ca, cert=cert, key=key, **options)

    store = client().store()
    follower = Follower(store, [KEY], store.load([KEY]).revision)
    store.commit({}, {KEY: b"[]"})
    follower.wait(lambda: follower.changes)
    store.close()
    assert isinstance(follower.end(0.5), MemberUnavailable)

    assert client(cert=with_cn[0], key=with_cn[1]).detect() == Found("v3", "")
    assert "wants a client certificate: set cert and key" in client(cert=None, key=None).refusal()
    said = client(cert=old[0], key=old[1]).refusal()
    assert f"client certificate (cert = {old[0]} in [etcd])" in said
    assert ("has expired: renew it" if version == ETCD_NEW else "expired, or not of the server's") in said
    said = client(cert=other.client_cert, key=other.client_key).refusal()
    assert f"refuses our client certificate (cert = {other.client_cert}" in said
    assert f"not trusted by ca = {other.ca} in [etcd]" in client(ca=other.ca).refusal()
    assert "not trusted by the system's authorities" in client(ca=None).refusal()
    assert "speaks TLS, not plain HTTP: set ca in [etcd]" in Client(node, tmp_path).refusal()

    enable_auth(node)
    said = client(cert=with_cn[0], key=with_cn[1], user="agent", password="secret").refusal()
    assert f"issue {with_cn[0]} without CN" in said
    assert client(user="agent", password="secret").detect() == Found("v3", "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [("expired", "its certificate has expired"), ("elsewhere", "its certificate is not made for 127.0.0.1")],
)
def test_a_server_with_a_bad_certificate(fault, said, etcd_node, tmp_path):
    made = Certificates(tmp_path / "tls")
    names = ("127.0.0.1",) if fault == "expired" else ("etcd.example",)
    made.server_cert, made.server_key = made.issue("bad", *names, expired=fault == "expired")
    node = etcd_node(ETCD_NEW, tls=made, flags=FAST)

    assert said in Client(node, tmp_path, tls=True, ca=made.ca).refusal()


def test_tls_to_a_server_without_it(etcd, tmp_path):
    made = Certificates(tmp_path / "tls")

    assert "speaks plain HTTP, not TLS" in Client(etcd, tmp_path, tls=True, ca=made.ca).refusal()


def test_a_server_without_gateway(etcd_node, tmp_path):
    node = etcd_node(ETCD_NEW, flags=FAST | {"enable-grpc-gateway": "false"})
    said = Client(node, tmp_path).refusal()
    assert "v3 needs --enable-grpc-gateway (on by default), v2 needs --enable-v2 (3.5 at most)" in said
    with pytest.raises(EtcdRefused, match="has no v3 gateway"):
        Client(node, tmp_path).store().load([KEY])

    old = etcd_node(ETCD_35, v2=True, flags=FAST | {"enable-grpc-gateway": "false"})
    assert Client(old, tmp_path).detect() == Found("v2", "")


def test_a_port_that_speaks_grpc_only(etcd_node, tmp_path):
    port = free_port()
    node = etcd_node(
        ETCD_NEW, start=False, flags=FAST | {"listen-client-http-urls": f"http://127.0.0.1:{port}"}
    )
    node.launch()
    client = Client(node, tmp_path)
    wait_until(lambda: listens(client), 10, "the port is open")

    assert "this port speaks gRPC only" in client.refusal()
    client.address = Address("127.0.0.1", port)
    assert client.detect() == Found("v3", "")


def listens(client):
    with pytest.raises(EtcdError) as seen:
        client.detect()
    return "refused" not in str(seen.value)


def test_a_key_in_the_v2_store_alone_decides_for_v2(etcd_35, key_root, tmp_path):
    client = Client(etcd_35, tmp_path)
    assert client.detect(key_root) == Found("v3", "")
    etcd_35.http("PUT", f"/v2/keys{key_root}", b"value=[]")
    assert client.detect(key_root) == Found("v2", "")
    etcd_35.etcdctl("put", key_root, "[]")

    api, warning = client.detect(key_root)

    assert api == "v3"
    assert f"{key_root} is in the v3 store (revision " in warning
    assert "separately, in the v2 store (index " in warning
