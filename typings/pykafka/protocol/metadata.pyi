# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping, Sequence
from typing import NamedTuple

class BrokerMetadataV1(NamedTuple):
    id: int
    host: bytes
    port: int
    rack: bytes | None

class PartitionMetadata(NamedTuple):
    id: int
    leader: int
    replicas: Sequence[int]
    isr: Sequence[int]
    err: int

class TopicMetadataV1(NamedTuple):
    name: bytes
    is_internal: int
    partitions: Mapping[int, PartitionMetadata]
    err: int

class MetadataRequestV1:
    CLIENT_ID: bytes
    HEADER_LEN: int
    topics: Sequence[bytes]
    def __init__(self, topics: Sequence[bytes] | None = None) -> None: ...
    def get_bytes(self) -> bytearray: ...

class MetadataResponseV1:
    brokers: Mapping[int, BrokerMetadataV1]
    topics: Mapping[bytes, TopicMetadataV1]
    def __init__(self, buff: bytes) -> None: ...
