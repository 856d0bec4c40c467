"""Elements that describe the samples of an image and how to show them, corrected to the standard's spelling.

Consoles and converters write them in lower case, twice, with a comma or a unit, or as text. A meaning that is
certain is kept. Otherwise the image is not read, because a guess may show it negative.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.dicom.elements import get_encoding, get_number, get_text
from covid_monai.dicom.pixels.colour import has_equal_channels

# Defined terms (PS3.3 C.7.6.3.1.2, C.11.6.1.2, C.11.2.1.3).
_TERMS = {
    "PhotometricInterpretation": (
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL"),
        *("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
    ),
    "PresentationLUTShape": ("IDENTITY", "INVERSE", "LIN OD"),
    "VOILUTFunction": ("LINEAR", "LINEAR_EXACT", "SIGMOID"),
}
_WHOLE_NUMBERS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames"),
)
_DECIMALS = ("RescaleSlope", "RescaleIntercept")
_SEVERAL = ("WindowCenter", "WindowWidth")  # the first counts
# Any viewer shows an image without them: where their meaning is not certain, they count as absent.
_DISPENSABLE = ("VOILUTFunction", *_SEVERAL, "PixelPaddingValue", "PixelPaddingRangeLimit")
_TEXT_VRS = ("CS", "DS", "IS", "LO", "SH", "LT", "ST", "UT", "UC")
_NUMBER = re.compile(r"([+-]?) *((?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?) *(?:[A-Za-z]{2,})?")
_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")  # 2,048 may be 2048 or 2.048
_WAY_OUT = "Export the file again."

_Parse = Callable[[str], Any]


def correct_image_elements(ds: Dataset) -> None:
    """Correct the elements of a data set in place, and fill in those that have one sensible value.

    Raises:
        UnreadableImage: If Rows, Columns, Bits Allocated or Photometric Interpretation is missing, or the
            meaning of an element that the picture depends on is not certain.
    """
    for keyword, terms in _TERMS.items():
        _correct(ds, keyword, partial(_parse_term, terms))
    for keyword in _WHOLE_NUMBERS:
        _correct(ds, keyword, _parse_whole_number)
    for keyword in (*_DECIMALS, *_DISPENSABLE[1:]):
        _correct(ds, keyword, _parse_number)
    if not all(get_number(ds, keyword) for keyword in ("Rows", "Columns", "BitsAllocated")):
        raise UnreadableImage(f"Rows, Columns or Bits Allocated is missing. {_WAY_OUT}")
    _fill_in_missing_elements(ds)


def _correct(ds: Dataset, keyword: str, parse: _Parse) -> None:
    """Write the one meaning of an element back; delete an empty one."""
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    if tag not in ds:
        return
    texts, vr = _texts(ds, tag), dictionary_VR(tag)
    meanings = {parse(text) for text in (texts[:1] if keyword in _SEVERAL else texts)}
    meaning = meanings.pop() if len(meanings) == 1 else None
    if meaning is None and (not texts or keyword in _DISPENSABLE):
        del ds[tag]
    elif meaning is None:
        shown = "\\".join(texts)
        found = repr(shown) if re.fullmatch(r"[\w.,+\\ -]{1,32}", shown) else "malformed"
        raise UnreadableImage(f"{keyword} is {found}, whose meaning is not certain. {_WAY_OUT}")
    elif meaning != (get_text if vr == "CS" else get_number)(ds, keyword) or ds[tag].VR not in vr:
        vr = vr if vr != "US or SS" else "SS" if meaning < 0 else "US"
        ds.add_new(tag, vr, f"{meaning:.10g}" if vr == "DS" else meaning)


def _texts(ds: Dataset, tag: BaseTag) -> list[str]:
    """Return the values of an element as texts: [] if it is empty, ["?"] if it is damaged."""
    element = ds.get_item(tag)
    value, vr = element.value, element.VR
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        if vr in (None, "UN"):
            vr = dictionary_VR(tag)
        if vr in _TEXT_VRS:  # pydicom refuses many of these on access
            value = value.decode("latin-1").split("\\")
        else:
            try:
                value = ds[tag].value
            except Exception:  # noqa: BLE001  # pydicom converts on access, and a damaged value raises many types
                return ["?"]
    if isinstance(value, bytes):  # OB, OW: two bytes are one number
        _, little_endian = get_encoding(ds)
        value = np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little_endian else ">u2")
    several = hasattr(value, "__iter__") and not isinstance(value, str)
    texts = (str(part).strip(" \0") for part in (value if several else [value]) if part is not None)
    return [text for text in texts if text]


def _parse_term(terms: tuple[str, ...], text: str) -> str | None:
    """Return the defined term that a text is, whatever its case, spaces and underscores."""
    squeezed = re.sub(r"[\W_]", "", text.upper())
    return next((term for term in terms if re.sub(r"[\W_]", "", term) == squeezed), None)


def _parse_number(text: str) -> float | None:
    """Return the number that a text is, with a decimal comma or a unit; None if that is not certain."""
    found = _NUMBER.fullmatch(text)
    if found is None or _THOUSANDS.fullmatch(found[2]):
        return None
    number = float(found[1] + found[2].replace(",", "."))
    return number if math.isfinite(number) else None


def _parse_whole_number(text: str) -> int | None:
    number = _parse_number(text)
    return int(number) if number is not None and number.is_integer() and 0 <= number < 2**16 else None


def _fill_in_missing_elements(ds: Dataset) -> None:
    """Complete the Image Pixel module: anonymisers and exports drop elements with one sensible value."""
    shape = get_text(ds, "PresentationLUTShape")
    if "PhotometricInterpretation" not in ds:
        if shape not in ("IDENTITY", "INVERSE"):
            problem = "Photometric Interpretation is missing, so low values may be dark or bright"
            raise UnreadableImage(f"{problem}. {_WAY_OUT}")
        ds.PhotometricInterpretation = "MONOCHROME1" if shape == "INVERSE" else "MONOCHROME2"
    colour = ds.PhotometricInterpretation.startswith(("RGB", "YBR"))
    ds.SamplesPerPixel = ds.get("SamplesPerPixel") or (3 if colour else 1)
    if colour and ds.SamplesPerPixel == 1:  # its one sample is the brightness
        ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsStored = ds.get("BitsStored") or ds.get("HighBit", ds.BitsAllocated - 1) + 1
    for keyword, value in {"HighBit": ds.BitsStored - 1, "PixelRepresentation": 0}.items():
        if keyword not in ds:
            setattr(ds, keyword, value)
    if ds.PixelRepresentation > 1:
        found = f"Pixel Representation is {ds.PixelRepresentation}; 0 (unsigned) or 1 (signed) was expected"
        raise UnreadableImage(f"{found}. {_WAY_OUT}")
    if ds.SamplesPerPixel == 3 and ds.get("PlanarConfiguration") not in (0, 1) and "PixelData" in ds:
        ds.PlanarConfiguration = _find_planar_configuration(ds)


def _find_planar_configuration(ds: Dataset) -> int:
    """Return how uncompressed colour is stored, if its three samples are equal in one way only: it is grey.

    Compressed colour needs no Planar Configuration.
    """
    size, bits = ds.Rows * ds.Columns, ds.BitsAllocated
    if ds["PixelData"].is_undefined_length or bits not in (8, 16) or len(ds.PixelData) < 3 * size * bits // 8:
        return 0
    samples = np.frombuffer(ds.PixelData, f"u{bits // 8}", 3 * size)
    for configuration, pixels in enumerate((samples.reshape(-1, 3), samples.reshape(3, -1).T)):
        if has_equal_channels(pixels):
            return configuration
    raise UnreadableImage(f"Planar Configuration is missing from a colour image. {_WAY_OUT}")
