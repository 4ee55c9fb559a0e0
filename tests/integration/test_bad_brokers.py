# SPDX-License-Identifier: Apache-2.0
"""Addresses in kafka_addr that are no working broker: told in a sentence, never in the way of one that works."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.integration import bad_brokers
from tests.integration.proofs import prove, put_lines, sentences
from tests.support.agent import AgentProcess
from tests.support.kafka import KafkaNode

# what it is, and what the sentence about it contains
BAD: dict[str, tuple[Callable[[], AbstractContextManager[str]], str]] = {
    "unknown host": (bad_brokers.unknown_host, "unknown host|cannot be resolved|not known|resol"),
    "refused port": (bad_brokers.refused, "refused"),
    "HTTP server": (bad_brokers.http, "Kafka|HTTP"),
    "garbage": (bad_brokers.garbage, "Kafka|understood"),
    "half an answer": (bad_brokers.half_an_answer, "answer"),
    "black hole": (bad_brokers.black_hole, "time|within|answer"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_broker_is_told_in_a_sentence_and_does_not_delay_a_good_one(
    kafka_39: KafkaNode, agent: Callable[..., AgentProcess], topic: str, tmp_path: Path, kind: str
) -> None:
    serve, words = BAD[kind]
    path = tmp_path / "a.log"
    written = put_lines(path, "a", 300)
    services = {"s": {"log_path": path, "topic": topic}}
    with serve() as address:
        lonely = agent(kafka_addr=address, services=services, agent={"shutdown_timeout_s": 2})
        lucky = agent(kafka_addr=f"{address}, {kafka_39.address}", services=services)
        lucky.wait_ready()
        ready_s = time.monotonic()
        lucky.wait_acked()
        assert time.monotonic() - ready_s < 3
        prove(kafka_39, topic, tmp_path, [written], min_lines=300)

        lonely.wait_for(
            lambda: sentences(lonely, "WARNING", "Nobody tells who leads", address), what="the log tells it"
        )
        (told,) = sentences(lonely, "WARNING", "Nobody tells who leads")
        assert any(word in told.split(address)[1] for word in words.split("|")), told
        code, why = lonely.http("/healthz")
        assert code == 503
        assert address in why
        lonely.wait_for(
            lambda: address in lonely.fetch_status()["files"][0]["reason"],
            what="/status says what the file waits for",
        )
        stopped_s = time.monotonic()
        lonely.stop(expect_exit=0)
        assert time.monotonic() - stopped_s < 2 + 2
        lucky.stop(expect_exit=0)
