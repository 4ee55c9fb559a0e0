# SPDX-License-Identifier: Apache-2.0
"""The INI file as a whole: what loads, what is refused, and that every refusal is a sentence."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from logagent.config import ini
from logagent.config.settings import Address, changed_restart_keys
from logagent.errors import ConfigError
from tests.unit.config.conftest import Faults, Load

SEED = Path(__file__).parent / "fixtures" / "seed_sample.ini"
K = "kafka_addr = k:9092\n"


def service(*lines: str, name: str = "web") -> str:
    return "\n".join([K, "[services]", f"[[{name}]]", *lines, ""])


def found_in(load: Load, content: str | bytes) -> list[str]:
    """The faults as sentences, none if it loads."""
    try:
        load(content)
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_the_sample_of_the_seed_loads_verbatim(tmp_path: Path) -> None:
    shutil.copy(SEED, tmp_path / "app.cfg")
    loaded = ini.load(tmp_path / "app.cfg")
    assert loaded.etcd_addr == (Address("10.134.123.183", 2379),)
    assert loaded.etcd_timeout_s == 5
    assert loaded.etcd_watch_key == "/logagent/%s/logconfig"
    assert loaded.kafka_addr == (Address("10.134.123.183", 9092),)
    assert loaded.thread_num == 4
    assert loaded.log == tmp_path / "log" / "logagent.log"
    assert loaded.level == "debug"
    assert loaded.entries == ()
    assert loaded.warnings == ()
    assert loaded.origins["level"] == "app.cfg:7"


@pytest.mark.parametrize(("sync", "delivery"), [("full", "exactly_once"), ("normal", "at_least_once")])
def test_how_batches_are_noted_can_be_chosen(load: Load, sync: str, delivery: str) -> None:
    loaded = load(f"{K}[agent]\nstate_sync = {sync}\n[kafka]\ndelivery = {delivery}")
    assert (loaded.agent.state_sync, loaded.kafka.delivery) == (sync, delivery)
    assert (load(K).agent.state_sync, load(K).kafka.delivery) == ("normal", "exactly_once")
    assert set(changed_restart_keys(load(K), loaded)) <= {"agent.state_sync", "kafka.delivery"}


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("etcd_addr = etcd1, 127.0.0.1\n{K}[etcd]\nuser = a\npassword_file = p", True),
        ("etcd_addr = localhost, [::1]:1, 127.0.0.1\n{K}[etcd]\nuser = a\npassword_file = p", False),
        ("etcd_addr = etcd1\n{K}[etcd]\nuser = a\npassword_file = p\nca = system", False),
        ("etcd_addr = etcd1\n{K}", False),
    ],
)
def test_a_password_in_clear_on_the_network_is_warned_of(load: Load, text: str, warned: bool) -> None:
    assert ["in clear" in one for one in load(text.replace("{K}", K)).warnings] == [True] * warned


def test_paths_of_etcd_are_relative_to_the_file_and_system_is_a_word(load: Load, tmp_path: Path) -> None:
    etcd = load(K + "[etcd]\nuser = a\npassword_file = secret\nca = system\ncert = c.pem\nkey = /k.pem").etcd
    assert etcd.password_file is not None
    assert (etcd.password_file.name, etcd.password_file.is_absolute()) == ("secret", True)
    assert (etcd.ca, etcd.key) == ("system", Path("/k.pem"))


def test_absent_keys_have_their_defaults(load: Load) -> None:
    loaded = load(K)
    assert (loaded.etcd_addr, loaded.etcd_timeout_s, loaded.thread_num) == ((), 5, 4)
    assert (loaded.log, loaded.level) == (None, "info")
    assert loaded.agent.data_dir == Path("/home/operator/.local/state/logagent")
    assert loaded.agent.memory_limit_bytes == 96 * 1024 * 1024
    assert loaded.agent.admin_addr == Address("127.0.0.1", 0)
    assert (loaded.kafka.linger_ms, loaded.kafka.batch_bytes, loaded.kafka.partitioner) == (
        50,
        950000,
        "file",
    )
    assert loaded.files.max_line_bytes == 999_900
    assert loaded.files.denied_paths == ("/etc", "/root", "/proc", "/sys", "/dev", "/boot", ".ssh")
    assert set(loaded.origins) == {"kafka_addr"}
    assert ["nothing to read" in warning for warning in loaded.warnings] == [True]


@pytest.mark.parametrize(
    ("text", "of_1000", "shown"),
    [("5%", 50, "5%"), ("0.5 %", 5, "0.5%"), ("2KiB", 2048, "2KiB"), ("0", 0, "0")],
)
def test_free_space_is_a_percentage_or_a_size(load: Load, text: str, of_1000: int, shown: str) -> None:
    space = load(K + f"[files]\nhold_deleted_min_free = {text}").files.hold_deleted_min_free
    assert (space.of(1000), str(space)) == (of_1000, shown)


def test_every_section_is_read(load: Load, tmp_path: Path) -> None:
    loaded = load(
        "kafka_addr = a, [::1]:9093 ,c.example.:9094\nlog = log/own.log\n"
        "[agent]\nhost_id=h1\ndata_dir = state\nadmin_addr = [::1]:0\nmemory_limit = 128 mib\n"
        "log_format = json\n"
        "[kafka]\nlinger_ms = 0\n"
        "batch_bytes = 64KiB\npartitioner = random\n"
        "[files]\nrescan_s = 1.5\nallowed_paths = /srv//log/, /var/log\ndenied_paths =\n"
        "[services]\n[[one]]\nlog_path = /var/log/a\\,b.log, /srv/log/*.log\ntopic = t\n"
        "send_rate = 0.5\nkey = path\n"
    )
    assert loaded.kafka_addr == (Address("a", 9092), Address("::1", 9093), Address("c.example.", 9094))
    assert loaded.log == tmp_path / "log" / "own.log"
    assert loaded.agent.data_dir == tmp_path / "state"
    assert loaded.agent.memory_limit_bytes == 128 * 1024 * 1024
    assert loaded.kafka.batch_bytes == 65536
    assert loaded.files.allowed_paths == ("/srv/log", "/var/log")
    assert loaded.files.denied_paths == ()
    assert [entry.id for entry in loaded.entries] == [("one", "/var/log/a,b.log"), ("one", "/srv/log/*.log")]
    assert {(e.topic, e.send_rate_lines_per_s, e.key, e.format) for e in loaded.entries} == {
        ("t", 0.5, "path", "raw")
    }
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "kafka_addr: it is missing"),
        (K + K, "logagent.ini:2: kafka_addr = 'k:9092': expected each key once"),
        (K + "etcd_adr = e", "logagent.ini:2: etcd_adr = 'e': unknown key; did you mean etcd_addr?"),
        (K + "zzz = 1", "unknown key; known here are etcd_addr, etcd_timeout"),
        (K + "linger_ms = 1", "unknown key here; it belongs into [kafka]"),
        (
            K + "[agent]\nlevel = info",
            "[agent] level = 'info': unknown key here; it belongs above the first section",
        ),
        (K + "[agnt]", "logagent.ini:2: [agnt]: unknown section; did you mean agent?"),
        (K + "[agent]\n[files]\n[agent]", "logagent.ini:4: [agent]: expected each section once"),
        (K + "[agent]\n[[x]]", "[agent.x]: expected no section here"),
        (K + "[[x]]\ntopic = t", "[x]: expected a section with one bracket less around it"),
        (K + "[agent", "logagent.ini:2: '[agent': expected a section such as [files]"),
        (K + "[[agent]", "expected a section such as [files]"),
        (K + "[]", "expected a section such as [files]"),
        (K + "just words", "logagent.ini:2: 'just words': expected `key = value`"),
        (K + "thread_num = four", "thread_num = 'four': expected a whole number from 1 to 64"),
        (K + "thread_num = 0", "thread_num = '0': out of range; expected a whole number from 1 to 64"),
        (K + "thread_num = 65", "out of range"),
        (K + "thread_num = ٣", "expected a whole number"),  # an Arabic digit
        (K + "thread_num =", "thread_num: expected a whole number"),
        (K + "etcd_timeout = 1e2", "expected a whole number of seconds from 1 to 300"),
        (K + "etcd_timeout = " + "9" * 5000, "expected a whole number"),
        (K + "level = verbose", "level = 'verbose': expected one of debug, trace, info, warn, error"),
        (K + "level = Info", "expected one of"),
        (K + "etcd_watch_key = /logagent/logconfig", "%s"),
        (K + "etcd_watch_key = /%s/%s", "exactly once"),
        (K + "etcd_watch_key = /logagent/%s/", "ends neither with /"),
        (K + "etcd_watch_key = /logagent/%s/groups", "nor with %s/groups"),
        (K + "[etcd]\nuser = a", "[etcd] user = 'a': it needs password_file beside it"),
        (K + "[etcd]\npassword_file = p", "it needs user beside it"),
        (K + "[etcd]\nca = c\ncert = x", "it needs key beside it"),
        (K + "[etcd]\nca = c\nkey = x", "it needs cert beside it"),
        (K + "[etcd]\ncert = x\nkey = y", "it needs ca beside it"),
        (
            K + "[agent]\nstate_sync = full\n[kafka]\ndelivery = at_least_once",
            "logagent.ini:3: [agent] state_sync = 'full': expected normal beside [kafka] delivery = at_least_once",
        ),
        (K + "[kafka]\ndelivery = once", "expected one of exactly_once, at_least_once"),
        (K + "[kafka]\nacks = 1", "unknown key"),
        (K + "[kafka]\ndriver = librdkafka", "unknown key"),
        (K + "[kafka]\nintent_give_up_s = 0", "expected a number of seconds from 1 to 604800"),
        (K + "[kafka]\ndead_letter_full = wait", "expected one of block, drop"),
        (K + "[kafka]\ndead_letter_max_bytes = 1MiB", "expected a size from 4MiB"),
        (K + "[etcd]\napi = v4", "[etcd] api = 'v4': expected one of auto, v3, v2"),
        (K + "[etcd]\naccept_empty = true", "expected yes or no"),
        (K + "log = a,b", "log = 'a,b': there is a bare comma in it"),
        (K + "[agent]\nmemory_limit = 63MiB", "out of range; expected a size from 64MiB"),
        (K + "[files]\nhold_deleted_min_free = 101%", "out of range; expected a percentage from 0% to 100%"),
        (K + "[files]\nhold_deleted_min_free = five%", "expected a percentage"),
        (K + "[agent]\nmemory_limit = 96MB", "expected a size from 64MiB"),
        (K + "[agent]\nadmin_addr = :9465", "'' is not a host name"),
        (K + "[agent]\nadmin_addr = localhost", "the port is missing"),
        (K + "[agent]\nhost_id = a/b", "expected 1 to 253 letters"),
        (K + "[files]\nrescan_s = nan", "expected a number of seconds from 1 to 3600"),
        (K + "[files]\nallowed_paths = log", "'log' does not start with /"),
        (K + "[files]\ndenied_paths = /a/../b", "'/a/../b' contains .."),
        (K + "[services]\ntopic = x", "expected no keys here"),
        ("kafka_addr =", "kafka_addr: expected"),
        ("kafka_addr = a,,b", "nothing between two commas"),
        ("kafka_addr = a,", "nothing between two commas or at one end"),
        ("kafka_addr = a:0", "'0' is not a port from 1 to 65535"),
        ("kafka_addr = a:65536", "'65536' is not a port"),
        ("kafka_addr = a:", "'' is not a port"),
        ("kafka_addr = ::1:9092", "square brackets"),
        ("kafka_addr = [::g]:1", "'::g' is not an IPv6 address"),
        ("kafka_addr = 10.0.0.300", "'10.0.0.300' is not a host name"),
        ("kafka_addr = a_b-.c", "is not a host name"),
        ("kafka_addr = http://a:1", "has a scheme before the host"),
        ("kafka_addr = a#b", 'in quotes, as in kafka_addr = "a#b"'),
        ("kafka_addr =#b", 'in quotes, as in kafka_addr = "#b"'),
        ('kafka_addr = a#"b', "kafka_addr = 'a#\"b'"),
        ("kafka_addr = \"a' # c", 'expected a closing " on the same line'),
        ('kafka_addr = "a"#c', "expected one pair of quotes"),
        ('kafka_addr = "a", "b"', "expected one pair of quotes"),
        ('kafka_addr = """a"""', "without triple quotes"),
        (K + "level = in\x07fo", "no control characters"),
    ],
)
def test_a_fault_is_one_sentence_that_names_place_and_expectation(
    faults: Faults, text: str, fault: str
) -> None:
    found = faults(text)
    assert len(found) == 1
    assert fault in found[0]
    assert found[0].startswith("logagent.ini")
    assert "\n" not in found[0]


def test_all_faults_are_named_at_once_in_the_order_of_the_file(faults: Faults) -> None:
    found = faults(
        "etcd_adr = x\nthread_num = 0\nlevel = a#b\nwhat\n[kafka]\nlinger_ms = -1\n[nonsense]\n"
        "[services]\n[[web]]\nlog_path = log\nsend_rate = 0\n"
    )
    expected = [": kafka_addr: it is missing", ":1: etcd_adr", ":2: thread_num", ":3: level", ":4: 'what'",
                ":6: [kafka] linger_ms", ":7: [nonsense]", ":9: [services.web] topic: topic is missing",
                ":10: [services.web] log_path", ":11: [services.web] send_rate"]  # fmt: skip
    assert [found[at].startswith(f"logagent.ini{text}") for at, text in enumerate(expected)] == [True] * len(
        expected
    )
    assert len(found) == len(expected)


def test_keys_below_a_faulty_section_line_are_not_blamed(faults: Faults) -> None:
    assert len(faults(K + "[agent]\nhost_id = h\n[[services]\n[[web]]\ntopic = t\nhost_id = g\n")) == 1


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain", "plain"),
        ("a b # comment", "a b"),
        ("a\t#comment # more", "a"),
        ("'single # quoted'", "single # quoted"),
        ('"a#1" # comment', "a#1"),
        ('"it\'s"  ', "it's"),
        ("it's", "it's"),
        ("%(host)s $x {y}", "%(host)s $x {y}"),
        ("back\\slash", "back\\slash"),
        ("a=b", "a=b"),
    ],
)
def test_a_value_is_what_stands_before_a_comment_and_inside_quotes(
    load: Load, tmp_path: Path, written: str, value: str
) -> None:
    assert load(f"{K}log = {written}\n").log == tmp_path / value


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_quoted_value_comes_back_unchanged_whatever_comment_follows(load: Load, value: str) -> None:
    quote = next((quote for quote in "\"'" if quote not in value), "")
    pattern = value.replace("%", "") + "%s"
    written = f"{quote}{pattern}{quote}" if quote else pattern
    text = f"{K}etcd_watch_key = {written} # '\" ] = %s, #\n"
    if quote:
        assert load(text).etcd_watch_key == pattern
    else:
        assert len(found_in(load, text)) <= 1


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_and_a_byte_order_mark_do_not_matter(load: Load, ending: str) -> None:
    loaded = load(b"\xef\xbb\xbf" + (K + "level = warn # x\n").replace("\n", ending).encode())
    assert (loaded.level, loaded.kafka_addr) == ("warn", (Address("k", 9092),))


def test_section_lines_may_have_comments_and_quotes(load: Load) -> None:
    text = (
        f'{K}[services] # all\n  [[ "srv.a#1 [x]" ]] # one\nlog_path=/v/l\ntopic=t\n'
        "[[srv b]]\nlog_path=/v/l\ntopic=t"
    )
    assert [entry.service for entry in load(text).entries] == ["srv.a#1 [x]", "srv b"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"level = info\nlog = \xff\n", "logagent.ini:2:: expected text in UTF-8"),
        ("kafka_addr = a\n".encode("utf-16"), "expected text in UTF-8"),
        (b"a\nb\n\0", "logagent.ini:3:: expected text in UTF-8; there is a NUL byte"),
        (b"#" * 4_194_305, "at most 4194304 bytes"),
    ],
)
def test_a_file_that_is_not_text_is_refused(faults: Faults, content: bytes, fault: str) -> None:
    (found,) = faults(content)
    assert fault.replace("::", ":") in found.replace("::", ":")


def refusal_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        ini.load(path)
    (fault,) = caught.value.faults
    assert fault.file == str(path)
    return fault.expected


def test_a_path_that_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "none.ini").startswith("no such file")
    assert refusal_of(tmp_path).startswith("this is a directory")
    os.mkfifo(tmp_path / "fifo")
    assert "special file" in refusal_of(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal_of(tmp_path / "loop") == "cannot be opened: Too many levels of symbolic links"
    assert refusal_of(Path("a\0b")) == "no file can have this name"


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # modes do not stop root
    assert refusal_of(tmp_path / "x.ini") == "cannot be opened: Permission denied"


def test_the_data_dir_follows_root_then_xdg_then_home(tmp_path: Path) -> None:
    path = tmp_path / "a.ini"
    path.write_text(K)

    def data_dir(*, root: bool, **environ: str) -> str:
        return str(ini.load(path, environ=environ, root=root).agent.data_dir)

    assert data_dir(root=True, HOME="/h") == "/var/lib/logagent"
    assert data_dir(root=False, HOME="/h", XDG_STATE_HOME="/x") == "/x/logagent"
    assert data_dir(root=False, HOME="/h", XDG_STATE_HOME="relative") == "/h/.local/state/logagent"
    with pytest.raises(ConfigError, match="data_dir: expected a directory"):
        data_dir(root=False)


def test_the_file_is_found_by_option_then_environment_then_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ini, "SYSTEM_PATH", tmp_path / "etc.ini")
    with pytest.raises(ConfigError, match="no such file"):
        ini.find(None, {})
    (tmp_path / "etc.ini").touch()
    assert ini.find(None, {}) == tmp_path / "etc.ini"
    (tmp_path / "logagent.ini").touch()
    assert ini.find(None, {}) == Path("logagent.ini")
    assert ini.find(None, {"LOGAGENT_CONFIG": "env.ini"}) == Path("env.ini")
    assert ini.find("option.ini", {"LOGAGENT_CONFIG": "env.ini"}) == Path("option.ini")


def test_only_restart_keys_are_named_as_changed(load: Load) -> None:
    old = load(K)
    new = load(K + "thread_num = 5\nlevel = warn\n[kafka]\nlinger_ms = 1\n[files]\nstart_at = end\n")
    assert changed_restart_keys(old, old) == ()
    assert changed_restart_keys(old, new) == ("thread_num", "kafka.linger_ms")


FRAGMENTS = """
[ ] [[ ]] [services] [[web]] [agent] [files] = # ' " ''' , \\, kafka_addr log_path topic send_rate level log
data_dir denied_paths /var/log/x * .. %s %(x)s 1 1e30 nan [::1]:9 k:9092 é unlimited 96MiB
"""
SPACES = ["\n", "\r\n", " = ", " #", "\t", "\x0b", "\x1c", "\x85", "\u2028", "\ufeff"]
WORDS = st.sampled_from([*FRAGMENTS.split(), *SPACES])
LINES = st.sampled_from(
    [
        "[services]",
        "[[web]]",
        "[agent]",
        "[[[x]]]",
        "topic = t",
        "log_path = /x",
        "kafka_addr = k",
        "host_id = h",
        "[agent",
        "send_rate = 1 # c",
        "services = 1",
        "[kafka_addr]",
        "[[services]]",
    ]
)


@example(content="topic==\u2028/var/log/x#\x85".encode())
@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.lists(WORDS).map("".join).map(str.encode),
        st.lists(LINES).map("\n".join).map(str.encode),
    )
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_holds_it_loads_or_names_faults(load: Load, content: bytes) -> None:
    for sentence in found_in(load, content):
        assert len(sentence.splitlines()) == 1
        assert len(sentence) < 1000


def test_services_are_checked_against_the_paths_of_this_file(faults: Faults, tmp_path: Path) -> None:
    found = faults(
        f"log = own.log\n{K}[agent]\ndata_dir = state\n[files]\nallowed_paths = {tmp_path}\n[services]\n"
        f"[[a]]\ntopic = t\n"
        f"log_path = {tmp_path}/own.log.1, {tmp_path}/state/x/*.log, /elsewhere/x, /etc/passwd\n"
    )
    assert [sentence.rpartition(": ")[2] for sentence in found] == [
        "it is the agent's own log", "it is in the agent's data_dir", "it is outside allowed_paths",
        "/etc is in denied_paths",
    ]  # fmt: skip


def test_a_fault_of_a_value_is_not_reported_again_as_missing(faults: Faults) -> None:
    (found,) = faults(service("log_path = /var/log/x#1.log", "topic = t"))
    assert 'log_path = "/var/log/x#1.log"' in found


def test_the_rates_that_are_written_can_be_told_from_the_others(load: Load) -> None:
    one = "[[a]]\nlog_path = /a\ntopic = t\nsend_rate = 5\n"
    other = "[[b]]\nlog_path = /b\ntopic = t\n[[c]]\nlog_path = /c\ntopic = t\nsend_rate = unlimited\n"
    assert load(f"{K}[services]\n{one}{other}").rates_lines_per_s == {"a": 5.0, "c": None}
