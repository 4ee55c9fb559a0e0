# SPDX-License-Identifier: Apache-2.0
from logagent.config.switches import TEST_WITHOUT_RECOVERY, without_recovery
from tests.support import ROOT


def test_recovery_is_off_only_when_a_test_says_so() -> None:
    assert without_recovery({TEST_WITHOUT_RECOVERY: "1"})
    assert not any(
        without_recovery(one) for one in ({}, {TEST_WITHOUT_RECOVERY: ""}, {TEST_WITHOUT_RECOVERY: "0"})
    )


def test_no_document_for_operators_names_the_switch() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "logagent.ini.sample"]
    assert not [page for page in pages if TEST_WITHOUT_RECOVERY in page.read_text(encoding="utf-8")]
