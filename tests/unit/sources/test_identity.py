# SPDX-License-Identifier: Apache-2.0

from hypothesis import given, settings
from hypothesis import strategies as st

from logagent.sources.identity import HEAD_BYTES, Head, inode_identity


@settings(deadline=None)
@given(data=st.binary(max_size=60), more=st.binary(max_size=60))
def test_a_file_that_grew_fits_its_old_head(data: bytes, more: bytes) -> None:
    assert Head.of(data).fits(data + more)


@settings(deadline=None)
@given(data=st.binary(min_size=1, max_size=60), other=st.binary(max_size=60))
def test_a_file_with_another_beginning_does_not_fit(data: bytes, other: bytes) -> None:
    assert Head.of(data).fits(other) == other.startswith(data)


def test_a_file_that_became_shorter_does_not_fit() -> None:
    assert not Head.of(b"abc").fits(b"ab")


def test_only_the_first_kibibyte_counts() -> None:
    head = Head.of(b"x" * 5000)

    assert head == Head.of(b"x" * HEAD_BYTES)
    assert head.size_bytes == HEAD_BYTES
    assert head.fits(b"x" * HEAD_BYTES + b"other")


def test_the_digest_is_stored_and_stays_the_same_over_releases() -> None:
    assert Head.of(b"logagent").digest.hex() == "f06cbcd1252c3debd444645648fd7e5e"


def test_an_identity_says_of_which_kind_it_is() -> None:
    assert inode_identity(2049, 77) == "inode:2049:77"
