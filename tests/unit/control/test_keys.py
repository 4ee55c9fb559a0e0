# SPDX-License-Identifier: Apache-2.0
"""Every key of a host follows from the pattern of the services key."""

import pytest

from logagent.control.keys import Keys, group_name_refusal

KEYS = Keys("/logagent/%s/logconfig", "web-1")


def test_the_keys_are_those_of_the_documentation() -> None:
    assert {
        "services": KEYS.services,
        "groups": KEYS.groups,
        "group": KEYS.group("nginx"),
        "default": KEYS.default,
        "replay": KEYS.replay,
        "ask": KEYS.ask,
        "status": KEYS.status,
        "summary": KEYS.summary,
        "answer": KEYS.answer,
        "replay_state": KEYS.replay_state,
        "audit": KEYS.audit,
        "group_audit": KEYS.group_audit("nginx"),
    } == {
        "services": "/logagent/web-1/logconfig",
        "groups": "/logagent/web-1/groups",
        "group": "/logagent-groups/nginx/logconfig",
        "default": "/logagent-groups/default/logconfig",
        "replay": "/logagent/web-1/replay/",
        "ask": "/logagent/web-1/ask/",
        "status": "/logagent-agents/web-1/status",
        "summary": "/logagent-agents/web-1/summary",
        "answer": "/logagent-agents/web-1/answer/",
        "replay_state": "/logagent-agents/web-1/replay/",
        "audit": "/logagent-audit/web-1/",
        "group_audit": "/logagent-audit-groups/nginx/",
    }


@pytest.mark.parametrize(
    ("pattern", "services", "groups", "default", "status"),
    [
        ("/a/b/%s/c/d", "/a/b/h/c/d", "/a/b/h/groups", "/a/b-groups/default/logconfig", "/a/b-agents/h/status"),
        ("/a/x-%s.y/c", "/a/x-h.y/c", "/a/x-h.y/groups", "/a-groups/default/logconfig", "/a-agents/h/status"),
        ("logs/%s/c", "logs/h/c", "logs/h/groups", "logs-groups/default/logconfig", "logs-agents/h/status"),
        (
            "/%s/c",
            "/h/c",
            "/h/groups",
            "/logagent-groups/default/logconfig",
            "/logagent-agents/h/status",
        ),
        ("/a/%s", "/a/h", "/a/h/groups", "/a-groups/default/logconfig", "/a-agents/h/status"),
        ("/100%d/%s/c", "/100%d/h/c", "/100%d/h/groups", "/100%d-groups/default/logconfig", "/100%d-agents/h/status"),
    ],
)  # fmt: skip
def test_another_pattern_moves_all_keys(
    pattern: str, services: str, groups: str, default: str, status: str
) -> None:
    keys = Keys(pattern, "h")
    assert (keys.services, keys.groups, keys.default, keys.status) == (services, groups, default, status)


def test_no_prefix_of_one_host_covers_a_key_of_another() -> None:
    one, other = Keys("/logagent/%s/logconfig", "h1"), Keys("/logagent/%s/logconfig", "h10")
    for prefix in (one.replay, one.ask, one.answer, one.replay_state, one.audit):
        assert prefix.endswith("/h1/") or "/h1/" in prefix
        assert not any(
            key.startswith(prefix)
            for key in (other.replay, other.ask, other.answer, other.audit, other.status)
        )


def test_the_lists_of_a_host_are_named_with_the_highest_first() -> None:
    assert list(KEYS.documents(("web", "eu")).items()) == [
        ("/logagent/web-1/logconfig", "etcd"),
        ("/logagent-groups/web/logconfig", "group web"),
        ("/logagent-groups/eu/logconfig", "group eu"),
        ("/logagent-groups/default/logconfig", "default"),
    ]


@pytest.mark.parametrize("name", ["web", "a b", "ü", "a.b_c", "x" * 249])
def test_a_group_may_have_this_name(name: str) -> None:
    assert group_name_refusal(name) is None


@pytest.mark.parametrize("name", ["", " a", "a/b", "_a", ".", "..", "x" * 250, "a\n", None, 5, ["a"]])
def test_a_group_may_not_have_this_name(name: object) -> None:
    refusal = group_name_refusal(name)
    assert refusal
    assert refusal.startswith("expected a group name of 1 to 249 printable characters without a slash")
