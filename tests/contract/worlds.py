# SPDX-License-Identifier: Apache-2.0
"""Servers for the contract of the stores, each with the same few things that a test does behind the store's back."""

import base64
import http.client
import json
from urllib.parse import quote, urlencode

import gevent

from logagent.config.values import Address
from logagent.errors import EtcdError
from logagent.spawn import Spawner
from logagent.stores.etcd_v2 import KeysStore
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.memory_store import MemoryServer, MemoryStore
from logagent.stores.store import Access
from logagent.stores.tokens import Tokens
from tests.support.kafka import HOST

TIMEOUT_S = 1.0
V3_TXN_OPERATIONS = 125  # a server takes 128 in one


def fail(name, error, restart_in_s):
    raise AssertionError(f"greenlet {name} failed") from error


SPAWNER = Spawner(fail)


class World:
    """`open` makes one more store; all are closed at the end."""

    api: str
    text_only = False
    many_guards = True
    shortest_ttl_s = 2  # with room for a busy machine

    def __init__(self):
        self.stores = []

    def open(self):
        self.stores.append(self.new_store())
        return self.stores[-1]

    def close(self):
        for store in self.stores:
            store.close()


class MemoryWorld(World):
    api = "memory"
    shortest_ttl_s = 1

    def __init__(self):
        super().__init__()
        self.server = MemoryServer()

    def new_store(self):
        return MemoryStore(self.server)

    def put(self, key, value):
        self.server.put(key, value)

    def delete(self, key):
        self.server.delete(key)

    def burst(self, prefix, count):
        for number in range(count):
            self.server.put(f"{prefix}{number}", b"x")

    def forget_the_past(self, prefix):
        self.server.compact()


class NodeWorld(World):
    """On a real member."""

    def __init__(self, node):
        super().__init__()
        self.node = node
        self.address = Address(HOST, node.port)
        self.access = Access(TIMEOUT_S)

    def ask(self, requests):
        """Each (method, path, body) on one connection; every answer must be a success."""
        link = http.client.HTTPConnection(HOST, self.node.port, timeout=5)
        for method, path, body in requests:
            form = {"Content-Type": "application/x-www-form-urlencoded"} if self.api == "v2" else {}
            link.request(method, path, body, form)
            answer = link.getresponse()
            text = answer.read()
            assert answer.status in (200, 201), text
        link.close()


class V3World(NodeWorld):
    api = "v3"

    def new_store(self):
        return GatewayStore(self.address, self.access, Tokens(None, None), SPAWNER)

    def put(self, key, value):
        self.ask([("POST", "/v3/kv/put", json.dumps({"key": b64(key), "value": b64(value)}))])

    def delete(self, key):
        self.ask([("POST", "/v3/kv/deleterange", json.dumps({"key": b64(key)}))])

    def burst(self, prefix, count):
        puts = [
            {"request_put": {"key": b64(f"{prefix}{number}"), "value": b64("x")}} for number in range(count)
        ]
        txns = (puts[at : at + V3_TXN_OPERATIONS] for at in range(0, count, V3_TXN_OPERATIONS))
        self.ask(("POST", "/v3/kv/txn", json.dumps({"success": txn})) for txn in txns)

    def forget_the_past(self, prefix):
        self.node.compact()


class V2World(NodeWorld):
    api = "v2"
    text_only = True
    many_guards = False

    def new_store(self):
        return KeysStore(self.address, self.access, SPAWNER)

    def put(self, key, value):
        self.ask([("PUT", f"/v2/keys{quote(key)}", urlencode({"value": value}))])

    def delete(self, key):
        self.ask([("DELETE", f"/v2/keys{quote(key)}", None)])

    def burst(self, prefix, count):
        self.ask(("PUT", f"/v2/keys{quote(prefix)}{number}", "value=x") for number in range(count))

    def forget_the_past(self, prefix):
        self.burst(prefix, 1100)  # the server keeps a thousand events


def b64(value):
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


class Follower:
    """What a greenlet hears that follows some keys."""

    def __init__(self, store, keys, revision, idle_s=5.0):
        self.counts = []
        self.error = None
        self._watch = store.follow(keys, revision, idle_s)
        self.greenlet = SPAWNER.once("follower", self._run)

    def _run(self):
        try:
            for count in self._watch:
                self.counts.append(count)
        except EtcdError as error:
            self.error = error

    @property
    def heard(self):
        """Changes so far."""
        return sum(self.counts)

    def wait_heard(self, changes=1, timeout_s=5.0):
        eventually(lambda: self.heard >= changes or self.error, timeout_s, f"{changes} changes are heard")
        assert self.error is None, self.error

    def wait_end(self, timeout_s):
        self.greenlet.join(timeout_s)
        assert self.error is not None, f"still following after {timeout_s} s, heard {self.counts}"
        return self.error

    def stop(self):
        self.greenlet.kill()


def eventually(predicate, timeout_s, what):
    """Like wait_until, but other greenlets run meanwhile."""
    with gevent.Timeout(timeout_s, AssertionError(f"not within {timeout_s} s: {what}")):
        while not (found := predicate()):
            gevent.sleep(0.01)
    return found
