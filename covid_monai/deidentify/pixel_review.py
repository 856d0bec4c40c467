"""Reasons why pixel data may still identify a person. Pixels are not altered; a person must look at them."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from covid_monai.deidentify.run_manifest import Review
from covid_monai.deidentify.text_detection import has_text
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.pixels.decode import decode_frame

_PREFIX = "1.2.840.10008.5.1.4.1.1."
_CAPTURES = (f"{_PREFIX}7.", f"{_PREFIX}6.1.", f"{_PREFIX}3.1.")  # secondary capture, ultrasound
_PHOTOGRAPHS = f"{_PREFIX}77.1."
_CAPTURE_WORDS = ("SCREEN", "CAPTURE")


def find_review_reasons(ds: Dataset) -> tuple[Review, ...]:
    """Return the reasons why a person must look at an image before it is handed on.

    The image is already cleaned: cleaning removes no element that is read here.
    """
    found = list(_check_header(ds))
    try:
        codes, bits = decode_frame(ds)  # stored values: a window could hide writing
        if has_text(codes):
            found.append("text_like_marks")
        if ds.file_meta.TransferSyntaxUID.is_encapsulated and bits > int(ds.BitsStored):
            found.append("unused_bits")  # a codestream holds samples that are wider than its header says
    except Exception:  # noqa: BLE001  # decoders raise many types, and a person can look instead
        found.append("pixels_not_checked")
    return tuple(dict.fromkeys(found))


def _check_header(ds: Dataset) -> Iterator[Review]:
    declared = get_text(ds, "BurnedInAnnotation").upper()
    image_type = get_text(ds, "ImageType").upper()
    sop_class = get_text(ds, "SOPClassUID")
    if declared == "YES":
        yield "burned_in_declared"
    # Gateways write NO without looking, so NO is not believed for these kinds of image.
    capture = f"{sop_class}.".startswith(_CAPTURES)
    if capture or any(word in image_type for word in _CAPTURE_WORDS):
        yield "screen_or_capture"
    elif declared != "NO" and ("DERIVED" in image_type or "SECONDARY" in image_type):
        yield "derived"
    if sop_class.startswith(_PHOTOGRAPHS):
        yield "photograph"
    if (get_number(ds, "NumberOfFrames") or 1) > 1:
        yield "only_first_frame_checked"
