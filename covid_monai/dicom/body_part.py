"""The part of the body that a header names: a chest, or another one."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.header_terms import (
    Finding,
    Terms,
    describe_contradiction,
    get_code_string,
    get_items,
    judge_code,
    load_table,
    plain_words,
)

_TABLE = load_table("body_part.yaml")
_CHEST, _OTHER = Terms(_TABLE["chest"]), Terms(_TABLE["other"])
_OTHER_IN_CODES = Terms(_TABLE["other_in_codes"])
_ADJECTIVES, _NOT_CHEST = Terms(_TABLE["chest_adjectives"]), Terms(_TABLE["not_chest"])
_SERIES = Terms(_TABLE["series"])


def check_body_part(ds: Dataset) -> None:
    """Refuse an image as NOT_CHEST if its header names another part of the body only.

    BodyPartExamined (PS3.16 Annex L), the anatomic codes (CID 4009) and the descriptions of the series are
    of the image: one of them that names another part refuses it, and the message names what contradicts.
    The study's texts and codes decide only where these are silent, because a study may hold images of
    several parts.

    Raises:
        RefusedImage: With the deciding element and its term.
    """
    found = describe_contradiction(list(_of_image(ds)) or _of_study(ds))
    if found:
        raise RefusedImage(RefusalReason.NOT_CHEST, f"{found}; a chest was expected.")


def _of_image(ds: Dataset) -> Iterator[Finding]:
    yield from _judge("BodyPartExamined", get_code_string(ds, "BodyPartExamined"))
    for keyword in _TABLE["elements"]["codes"]:
        for item in get_items(ds, keyword):
            yield from judge_code(keyword, item, _TABLE["chest_codes"], _TABLE["other_codes"], _judge)
    yield from _described(ds, _TABLE["elements"]["series"])


def _of_study(ds: Dataset) -> list[Finding]:
    holders = [ds, *get_items(ds, "RequestAttributesSequence")]
    findings = [found for holder in holders for found in _described(holder, _TABLE["elements"]["study"])]
    return [] if any(finding.fits for finding in findings) else findings


def _described(ds: Dataset, keywords: Sequence[str]) -> Iterator[Finding]:
    for keyword in keywords:
        meanings = [get_text(item, "CodeMeaning") for item in get_items(ds, keyword)]
        for text in meanings or [get_text(ds, keyword)]:
            yield from _judge(keyword, text, in_code=False)


def _judge(element: str, text: str, *, in_code: bool = True) -> Iterator[Finding]:
    """Yield what a text names: a chest, if it names that too; nothing for a text without a known term."""
    words = _SERIES.remove(plain_words(text))
    chest = _CHEST.find(_NOT_CHEST.remove(words))
    other = None if chest else _OTHER.find(words) or (_OTHER_IN_CODES.find(words) if in_code else None)
    chest = chest or (None if other else _ADJECTIVES.find(words))
    if term := chest or other:
        yield Finding(element, term, fits=chest is not None)
