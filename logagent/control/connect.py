# SPDX-License-Identifier: Apache-2.0
"""From the settings to the members of the Etcd cluster, and which store speaks with them."""

from functools import partial
from pathlib import Path

from logagent.config.settings import Settings
from logagent.config.values import Address
from logagent.control.members import Members
from logagent.spawn import Spawner
from logagent.stores.detect import detect
from logagent.stores.etcd_v2 import KeysStore
from logagent.stores.etcd_v3 import GatewayStore
from logagent.stores.store import Access, Api, Store
from logagent.stores.tokens import Tokens


class Cluster:
    """Makes `Members`, one for each greenlet that talks to Etcd; a token that one of them got serves all."""

    def __init__(self, settings: Settings, host: str, spawner: Spawner) -> None:
        etcd = settings.etcd
        self._addresses = settings.etcd_addr
        self._api = etcd.api
        self._services_key = settings.etcd_watch_key.replace("%s", host)
        self._spawner = spawner
        self._tokens = Tokens(etcd.user, etcd.password_file)
        self._access = Access(
            timeout_s=settings.etcd_timeout_s,
            user=etcd.user,
            password_file=etcd.password_file,
            tls=etcd.ca is not None,
            ca=etcd.ca if isinstance(etcd.ca, Path) else None,
            cert=etcd.cert,
            key=etcd.key,
        )

    def members(self) -> Members:
        """The members as one greenlet goes through them."""
        find = partial(detect, tokens=self._tokens, spawner=self._spawner, key=self._services_key)
        return Members(self._addresses, self._access, self._api, self._open, find)

    def _open(self, api: Api, address: Address, access: Access) -> Store:
        if api == "v2":
            return KeysStore(address, access, self._spawner)
        return GatewayStore(address, access, self._tokens, self._spawner)
