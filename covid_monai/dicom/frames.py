"""Multi-frame objects: every frame as if it were an image of its own, so that all images are read one way."""

from collections.abc import Iterable, Iterator

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.pixels.codestream import RLE, is_codestream, split_frames

# Functional groups (PS3.3 C.7.6.16 and C.8.15.3) and those of their elements that are read. In a multi-frame
# object such an element counts only in its group: beside the groups it would concern no frame in particular.
_GROUPS = {
    "FrameContentSequence": ("StackID", "TemporalPositionIndex"),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
    "CTImageFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
}
FRAME_KEYWORDS = tuple(keyword for keywords in _GROUPS.values() for keyword in keywords)
_PIXEL_KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)


def frame_headers(ds: Dataset, keywords: Iterable[str]) -> list[Dataset]:
    """Return the named elements of each frame, those of functional groups included.

    Args:
        ds: Object with one or several frames; the pixel data are not needed.
        keywords: Elements to copy. `FRAME_KEYWORDS` are copied too.

    Returns:
        One data set for each frame, in the order of the file, as a single-frame object would have it.

    Raises:
        RefusedImage: UNSOUND_GEOMETRY, if there is not one functional group for each frame, or if shared and
            per-frame groups contradict each other.
    """
    count, groups = count_frames(ds), ds.get("PerFrameFunctionalGroupsSequence") or []
    if count == 1 and not groups:
        return [pick_elements(ds, (*keywords, *FRAME_KEYWORDS))]
    if len(groups) != count:
        found = f"PerFrameFunctionalGroupsSequence describes {len(groups)} of {format_count(count, 'frame')}"
        raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, f"{found}. Export the object again.")
    common = pick_elements(ds, set(keywords).difference(FRAME_KEYWORDS))
    shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    return [_merge(common, shared, group, number=k + 1) for k, group in enumerate(groups)]


def frame_images(ds: Dataset) -> Iterator[Dataset]:
    """Yield each frame, in the order of the file, as a single-frame image with its own pixel data.

    Raises:
        RefusedImage: NO_PIXELS, if there are no pixel data.
        UnreadableImage: The pixel data are truncated.
    """
    if ds.get("PixelData") is None:
        raise RefusedImage(RefusalReason.NO_PIXELS, "The object holds no pixel data; an image was expected.")
    count = count_frames(ds)
    encapsulated = is_codestream(ds) or get_text(ds.file_meta, "TransferSyntaxUID") == RLE
    size = 0 if encapsulated else _frame_bytes(ds)
    if len(ds.PixelData) < count * size:
        found = f"PixelData has {len(ds.PixelData)} of {count * size} bytes"
        raise UnreadableImage(f"{found}: the file is truncated. Fetch it from its source again.")
    if count == 1:
        yield ds
        return
    codestreams = split_frames(ds) if encapsulated else []
    for k in range(count):
        image = pick_elements(ds, _PIXEL_KEYWORDS)
        image.file_meta = ds.file_meta
        data = encapsulate([codestreams[k]]) if encapsulated else ds.PixelData[k * size : (k + 1) * size]
        image.add_new("PixelData", ds["PixelData"].VR, data)
        image["PixelData"].is_undefined_length = encapsulated
        yield image


def count_frames(ds: Dataset) -> int:
    """Return Number of Frames, 1 if it is absent."""
    return int(get_number(ds, "NumberOfFrames") or 1)


def pick_elements(ds: Dataset, keywords: Iterable[str]) -> Dataset:
    """Copy the named elements as they are; a malformed one raises an exception only when it is used."""
    picked = Dataset()
    for tag in map(tag_for_keyword, keywords):
        if tag is not None and tag in ds:
            picked[tag] = ds.get_item(tag)
    return picked


def _merge(common: Dataset, shared: Dataset, per_frame: Dataset, *, number: int) -> Dataset:
    """Put the elements of one frame together."""
    header = Dataset()
    header.update(common)
    for sequence, keywords in _GROUPS.items():
        items = [
            pick_elements(groups[sequence][0], keywords)
            for groups in (shared, per_frame)
            if groups.get(sequence)
        ]
        if len(items) == 2 and items[0] != items[1]:
            found = f"Frame {number}: shared and per-frame {sequence} contradict each other"
            raise RefusedImage(RefusalReason.UNSOUND_GEOMETRY, f"{found}. Export the object again.")
        for item in items:
            header.update(item)
    return header


def _frame_bytes(ds: Dataset) -> int:
    rows, columns, bits = (get_number(ds, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    if not rows or not columns or not bits:
        raise UnreadableImage("Rows, Columns or BitsAllocated is missing or 0. Export the file again.")
    return int(rows * columns * (get_number(ds, "SamplesPerPixel") or 1) * bits) // 8
