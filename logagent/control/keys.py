# SPDX-License-Identifier: Apache-2.0
"""Names of all keys in Etcd, derived from the pattern of the services key. Pure."""

from dataclasses import dataclass
from typing import Final

from logagent.config.services import service_name_refusal

DEFAULT_GROUP: Final = "default"
"""The group that every host is in, below all others."""

_DEFAULT_ROOT = "/logagent"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one host. Names that end with a slash are prefixes.

    Roles are siblings (`/logagent`, `/logagent-groups`, `/logagent-agents`, ...), so that no host or group name can
    collide with another role and each role is one range.
    """

    watch_key: str
    host: str

    @property
    def root(self) -> str:
        """What stands before the part with %s; the usual one where nothing does."""
        before = self.watch_key.partition("%s")[0].rpartition("/")[0]
        return before or _DEFAULT_ROOT

    @property
    def services(self) -> str:
        """The list of this host."""
        return self.watch_key.replace("%s", self.host)

    @property
    def groups(self) -> str:
        """The list of the groups that this host is in."""
        return f"{self._host_directory}/groups"

    @property
    def default(self) -> str:
        """The list of all hosts."""
        return self.group(DEFAULT_GROUP)

    def group(self, name: str) -> str:
        """The list of a group."""
        return f"{self.root}-groups/{name}/logconfig"

    @property
    def replay(self) -> str:
        """Jobs for this host."""
        return f"{self._host_directory}/replay/"

    @property
    def ask(self) -> str:
        """Questions to this host."""
        return f"{self._host_directory}/ask/"

    @property
    def status(self) -> str:
        """What the agent applied; leased."""
        return f"{self._agent_directory}/status"

    @property
    def summary(self) -> str:
        """How the agent does; leased."""
        return f"{self._agent_directory}/summary"

    @property
    def answer(self) -> str:
        """Answers of this host; leased."""
        return f"{self._agent_directory}/answer/"

    @property
    def replay_state(self) -> str:
        """What became of the jobs; the key of a job is also its claim."""
        return f"{self._agent_directory}/replay/"

    @property
    def audit(self) -> str:
        """Who changed the list of this host."""
        return f"{self.root}-audit/{self.host}/"

    def group_audit(self, name: str) -> str:
        """Who changed the list of a group."""
        return f"{self.root}-audit-groups/{name}/"

    def documents(self, groups: tuple[str, ...]) -> dict[str, str]:
        """Keys of all lists that count for this host, the highest first, each with the source of its entries."""
        named = {self.group(name): f"group {name}" for name in groups}
        return {self.services: "etcd", **named, self.default: DEFAULT_GROUP}

    @property
    def _host_directory(self) -> str:
        before, _, after = self.watch_key.partition("%s")
        return f"{before}{self.host}{after.partition('/')[0]}"

    @property
    def _agent_directory(self) -> str:
        return f"{self.root}-agents/{self.host}"


def group_name_refusal(name: object) -> str | None:
    """Why this cannot be the name of a group, or None."""
    if service_name_refusal(name) or str(name) in (".", "..") or str(name).startswith("_"):
        # API v2 hides what begins with an underscore and resolves dots.
        return "expected a group name of 1 to 249 printable characters without a slash and no _ or .. at its start"
    return None
