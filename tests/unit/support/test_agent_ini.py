# SPDX-License-Identifier: Apache-2.0
"""The INI that the tests write for the agent."""

from pathlib import Path

from tests.support.agent import AgentProcess, ini_text


def test_keys_come_first_then_sections_then_services() -> None:
    text = ini_text(
        {"kafka_addr": "127.0.0.1:9"}, {"web": {"topic": "t"}}, agent={"data_dir": "/d"}, kafka={}
    )

    assert text == "kafka_addr = 127.0.0.1:9\n\n[agent]\ndata_dir = /d\n\n[services]\n\n[[web]]\ntopic = t\n"


def test_services_are_replaced_and_other_keys_are_kept(tmp_path: Path) -> None:
    agent = AgentProcess(
        tmp_path, kafka_addr="127.0.0.1:9", services={"a": {"topic": "t"}}, files={"rescan_s": 1}
    )

    agent.write_ini({"b": {"topic": "u"}}, top={"level": "debug"}, kafka={"linger_ms": 5})

    text = agent.ini.read_text()
    assert "[[b]]\ntopic = u" in text
    assert "[[a]]" not in text
    for kept in ("kafka_addr = 127.0.0.1:9", "level = debug", "rescan_s = 1", "linger_ms = 5", "data_dir = "):
        assert kept in text
