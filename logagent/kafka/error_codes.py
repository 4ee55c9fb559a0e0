# SPDX-License-Identifier: Apache-2.0
"""What the brokers' error codes mean for a producer. Numbers and names: https://kafka.apache.org/protocol#protocol_error_codes."""

from dataclasses import dataclass
from typing import Final

NONE: Final = 0
UNKNOWN_TOPIC_OR_PARTITION: Final = 3
REQUEST_TIMED_OUT: Final = 7
MESSAGE_TOO_LARGE: Final = 10
COORDINATOR_LOAD_IN_PROGRESS: Final = 14
NOT_ENOUGH_REPLICAS: Final = 19
INVALID_TIMESTAMP: Final = 32
DUPLICATE_SEQUENCE_NUMBER: Final = 46
UNKNOWN_PRODUCER_ID: Final = 59
INVALID_RECORD: Final = 87

TOPIC_REFUSALS: Final = frozenset({UNKNOWN_TOPIC_OR_PARTITION, 17, 29})
"""The whole topic is refused; 3 also comes for a moment while the broker creates the topic."""

RECORD_REFUSALS: Final = frozenset({MESSAGE_TOO_LARGE, 18, INVALID_RECORD})
"""The batch is refused for what is in it: cut it in halves until the record to blame stands alone."""

EPOCH_REFUSALS: Final = frozenset({47, 90})
"""Somebody else goes on under our producer id."""

PRODUCER_RESETS: Final = EPOCH_REFUSALS | {45, UNKNOWN_PRODUCER_ID}
"""The broker and we disagree about the sequence: take a new producer id and begin again at sequence 0."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """`retriable`: the same bytes may be sent again after a pause and a look at fresh metadata."""

    name: str
    retriable: bool
    sentence: str


_RETRIABLE: Final = {
    -1: ("UNKNOWN_SERVER_ERROR", "the broker failed in a way that it does not name; its log knows more"),
    2: ("CORRUPT_MESSAGE", "the batch was damaged on its way to the broker"),
    3: ("UNKNOWN_TOPIC_OR_PARTITION", "the topic or partition does not exist, or not yet on this broker"),
    5: ("LEADER_NOT_AVAILABLE", "the partition has no leader at the moment"),
    6: ("NOT_LEADER_OR_FOLLOWER", "the partition is led by another broker now"),
    7: ("REQUEST_TIMED_OUT", "the replicas did not confirm the batch in time"),
    8: ("BROKER_NOT_AVAILABLE", "the broker is not available"),
    9: ("REPLICA_NOT_AVAILABLE", "a replica of the partition is not available"),
    13: ("NETWORK_EXCEPTION", "the broker lost the connection before it could answer"),
    14: ("COORDINATOR_LOAD_IN_PROGRESS", "the broker is still loading and cannot give out producer ids yet"),
    15: ("COORDINATOR_NOT_AVAILABLE", "the cluster cannot give out producer ids at the moment"),
    16: ("NOT_COORDINATOR", "another broker is in charge now"),
    19: ("NOT_ENOUGH_REPLICAS", "fewer replicas are in sync than the topic's min.insync.replicas asks for"),
    20: ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", "replicas went out of sync before the batch was confirmed"),
    41: ("NOT_CONTROLLER", "another broker is the controller now"),
    51: ("CONCURRENT_TRANSACTIONS", "the broker is still busy with this producer's previous request"),
    56: ("KAFKA_STORAGE_ERROR", "the broker cannot write to its disk"),
    72: ("LISTENER_NOT_FOUND", "the partition's leader does not listen where the agent asks"),
    74: ("FENCED_LEADER_EPOCH", "the partition's leader changed"),
    75: ("UNKNOWN_LEADER_EPOCH", "the broker has not heard of the partition's newest leader yet"),
    89: ("THROTTLING_QUOTA_EXCEEDED", "the broker's quota for this client is used up for now"),
    100: ("UNKNOWN_TOPIC_ID", "the topic was deleted and created again"),
}

_FINAL: Final = {
    0: ("NONE", "no error"),
    10: ("MESSAGE_TOO_LARGE", "the batch is larger than the topic's max.message.bytes"),
    17: ("INVALID_TOPIC_EXCEPTION", "Kafka does not allow this topic name"),
    18: ("RECORD_LIST_TOO_LARGE", "the batch is larger than a log segment of the topic (segment.bytes)"),
    21: ("INVALID_REQUIRED_ACKS", "the broker does not know this value of acks"),
    29: ("TOPIC_AUTHORIZATION_FAILED", "the cluster does not allow the agent to write to the topic"),
    31: ("CLUSTER_AUTHORIZATION_FAILED", "the cluster does not allow the agent to write idempotently"),
    32: ("INVALID_TIMESTAMP", "the time stamp is further from the broker's clock than the topic allows"),
    33: ("UNSUPPORTED_SASL_MECHANISM", "the broker does not offer this SASL mechanism"),
    34: ("ILLEGAL_SASL_STATE", "the broker expects authentication first"),
    35: ("UNSUPPORTED_VERSION", "the broker does not know this version of the request"),
    42: ("INVALID_REQUEST", "the broker calls the request malformed"),
    43: ("UNSUPPORTED_FOR_MESSAGE_FORMAT", "the topic is kept in a message format that is too old"),
    44: ("POLICY_VIOLATION", "a policy of the cluster forbids the request"),
    45: ("OUT_OF_ORDER_SEQUENCE_NUMBER", "the broker expected another sequence number"),
    46: ("DUPLICATE_SEQUENCE_NUMBER", "the broker has this batch already"),
    47: ("INVALID_PRODUCER_EPOCH", "a newer producer uses the same producer id"),
    53: ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "the cluster does not allow this transactional id"),
    54: ("SECURITY_DISABLED", "security is not set up on the cluster"),
    58: ("SASL_AUTHENTICATION_FAILED", "the broker refuses the user name or password"),
    59: ("UNKNOWN_PRODUCER_ID", "the broker has forgotten the producer id"),
    76: ("UNSUPPORTED_COMPRESSION_TYPE", "the broker does not support this compression"),
    87: ("INVALID_RECORD", "the broker, or a rule of the topic, refuses a record of the batch"),
    90: ("PRODUCER_FENCED", "a newer producer has taken over the producer id"),
}

_TABLE: Final = {code: ErrorInfo(name, True, sentence) for code, (name, sentence) in _RETRIABLE.items()} | {
    code: ErrorInfo(name, False, sentence) for code, (name, sentence) in _FINAL.items()
}


def describe(code: int) -> ErrorInfo:
    """What `code` means. A code that we do not know is retriable: waiting loses nothing."""
    unknown = f"the broker answered with error code {code}, which the agent does not know"
    return _TABLE.get(code) or ErrorInfo(f"ERROR_{code}", True, unknown)
