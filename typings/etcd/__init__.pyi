# Only what logagent/stores/etcd_v2.py uses.
from collections.abc import Mapping
from typing import Any, Protocol

class Response(Protocol):
    status: int
    @property
    def data(self) -> bytes: ...
    def getheader(self, name: str) -> str | None: ...

class _Http(Protocol):
    def request(self, method: str, url: str, **options: Any) -> Response: ...
    def request_encode_body(self, method: str, url: str, **options: Any) -> Response: ...
    def clear(self) -> None: ...

class Client:
    http: _Http
    expected_cluster_id: str | None
    base_uri: str
    def __init__(
        self,
        host: str = ...,
        port: int = ...,
        *,
        protocol: str = ...,
        read_timeout: float = ...,
        allow_redirect: bool = ...,
    ) -> None: ...
    def api_execute(
        self,
        path: str,
        method: str,
        params: Mapping[str, str | bytes] | None = ...,
        timeout: float | None = ...,
    ) -> Response: ...

class EtcdException(Exception):
    payload: dict[str, Any] | None

class EtcdClusterIdChanged(EtcdException): ...
class EtcdInsufficientPermissions(EtcdException): ...
class EtcdEventIndexCleared(EtcdException): ...
class EtcdWatcherCleared(EtcdException): ...

class EtcdConnectionFailed(EtcdException):
    cause: Exception

class EtcdWatchTimedOut(EtcdConnectionFailed): ...
