# SPDX-License-Identifier: Apache-2.0
"""One token for the whole process, and the password file."""

import os

import gevent
import pytest

from logagent.errors import EtcdRefused, MemberUnavailable
from logagent.stores.tokens import Tokens


@pytest.fixture
def password_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("secret\r\nsecond line\n")
    file.chmod(0o640)
    return file


class Authority:
    """Gives out t1, t2, ... and takes a moment for each."""

    def __init__(self):
        self.asked = []
        self.error = None

    def __call__(self, user, password):
        self.asked.append((user, password))
        gevent.sleep(0.001)
        if self.error:
            raise self.error
        return f"t{len(self.asked)}"


@pytest.fixture
def authority():
    return Authority()


def test_many_greenlets_ask_for_one_token(password_file, authority):
    tokens = Tokens("agent", password_file)
    asking = [gevent.spawn(tokens.get, authority) for _ in range(20)]
    gevent.joinall(asking, timeout=5)

    assert {one.value for one in asking} == {"t1"}
    assert authority.asked == [("agent", "secret")]


def test_a_forgotten_token_is_asked_for_anew_with_the_password_of_now(password_file, authority):
    tokens = Tokens("agent", password_file)
    first = tokens.get(authority)
    password_file.write_text("changed")
    tokens.forget(first)

    assert tokens.get(authority) == "t2"
    assert authority.asked[1] == ("agent", "changed")


def test_a_late_complaint_does_not_drop_the_token_of_another(password_file, authority):
    tokens = Tokens("agent", password_file)
    first = tokens.get(authority)
    tokens.forget(first)
    second = tokens.get(authority)
    tokens.forget(first)

    assert tokens.get(authority) == second == "t2"


def test_after_a_failure_the_next_one_asks_again(password_file, authority):
    tokens = Tokens("agent", password_file)
    authority.error = MemberUnavailable("etcd:2379", "gone")
    asking = [gevent.spawn(tokens.get, authority) for _ in range(3)]
    gevent.joinall(asking, timeout=5)
    assert [type(one.exception) for one in asking] == [MemberUnavailable] * 3

    authority.error = None
    assert tokens.get(authority) == "t4"


def test_without_a_user_nobody_is_asked(authority):
    assert Tokens(None, None).get(authority) is None
    assert authority.asked == []


def test_a_server_without_authentication_is_asked_once_until_it_wants_a_token(password_file):
    answers = ["", "token"]
    tokens = Tokens("agent", password_file)
    assert [tokens.get(lambda *_: answers.pop(0)) for _ in range(3)] == [None] * 3

    tokens.forget(None)
    assert tokens.get(lambda *_: answers.pop(0)) == "token"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), "cannot be read: No such file"),
        (lambda file: file.chmod(0o644), r"open to everybody: chmod 600 \(it is 644\)"),
        (lambda file: file.write_text("\nsecret"), "has an empty first line"),
        (lambda file: file.write_bytes(b"\xff"), "is not UTF-8"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read: Is a directory"),
        (lambda file: (file.unlink(), os.mkfifo(file, 0o600)), "has an empty first line"),
    ],
)
def test_a_bad_password_file_is_named(password_file, authority, spoil, said):
    spoil(password_file)
    with pytest.raises(EtcdRefused, match=said) as seen:
        Tokens("agent", password_file).get(authority)

    assert str(seen.value).startswith(f"{password_file}: ")
    assert authority.asked == []


def test_a_user_needs_a_password_file(authority):
    with pytest.raises(EtcdRefused, match="user = agent needs a password_file"):
        Tokens("agent", None).get(authority)
