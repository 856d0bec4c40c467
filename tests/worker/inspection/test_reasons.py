"""Each reason that can stand in queue, audit trail and log has a meaning."""

import re
from pathlib import Path

import pytest

from covid_monai.core.vocabulary import RefusalReason
from covid_monai.worker.inspection.reasons import explain_reason, find_meaning
from covid_monai.worker.rules import RULE_OF_ATTRIBUTE, SKIPPED

PAGE = (Path(__file__).parents[3] / "docs" / "pacs.md").read_text(encoding="utf-8")
TABLES = re.findall(r"\| reason \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
OF_THE_PAGE = {
    name.replace("...", "x")
    for table in TABLES
    for row in table.splitlines()
    for name in re.findall(r"`([^`]+)`", row.split("|")[1])
}


def test_the_tables_of_the_page_are_found():
    assert len(TABLES) == 2
    assert {"before_start", "ends_the_service", "http_404"} <= OF_THE_PAGE


@pytest.mark.parametrize(
    "reason", sorted({*OF_THE_PAGE, *RefusalReason, *SKIPPED, *RULE_OF_ATTRIBUTE.values(), "failed"})
)
def test_each_reason_has_a_meaning_with_a_full_stop(reason):
    text = explain_reason(reason)
    assert text.endswith(".")
    assert text[0].isupper()


def test_the_first_pattern_that_fits_counts():
    assert find_meaning("http_507") != find_meaning("http_500")
    assert find_meaning("store_failed_a700") != find_meaning("store_failed_a900")
    assert explain_reason("no such reason") == ""
