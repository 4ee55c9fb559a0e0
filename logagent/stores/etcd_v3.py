# SPDX-License-Identifier: Apache-2.0
"""Store over the JSON gateway of Etcd 3.4 and later.

Facts and their measurements: a watch says "canceled" under HTTP 200 and stays open; it survives its token, so a token
matters only when a request begins; a stopped process is seen by silence alone.
"""

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing

from logagent.clock import monotonic
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
from logagent.stores import messages
from logagent.stores.gateway import Answer, Gateway, Stream
from logagent.stores.messages import Body, Kind, Problem, WatchMessage
from logagent.stores.reading import News, Turns
from logagent.stores.store import Access, Api, Snapshot
from logagent.stores.together import follow_all
from logagent.stores.tokens import Tokens

_PROGRESS_PATIENCE = 3
_MIN_PATIENCE_S = 1.0


class GatewayStore:
    """See `Store`. The watch and other calls may run in two greenlets."""

    def __init__(self, address: Address, access: Access, tokens: Tokens, spawner: Spawner) -> None:
        """Connects to nothing yet. Raises EtcdRefused when files for TLS cannot be used."""
        self.gateway = Gateway(address, access)
        self._spawner = spawner
        self._access = access
        self._tokens = tokens

    @property
    def api(self) -> Api:
        return "v3"

    @property
    def member(self) -> str:
        return self.gateway.member

    def load(self, keys: Collection[str]) -> Snapshot:
        answer = self.ask("/v3/kv/txn", messages.range_txn(keys), f"read {_named(keys)}")
        return messages.read_snapshot(self.member, answer)

    def ping(self) -> None:
        self.gateway.get("/version")

    def commit(self, guards: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        body = messages.commit_txn(guards, writes)
        doing = f"write {_named(writes.keys())}"
        return messages.read_commit(self.member, self.ask("/v3/kv/txn", body, doing, changes=True))

    def session(self, ttl_s: int) -> "LeaseSession":
        answer = self.ask("/v3/lease/grant", {"TTL": str(ttl_s)}, "get a lease")
        lease = messages.read_field(self.member, answer, "ID")
        if not lease:
            raise messages.not_etcd(self.member, answer)
        return LeaseSession(self, lease)

    def follow(self, keys: Collection[str], revision: int, idle_s: float) -> Iterator[int]:
        bodies = messages.watches(list(dict.fromkeys(keys)), revision)
        streams = [self._stream(keys, body, count, idle_s) for body, count in bodies]
        if len(streams) == 1:
            return streams[0]
        return follow_all(
            {f"{self.member} {number}": one for number, one in enumerate(streams)}, self._spawner
        )

    def _stream(
        self, keys: Collection[str], body: bytes, watches: int, idle_s: float
    ) -> Generator[int, None, None]:
        may_renew = self._tokens.user is not None
        while True:
            token = self._tokens.get(self._authenticate)
            problem = yield from self._watch(body, token, watches, idle_s)
            # 3.5 calls an expired token "permission denied" here, so that is worth a new token too.
            if not may_renew or problem.kind not in {Kind.TOKEN, Kind.DENIED}:
                raise self._error(problem, f"read {_named(keys)}")
            may_renew = False
            self._tokens.forget(token)

    def close(self) -> None:
        self.gateway.close()

    def ask(self, path: str, body: Body, doing: str, *, changes: bool = False) -> bytes:
        """The body of a successful answer. What a token's end makes fail was not carried out and is sent once more."""
        may_renew = self._tokens.user is not None
        while True:
            token = self._tokens.get(self._authenticate)
            answer = self.gateway.post(path, body, token, changes=changes)
            if answer.status == 200:
                return answer.body
            problem = messages.problem_of(*answer)
            if not may_renew or problem.kind is not Kind.TOKEN:
                raise self._error(problem, doing, changes=changes)
            may_renew = False
            self._tokens.forget(token)

    def _authenticate(self, user: str, password: str) -> str:
        answer = self.gateway.post("/v3/auth/authenticate", {"name": user, "password": password})
        if answer.status != 200:
            problem = messages.problem_of(*answer)
            if problem.kind is Kind.AUTH_OFF:
                return ""
            raise self._error(problem, "log in")
        token = messages.read_field(self.member, answer.body, "token")
        if not token:
            raise messages.not_etcd(self.member, answer.body)
        return token

    def _watch(
        self, body: bytes, token: str | None, watches: int, idle_s: float
    ) -> Generator[int, None, Problem]:
        opened = self.gateway.stream("/v3/watch", body, token)
        if isinstance(opened, Answer):
            return messages.problem_of(*opened)
        with closing(opened):
            patience = _Patience(idle_s, self._access.timeout_s, watches)
            for line in self._lines(opened, patience):
                message = messages.read_watch(self.member, line)
                if message.problem is not None:
                    return message.problem
                patience.heard(message)
                yield message.changes
        raise MemberUnavailable(self.member, "ended the watch")

    def _lines(self, stream: Stream, patience: "_Patience") -> Iterator[bytes]:
        lines, news, turns = messages.Lines(), News(self.member), Turns()
        deadline = monotonic() + patience.limit_s
        while data := self._read(stream, deadline - monotonic(), patience):
            turns.rest()
            for line in lines.feed(data):
                news.heard(len(line))
                yield line
                turns.rest()
                deadline = monotonic() + patience.limit_s
        if last := lines.rest():
            yield last

    def _read(self, stream: Stream, left_s: float, patience: "_Patience") -> bytes:
        try:
            if left_s > 0:  # where there is always something to read, no time-out ends the reading
                return stream.read(left_s)
            raise MemberSilent(self.member, f"said nothing whole within {patience.limit_s:.3g} s")
        except MemberSilent as error:
            if patience.beginning:
                raise
            raise WatchEnded(f"{self.member}: nothing heard for {patience.limit_s:.3g} s") from error

    def _error(self, problem: Problem, doing: str, *, changes: bool = False) -> EtcdError:
        """One sentence that says what to change, where something can be changed."""
        member, user = self.member, self._tokens.user
        if problem.kind is Kind.ENDED:
            return WatchEnded(f"{member}: {problem.text}")
        if problem.kind is Kind.LEASE_GONE:
            return SessionLost(f"{member}: {problem.text}")
        if problem.kind is Kind.UNAVAILABLE:
            if changes and not problem.harmless:
                return OutcomeUnknown(f"{member}: {problem.text}; the write may or may not be in force")
            return MemberUnavailable(member, problem.text)
        if problem.kind is Kind.TOKEN and user is None:
            return EtcdRefused(member, "wants a user: set user and password_file in [etcd]")
        said = {
            Kind.TOKEN: f"takes no token of user {user}, not even a new one ({problem.text})",
            Kind.DENIED: f"user {user} may not {doing}: grant its role the permission ({problem.text})",
            Kind.PASSWORD: f"wrong user or password: check user = {user} and {self._access.password_file}",
            Kind.COMMON_NAME: "authentication is on, and then the gateway takes no client certificate with a"
            f" CommonName: issue {self._access.cert} without CN (for instance with O=logagent alone)",
            Kind.NO_GATEWAY: f"has no v3 gateway: it needs --enable-grpc-gateway ({problem.text})",
        }
        return EtcdRefused(member, said.get(problem.kind, f"refuses to {doing}: {problem.text}"))


class LeaseSession:
    """Keys on one lease."""

    def __init__(self, store: GatewayStore, lease: str) -> None:
        self._store = store
        self._lease = lease

    def put(self, key: str, value: bytes) -> None:
        body = {**messages.put(key, value), "lease": self._lease}
        self._store.ask("/v3/kv/put", body, f"write {key}", changes=True)

    def keep_alive(self) -> None:
        answer = self._store.ask("/v3/lease/keepalive", {"ID": self._lease}, "keep a lease")
        # A dead lease is told by a missing TTL.
        if not messages.read_field(self._store.member, answer, "TTL"):
            raise SessionLost(f"{self._store.member}: lease {self._lease} has expired")

    def close(self) -> None:
        try:
            self._store.ask("/v3/lease/revoke", {"ID": self._lease}, "end a lease")
        except EtcdError:
            return  # it expires by itself


class _Patience:
    """How long a watch may be silent: until it began, between messages, and less where the server shows its beat."""

    def __init__(self, idle_s: float, begin_s: float, watches: int) -> None:
        self.limit_s = begin_s
        self._idle_s = idle_s
        self._to_begin = watches
        self._beats: dict[int, float] = {}

    @property
    def beginning(self) -> bool:
        return self._to_begin > 0

    def heard(self, message: WatchMessage) -> None:
        if message.created:
            self._to_begin -= 1
            if not self.beginning:
                self.limit_s = self._idle_s
        elif not message.changes:  # progress
            now = monotonic()
            if message.watch_id in self._beats:
                beat_s = now - self._beats[message.watch_id]
                self.limit_s = min(self._idle_s, max(_PROGRESS_PATIENCE * beat_s, _MIN_PATIENCE_S))
            self._beats[message.watch_id] = now


def _named(keys: Collection[str]) -> str:
    shown = sorted(keys)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
