"""The view that a header names: frontal, or another one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.elements import get_text
from covid_monai.dicom.header_terms import (
    Finding,
    Terms,
    contradiction,
    find_code,
    flatten,
    get_code_string,
    get_items,
    load_table,
    plain_words,
)

_TABLE = load_table("view.yaml")
_FRONTAL, _LATERAL, _OTHER = (Terms(flatten(_TABLE[name])) for name in ("frontal", "lateral", "other"))
_OTHER_IN_CODES, _LYING = Terms(_TABLE["other_in_codes"]), Terms(_TABLE["lying"])

_HINTS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "BodyPartExamined")


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
    'PatientOrientation names A, although ViewPosition names PA'
    """
    findings = list(_of_image(ds))
    if not findings:
        hints = (finding for keyword in _HINTS for finding in _judge(keyword, get_text(ds, keyword)))
        findings = [finding for finding in [next(hints, None)] if finding]
    return contradiction(findings) or ""


def is_other_view(text: str) -> bool:
    """Tell whether a text such as ViewPosition names another than a frontal view.

    >>> [is_other_view(text) for text in ("AP Supine", "L", "LLAT", "PA and lateral", "unknown")]
    [False, True, True, False, False]
    """
    return any(not finding.fits for finding in _judge("", text, in_code=True))


def _of_image(ds: Dataset) -> Iterator[Finding]:
    yield from _judge("ViewPosition", get_code_string(ds, "ViewPosition"), in_code=True)
    views = list(get_items(ds, "ViewCodeSequence"))
    for item in views:
        yield from _coded("ViewCodeSequence", item)
    for holder in (ds, *views):  # the standard has modifiers in the items
        for modifier in get_items(holder, "ViewModifierCodeSequence"):
            yield from _modified("ViewModifierCodeSequence", modifier, _TABLE["modifier_codes"])
    for item in get_items(ds, "PatientOrientationCodeSequence"):
        for modifier in get_items(item, "PatientOrientationModifierCodeSequence"):
            yield from _modified("PatientOrientationModifierCodeSequence", modifier, _TABLE["position_codes"])
    if side := _direction_from_the_side(get_text(ds, "PatientOrientation").upper()):
        yield Finding("PatientOrientation", side, fits=False)
    position = get_text(ds, "PatientPosition").upper()
    if re.fullmatch(r"(HF|FF|AF|PF)D[LR]", position):  # PS3.3 C.7.3.1.1.2: decubitus left or right
        yield Finding("PatientPosition", position, fits=False)


def _coded(element: str, item: Dataset) -> Iterator[Finding]:
    if name := find_code(item, _TABLE["frontal_codes"]):
        yield Finding(element, name, fits=True)
    elif name := find_code(item, _TABLE["other_codes"]):
        yield Finding(element, name, fits=False)
    else:
        yield from _judge(element, get_text(item, "CodeMeaning"), in_code=True)


def _modified(element: str, item: Dataset, names: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a modifier that makes a view another one; the others leave it as it is."""
    if name := find_code(item, names):
        yield Finding(element, name, fits=False)
    else:
        judged = _judge(element, get_text(item, "CodeMeaning"), in_code=True)
        yield from (finding for finding in judged if not finding.fits)


def _direction_from_the_side(orientation: str) -> str | None:
    """Return the direction in PatientOrientation (PS3.3 C.7.6.1.1.1) that no frontal view has, else None.

    Rows or columns that run mainly to the front or back are those of a lateral view, a slanted left or
    right those of an oblique one. A head or foot with a little of both is a tilted beam. Left and foot say
    nothing: consoles write them for every view.
    """
    directions = re.findall(r"[A-Z]+", orientation)
    sideways = (d for d in directions if re.fullmatch(r"[AP][LRHF]{0,2}|[LR][HF]?[AP][HF]?", d))
    return next(sideways, None)


def _judge(element: str, text: str, *, in_code: bool = False) -> Iterator[Finding]:
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
