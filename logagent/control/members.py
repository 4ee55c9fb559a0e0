# SPDX-License-Identifier: Apache-2.0
"""Which member of an Etcd cluster is asked, and in which API: rotation, and detection that happens once."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from logagent.config.values import Address
from logagent.errors import EtcdError, EtcdRefused, MemberUnavailable
from logagent.stores.store import Access, Api, Store

Result = TypeVar("Result")


class Detected(Protocol):
    """What a detector found out; `warning` is a sentence or empty."""

    @property
    def api(self) -> Api: ...
    @property
    def warning(self) -> str: ...


Opener = Callable[[Api, Address, Access], Store]
"""Makes a store for one member; does not connect."""

Detector = Callable[[Address, Access], Detected]
"""Asks a member for its API; raises MemberUnavailable or EtcdRefused."""


@dataclass(slots=True)
class _Choice:
    """The API, None until it is found out; `fixed` if the configuration says it."""

    api: Api | None
    fixed: bool
    warning: str = ""


class Members:
    """The configured members of one cluster and the current one among them. Belongs to one greenlet.

    A fleet spreads: the first member is any of them (`rand` 0..1). With api `auto` the first one that answers
    decides, and that is kept until the next start.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        access: Access,
        api: Literal["auto", "v3", "v2"] | Api,
        opener: Opener,
        detector: Detector,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._addresses = tuple(addresses)
        self._access = access
        self._opener = opener
        self._detector = detector
        self._index = int(rand() * len(self._addresses)) % len(self._addresses)
        self._rand = rand
        self._choice = _Choice(None if api == "auto" else api, api != "auto")

    def sibling(self) -> "Members":
        """For another greenlet: a current member of its own, the API in common."""
        made = Members(self._addresses, self._access, "auto", self._opener, self._detector, self._rand)
        made._choice = self._choice
        return made

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def current(self) -> Address:
        """The member that `open` means now."""
        return self._addresses[self._index]

    @property
    def timeout_s(self) -> float:
        """The longest wait for one answer."""
        return self._access.timeout_s

    @property
    def api(self) -> Api | None:
        """None until it is known."""
        return self._choice.api

    @property
    def warning(self) -> str:
        """What is to be said about the choice, or nothing."""
        return self._choice.warning

    def remember(self, api: Api) -> None:
        """What an earlier start found out; the configuration overrides it."""
        if self.api is None:
            self._choice.api = api

    def doubt(self, error: EtcdError) -> bool:
        """After a failure: whether the API that was found out once is to be found out anew.

        Only v2 goes away, when the server is upgraded; a server without keys of ours must not send us back to v2.
        """
        if self._choice.fixed or self.api != "v2" or not isinstance(error, EtcdRefused):
            return False
        self._choice.api = None
        return True

    def open(self) -> Store:
        """A store for the current member; asks it for its API first if nobody knows. The caller closes it."""
        api = self.api
        if api is None:
            found = self._detector(self.current, self._access)
            api = self._choice.api = found.api
            self._choice.warning = found.warning
        return self._opener(api, self.current, self._access)

    def next(self) -> Address:
        """Go on to the next member."""
        self._index = (self._index + 1) % len(self._addresses)
        return self.current

    def first_answering(self, operation: Callable[[Store], Result]) -> Result:
        """For commands: `operation` with the first member that can be used; it stays the current one.

        Only MemberUnavailable and EtcdRefused go on to the next member; in the end a refusal is raised rather than
        a member that is away, because it says what to change.
        """
        failures: list[MemberUnavailable | EtcdRefused] = []
        left, doubted = len(self._addresses), False
        while left:
            try:
                return self._with_store(operation)
            except (MemberUnavailable, EtcdRefused) as error:
                if not doubted and self.doubt(error):
                    doubted = True
                    continue
                failures.append(error)
                left -= 1
                self.next()
        raise self._worst(failures)

    def _with_store(self, operation: Callable[[Store], Result]) -> Result:
        store = self.open()
        try:
            return operation(store)
        finally:
            store.close()

    @staticmethod
    def _worst(failures: list[MemberUnavailable | EtcdRefused]) -> EtcdError:
        refused = [error for error in failures if isinstance(error, EtcdRefused)]
        if refused or len(failures) == 1:
            return (refused or failures)[0]
        addresses = ", ".join(error.address for error in failures)
        reasons = "; ".join(dict.fromkeys(error.reason for error in failures))
        return MemberUnavailable(addresses, f"no member can be reached ({reasons})")
