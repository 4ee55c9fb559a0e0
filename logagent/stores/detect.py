# SPDX-License-Identifier: Apache-2.0
"""Which API of Etcd a member speaks and where our key is; if none, one sentence that says what to change."""

import base64
from typing import Literal, NamedTuple

from logagent.config.values import Address
from logagent.errors import EtcdRefused, MemberSilent, MemberUnavailable
from logagent.spawn import Spawner
from logagent.stores import messages
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.gateway import spoken
from logagent.stores.messages import Kind
from logagent.stores.store import Access
from logagent.stores.tls import PLAIN
from logagent.stores.tokens import Tokens

_LAST_V2 = (3, 5)
_GRPC_ONLY = (
    "this port speaks gRPC only: give etcd_addr the port of --listen-client-http-urls, or remove that flag"
)
_TLS = "speaks TLS, not plain HTTP: set ca in [etcd] (a file, or system)"
_NEITHER = (
    "is Etcd, but offers neither API: v3 needs --enable-grpc-gateway (on by default),"
    " v2 needs --enable-v2 (3.5 at most)"
)


class Found(NamedTuple):
    """`warning` is a sentence, or empty."""

    api: Literal["v3", "v2"]
    warning: str


def detect(address: Address, access: Access, tokens: Tokens, spawner: Spawner, key: str) -> Found:
    """Look for `key` in both stores of the member: they are separate, and what is in one is not in the other.

    v3 wins unless only v2 has the key. Raises MemberUnavailable, EtcdRefused.
    """
    store = GatewayStore(address, access, tokens, spawner)
    try:
        version = _version(store, address, access)
        v3 = _has_gateway(store)
        revision = _v3_revision(store, key) if v3 else 0
        v2, index = _look_v2(store, tokens, key) if version <= _LAST_V2 else (False, 0)
    finally:
        store.close()
    if not v3 and not v2:
        raise EtcdRefused(store.member, _NEITHER)
    if not v3 or (index and not revision):
        return Found("v2", "")
    if index:
        return Found(
            "v3",
            f"{key} is in the v3 store (revision {revision}) and, separately, in the v2 store (index {index}):"
            " v3 is used; delete the other, or set api = v2 in [etcd]",
        )
    return Found("v3", "")


def _version(store: GatewayStore, address: Address, access: Access) -> tuple[int, int]:
    try:
        answer = store.gateway.get("/version")
    except MemberSilent:
        raise
    except MemberUnavailable as error:
        language = spoken(address, access.timeout_s / 2)
        if language == "http2":
            raise EtcdRefused(store.member, _GRPC_ONLY) from error
        if language == "http" and access.tls:
            raise EtcdRefused(store.member, PLAIN) from error
        if language == "tls" and not access.tls:
            raise EtcdRefused(store.member, _TLS) from error
        raise
    if answer.status != 200:
        problem = messages.problem_of(*answer)
        if problem.kind is Kind.UNAVAILABLE:
            raise MemberUnavailable(store.member, problem.text)
        raise messages.not_etcd(store.member, answer.body)
    return messages.read_version(store.member, answer.body)


def _has_gateway(store: GatewayStore) -> bool:
    """Without a token: any answer in the gateway's form will do."""
    answer = store.gateway.post("/v3/kv/range", {"key": messages.encode("/")})
    return answer.status == 200 or messages.problem_of(*answer).kind is not Kind.NO_GATEWAY


def _v3_revision(store: GatewayStore, key: str) -> int:
    found = store.load([key]).items.get(key)
    return found.revision if found else 0


def _look_v2(store: GatewayStore, tokens: Tokens, key: str) -> tuple[bool, int]:
    headers = {}
    if tokens.user is not None:
        pair = base64.b64encode(f"{tokens.user}:{tokens.password()}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    return messages.read_v2_key(store.gateway.get(f"/v2/keys{key}", headers).body)
