"""The view that a header names: frontal, or another one."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

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

_TABLE = load_table("view.yaml")
_FRONTAL, _LATERAL, _OTHER = (Terms(_TABLE[name]) for name in ("frontal", "lateral", "other"))
_OTHER_IN_CODES, _LYING = Terms(_TABLE["other_in_codes"]), Terms(_TABLE["lying"])


def check_view(meta: Mapping[str, Any]) -> None:
    """Refuse an image as NOT_FRONTAL if its header names another than a frontal view.

    It is asked after reading, so that a refused image can be displayed.

    Args:
        meta: Metadata of `read_radiograph`.

    >>> check_view({"other_view": ""})
    """
    if found := meta.get("other_view"):
        message = f"{found}; a frontal view (PA or AP) was expected."
        raise RefusedImage(RefusalReason.NOT_FRONTAL, message)


def find_other_view(ds: Dataset) -> str:
    """Return which element of a header names a lateral, oblique, decubitus or other view; "" if none does.

    ViewPosition, ViewCodeSequence with its modifiers, PatientOrientation and the position of the patient
    are of this image: one of them that names another view decides, and what contradicts is named.
    Descriptions decide only where these are silent. StudyDescription never does: "PA and lateral" is said
    of both images.

    >>> ds = Dataset()
    >>> ds.ViewPosition, ds.PatientOrientation = "PA", ["A", "F"]
    >>> find_other_view(ds)
    'PatientOrientation names A (front or back), although ViewPosition names PA'
    """
    findings = list(_of_image(ds))
    if not findings:
        hints = (
            found for word in _TABLE["hints"] for found in _judge(word, get_text(ds, word), in_code=False)
        )
        findings = list(islice(hints, 1))
    return describe_contradiction(findings) or ""


def is_other_view(text: str) -> bool:
    """Tell whether a text such as ViewPosition names another than a frontal view.

    >>> [is_other_view(text) for text in ("AP Supine", "L", "LLAT", "PA and lateral", "unknown")]
    [False, True, True, False, False]
    """
    return any(not finding.fits for finding in _judge("", text))


def _of_image(ds: Dataset) -> Iterator[Finding]:
    yield from _judge("ViewPosition", get_code_string(ds, "ViewPosition"))
    views = list(get_items(ds, "ViewCodeSequence"))
    positions = get_items(ds, "PatientOrientationCodeSequence")
    for keyword, holders, codes in (
        ("ViewCodeSequence", [ds], "other_codes"),
        ("ViewModifierCodeSequence", [ds, *views], "modifier_codes"),
        ("PatientOrientationModifierCodeSequence", [ds, *positions], "position_codes"),
    ):
        for item in (item for holder in holders for item in get_items(holder, keyword)):
            yield from judge_code(keyword, item, _TABLE["frontal_codes"], _TABLE[codes], _judge)
    if side := _direction_from_the_side(get_text(ds, "PatientOrientation").upper()):
        yield Finding("PatientOrientation", f"{side} (front or back)", fits=False)
    position = get_text(ds, "PatientPosition").upper()
    if re.fullmatch(r"(HF|FF|AF|PF)D[LR]", position):  # PS3.3 C.7.3.1.1.2: decubitus left or right
        yield Finding("PatientPosition", position, fits=False)


def _direction_from_the_side(orientation: str) -> str | None:
    """Return the direction in PatientOrientation (PS3.3 C.7.6.1.1.1) that no frontal view has, else None.

    Rows or columns that run mainly to the front or back are those of a lateral view, a slanted left or
    right those of an oblique one. A head or foot with a little of both is a tilted beam. Left and foot say
    nothing: consoles write them for every view.
    """
    directions = re.findall(r"[A-Z]+", orientation)
    sideways = (d for d in directions if re.fullmatch(r"[AP][LRHF]{0,2}|[LR][HF]?[AP][HF]?", d))
    return next(sideways, None)


def _judge(element: str, text: str, *, in_code: bool = True) -> Iterator[Finding]:
    """Yield the view that a text names; nothing for one that names none, or a frontal and a lateral one."""
    words = _LYING.remove(plain_words(text))
    other = _OTHER.find(words)
    if in_code:
        other = other or _OTHER_IN_CODES.find(words) or (words if words in _TABLE["whole"] else None)
    frontal, lateral = _FRONTAL.find(words), _LATERAL.find(_OTHER.remove(words))
    if frontal and lateral:
        return
    if term := other or lateral:
        yield Finding(element, term, fits=False)
    elif frontal:
        yield Finding(element, frontal, fits=True)
