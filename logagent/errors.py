# SPDX-License-Identifier: Apache-2.0
"""Every exception that logagent raises on purpose. Outside exceptions are translated into these at the border."""

from dataclasses import dataclass


class LogagentError(Exception):
    """Root of all; `str(error)` is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that the operator wrote wrong.

    `section` is empty for the top of the file; `key` and `value` are empty where the fault is not about one of them;
    `expected` says what would have been right, as a clause.
    """

    file: str
    section: str
    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        place = [f"[{self.section}]"] if self.section else []
        if self.key:
            place.append(self.key)
        if self.value:
            place.append(f"= {self.value!r}" if self.key else repr(self.value))
        return ": ".join(part for part in (self.file, " ".join(place), self.expected) if part)


class ConfigError(LogagentError):
    """The configuration is faulty; carries every fault that was found, not just the first."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class DataDirLocked(LogagentError):
    """Another agent works on the same data_dir."""


class DataDirUnusable(LogagentError):
    """data_dir cannot be made, read or written."""


class DeadLetterFailed(LogagentError):
    """The dead-letter file cannot be read or changed."""


class AgentNotRunning(LogagentError):
    """No agent answers on the admin socket."""


class FileRefused(LogagentError):
    """A log file may not or cannot be read; the text says why."""


class FileCompressed(FileRefused):
    """It holds no lines as it is; usually it is a log that was read before it was compressed."""


class FileChanged(LogagentError):
    """A file was emptied and written again: what stands where it was read is not what was read there."""


class KafkaError(LogagentError):
    """Something went wrong between us and Kafka."""


class NotAnswered(KafkaError):
    """A broker answered, but not the question: `code` says why (0: another broker did not answer)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the question was not answered (code {code})")
        self.code = code


class BrokerUnavailable(KafkaError):
    """A broker (or every seed) cannot be reached, hung up, or did not answer in time. Trying again is right."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class ProtocolViolation(KafkaError):
    """What answered does not speak Kafka, or not as agreed."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class EtcdError(LogagentError):
    """Something went wrong between us and Etcd."""


class MemberUnavailable(EtcdError):
    """A member cannot be reached, hung up, did not answer in time, or has no leader. Another one may be better."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class MemberSilent(MemberUnavailable):
    """A member takes longer to answer than we wait."""


class EtcdRefused(EtcdError):
    """What answers cannot be used as configured: not Etcd, no gateway, wrong password, no permission, bad certificate.

    Trying again soon helps little; the sentence tells the operator what to change.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class WatchEnded(EtcdError):
    """A watch is over for a reason that does not speak against the member; listing again is right."""


class MemberBehind(EtcdError):
    """A member knows less than was seen before; it is not believed."""


class OutcomeUnknown(EtcdError):
    """A write was sent and no answer came: it may or may not be in force."""


class SessionLost(EtcdError):
    """The lease of a session is gone, and its keys with it."""


class EditConflict(LogagentError):
    """A document is no longer what a change of it was made from; the change was not written."""


class NoSuchVersion(LogagentError):
    """The history of a document does not have what was asked for."""


class EditorFailed(LogagentError):
    """The editor could not be started or did not end well."""


class NotApplied(LogagentError):
    """An agent did not apply a change: it refused it, or did not say in time."""


class StateError(LogagentError):
    """What must survive cannot be read or written."""


class StateDamaged(StateError):
    """What lies on the disk is not what was written, or not there; trying again is no use, another file is."""


class StateAnew(StateError):
    """The database was opened anew and nothing is written yet: everything is to be written, not just what changed.

    If it had to be replaced, `error` says what was wrong, `kept_as` names the damaged file and `source` says where
    positions come from.
    """

    def __init__(self, error: str = "", kept_as: str = "", source: str = "") -> None:
        super().__init__(error or "the database was opened anew")
        self.error = error
        self.kept_as = kept_as
        self.source = source


class DemoFailed(LogagentError):
    """The demo, or the broker that it starts, cannot go on."""


class KafkaMissing(DemoFailed):
    """The machine cannot run a real broker; the text says what to do about it."""
