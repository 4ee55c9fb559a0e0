# SPDX-License-Identifier: Apache-2.0
"""Outlets for their contract, each with what a test does behind its back: hold up what is on its way, and read."""

import base64
import json
import time
from contextlib import ExitStack, nullcontext

from logagent.kafka.connections import Cluster
from logagent.kafka.record_batch import encode_header_block
from logagent.senders.native_sender import NativeSender
from logagent.senders.settings import SenderSettings
from tests.contract.worlds import SPAWNER
from tests.support.consumer import read_messages
from tests.support.kafka import HOST
from tests.support.memory_sender import Arrived, MemorySender
from tests.support.proxy import Network, Silent
from tests.unit.sources.twins import Told

PARTITIONS = 3
ILLEGAL = "no/slashes"


class MemoryWorld:
    def __init__(self, topic):
        self.topic = topic
        self.outlets = []

    def open(self, *, budget_bytes, linger_s, batch_bytes):
        outlet = MemorySender(
            spawner=SPAWNER,
            partitions=PARTITIONS,
            budget_bytes=budget_bytes,
            linger_s=linger_s,
            batch_bytes=batch_bytes,
        )
        outlet.refused[ILLEGAL] = f"topic {ILLEGAL}: the name is not allowed"
        outlet.start()
        self.outlets.append(outlet)
        return outlet

    def hold(self):
        self.outlets[-1].hold()

    def let_go(self):
        self.outlets[-1].let_go()

    def records(self):
        return self.outlets[-1].topics[self.topic]

    def buried(self):
        return self.outlets[-1].buried

    def close(self):
        for outlet in self.outlets:
            outlet.stop()


class NativeWorld:
    """A real broker, behind a network that can fall silent."""

    def __init__(self, topic, node, place):
        self.topic = topic
        self._node = node
        self._dead_letter = place / "dead-letter.jsonl"
        self._stack = ExitStack()
        self._network = self._stack.enter_context(Network([node.port]))
        self._silence = None
        node.create_topic(topic, partitions=PARTITIONS)

    def open(self, *, budget_bytes, linger_s, batch_bytes):
        (proxy,) = self._network.proxies.values()
        outlet = NativeSender(
            SenderSettings(
                thread_num=2,
                linger_s=linger_s,
                batch_bytes=batch_bytes,
                partitioner="file",
                budget_bytes=budget_bytes,
                dead_letter=self._dead_letter,
            ),
            Cluster([(HOST, proxy.port)], "contract", 5.0, SPAWNER),
            spawner=SPAWNER,
            events=Told(),
            clock=time.monotonic,
            wall=time.time,
            work_turn=nullcontext,
        )
        outlet.start()
        self._stack.callback(outlet.stop)
        return outlet

    def hold(self):
        self._silence = Silent()
        self._holding = self._network.ruled(self._silence)
        self._holding.__enter__()

    def let_go(self):
        self._holding.__exit__(None, None, None)
        self._silence.end()

    def records(self):
        found = {number: [] for number in range(PARTITIONS)}
        for message in read_messages(self._node.address, self.topic, quiet_s=0.2):
            pairs = message.headers()
            block = None if pairs is None else encode_header_block([(n.encode(), v) for n, v in pairs])
            found[message.partition()].append(Arrived(message.key(), message.value(), block))
        return found

    def buried(self):
        if not self._dead_letter.exists():
            return []
        rows = self._dead_letter.read_text().splitlines()
        return [base64.b64decode(json.loads(row)["bytes_b64"]) for row in rows]

    def close(self):
        if self._silence is not None:
            self._silence.end()
        self._stack.close()
