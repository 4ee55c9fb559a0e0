# SPDX-License-Identifier: Apache-2.0
"""What a cluster says about itself: who its brokers are and which of them leads which partition. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NO_LEADER = -1


class BrokerAddress(NamedTuple):
    """Where a broker listens; as text `host:port`, with brackets around an IPv6 literal."""

    host: str
    port: int

    def __str__(self) -> str:
        # A host comes from the configuration or over the wire: no control characters into logs and terminals.
        host = self.host if self.host.isprintable() else ascii(self.host)[1:-1]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One topic. `code` is 0 or what hinders it (3 and 5 come while the broker creates it).

    `leaders` maps each partition to the node id of its leader or NO_LEADER.
    """

    code: int
    leaders: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Metadata:
    """A cluster as one of its brokers saw it: brokers by node id, and those topics that were asked for."""

    brokers: Mapping[int, BrokerAddress] = field(default_factory=dict)
    topics: Mapping[str, TopicInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartitionView:
    """Who leads a partition, -1 for nobody, since which epoch of it, -1 if that is not told, and who has its log."""

    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicView:
    """One topic in detail. `code` is 0 or what hinders it (3: it does not exist, or is being created)."""

    code: int
    partitions: Mapping[int, PartitionView]

    @property
    def leaders(self) -> dict[int, int]:
        """As in `TopicInfo`."""
        return {number: one.leader for number, one in self.partitions.items()}


@dataclass(frozen=True, slots=True)
class Described:
    """A cluster in detail, as one of its brokers saw it."""

    cluster_id: str
    brokers: Mapping[int, BrokerAddress]
    topics: Mapping[str, TopicView]
