# SPDX-License-Identifier: Apache-2.0
"""Which snapshots may replace what is in force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logagent.control.trust import Seen, Verdict, judge, seen_in
from logagent.stores.store import Item, Snapshot

KEYS = ("/host", "/groups", "/web", "/default")
SEEN = Seen("c1", revision=10, term=3, present=frozenset({"/host", "/default"}))


def snapshot(
    *present: str, cluster: str = "c1", revision: int = 11, term: int = 3, value: bytes = b"[{}]"
) -> Snapshot:
    return Snapshot(cluster, revision, term, {key: Item(value, 1) for key in present})


def kind(seen: Seen | None, found: Snapshot, keys: tuple[str, ...] = KEYS, *, agreed: bool = False) -> str:
    return judge(seen, found, keys, agreed=agreed).kind


def test_the_first_snapshot_is_believed() -> None:
    assert kind(None, snapshot()) == "ok"


def test_a_newer_snapshot_is_believed() -> None:
    assert kind(SEEN, snapshot("/host")) == "ok"
    assert kind(SEEN, snapshot("/host", revision=10)) == "ok"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (snapshot("/host", revision=9), "revision 9 is older than 10, which was seen before"),
        (snapshot("/host", term=2), "raft term 2 is older than 3, which was seen before"),
        (snapshot(revision=9), "revision 9 is older than 10, which was seen before"),
    ],
)
def test_a_member_that_is_behind_is_stale(found: Snapshot, reason: str) -> None:
    verdict = judge(SEEN, found, KEYS)
    assert (verdict.kind, verdict.reason) == ("stale", reason)


def test_a_server_that_tells_no_term_is_not_stale() -> None:
    assert kind(SEEN, snapshot("/host", term=0)) == "ok"


def test_a_restored_backup_is_believed_when_all_members_agree() -> None:
    assert kind(SEEN, snapshot("/host", revision=5, term=2), agreed=True) == "ok"


def test_a_restored_backup_without_lists_is_suspicious() -> None:
    verdict = judge(SEEN, snapshot(revision=5), KEYS, agreed=True)
    assert verdict.kind == "suspicious-empty"
    assert verdict.reason == (
        "no list for this host is left, and revision 5 is older than 10, which was seen before"
    )


def test_another_cluster_is_believed_if_it_has_a_list_and_however_young_it_is() -> None:
    assert kind(SEEN, snapshot("/default", cluster="c2", revision=2, term=1)) == "ok"


def test_another_cluster_without_lists_is_suspicious() -> None:
    verdict = judge(SEEN, snapshot(cluster="c2", revision=99), KEYS)
    assert (verdict.kind, verdict.reason) == (
        "suspicious-empty",
        "this is another cluster, and no list for this host is in it",
    )


@pytest.mark.parametrize("value", [b"", b"garbage", b"[]", b"null"])
def test_another_cluster_with_nothing_to_ship_in_its_lists_is_suspicious(value: bytes) -> None:
    assert kind(SEEN, snapshot("/default", cluster="c2", revision=2, value=value)) == "suspicious-empty"


def test_an_empty_list_in_the_same_cluster_is_an_order() -> None:
    assert kind(SEEN, snapshot("/host", value=b"[]")) == "ok"


def test_a_suspicion_stays_however_far_the_revision_grows_until_there_is_a_list() -> None:
    suspicious = Seen("c1", 10, 3, frozenset({"/host"}), "it was wiped")
    assert judge(suspicious, snapshot(revision=5), KEYS) == Verdict("suspicious-empty", "it was wiped")
    assert judge(suspicious, snapshot(revision=50), KEYS) == Verdict("suspicious-empty", "it was wiped")
    assert kind(suspicious, snapshot("/default", revision=5)) == "ok"


def test_all_keys_gone_at_once_is_suspicious() -> None:
    verdict = judge(SEEN, snapshot(), KEYS)
    assert verdict.kind == "suspicious-empty"
    assert verdict.reason == "all 2 keys of this host's lists vanished at once"


def test_the_only_list_may_be_deleted() -> None:
    assert kind(Seen("c1", 10, 3, frozenset({"/host"})), snapshot()) == "ok"


def test_one_of_several_lists_may_be_deleted() -> None:
    assert kind(SEEN, snapshot("/default")) == "ok"


def test_where_nothing_was_nothing_can_vanish() -> None:
    assert kind(Seen("c1", 10, 3, frozenset()), snapshot(cluster="c2", revision=1)) == "ok"


def test_a_key_that_is_not_asked_for_any_more_has_not_vanished() -> None:
    seen = Seen("c1", 10, 3, frozenset({"/groups", "/web"}))
    assert kind(seen, snapshot(), ("/host", "/groups", "/default")) == "ok"


def test_what_was_seen_names_the_keys_that_exist() -> None:
    assert seen_in(snapshot("/host", "/elsewhere"), KEYS) == Seen("c1", 11, 3, frozenset({"/host"}))


SNAPSHOTS = st.builds(
    snapshot,
    st.sampled_from(KEYS),
    cluster=st.sampled_from(["c1", "c2"]),
    revision=st.integers(1, 20),
    term=st.integers(0, 4),
)


@given(SNAPSHOTS, st.booleans())
def test_a_list_that_is_there_is_never_suspicious(found: Snapshot, agreed: bool) -> None:
    assert kind(SEEN, found, agreed=agreed) in (("ok",) if agreed else ("ok", "stale"))


@given(st.integers(1, 20), st.sampled_from(["c1", "c2"]))
def test_an_emptied_cluster_is_suspicious_whatever_else_it_says(revision: int, cluster: str) -> None:
    assert kind(SEEN, snapshot(cluster=cluster, revision=revision), agreed=True) == "suspicious-empty"
