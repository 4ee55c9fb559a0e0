# SPDX-License-Identifier: Apache-2.0
"""An authority, certificates of a server on loopback, and of clients, as files."""

import datetime as dt
import ssl
from pathlib import Path

import trustme


class Certificates:
    """Files below ``directory``. The client's certificate has no CommonName: with one, Etcd's gateway refuses it."""

    def __init__(self, directory: Path, *, names: tuple[str, ...] = ("127.0.0.1", "localhost")) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self.server_cert, self.server_key = self.issue("server", *names)
        self.client_cert, self.client_key = self.issue("client", "agent")

    def issue(
        self, name: str, *identities: str, common_name: str | None = None, expired: bool = False
    ) -> tuple[Path, Path]:
        """Certificate and key, signed by the authority."""
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        made = self._authority.issue_cert(
            *identities,
            common_name=common_name,
            not_before=now - 2 * day,
            not_after=now - day if expired else now + day,
        )
        cert, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(str(cert))
        made.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return cert, key

    def client_context(self) -> ssl.SSLContext:
        """Trusts the authority and shows the client's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.client_cert, self.client_key)
        return context
