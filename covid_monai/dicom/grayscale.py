"""The grayscale pipeline of DICOM (PS3.4 N.2): from stored values to the image on a screen, in [0, 1].

Order: Modality LUT or rescale, VOI LUT or window, polarity, padding. The pipeline is computed once for every
value of the file's bit depth (at most 65,536), and every pixel is then looked up in that table.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.elements import get_encoding, get_number, get_numbers, get_text

PERCENTILES = (0.5, 99.5)  # robust: markers, collimator edges and dead pixels lie outside
FULL_RANGE_BITS = 8
MIN_SPREAD = 8 / 255  # between the percentiles: less means a blank image or a wrong window
# Computed Radiography and Secondary Capture: Presentation LUT Shape is no element of these.
_WITHOUT_SHAPE = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7")
_ROUNDING = 1.25  # times the output range of a table: entries up to here exceed it by rounding
_SMOOTH = 8  # mean step between neighbours of a table of bytes; two bytes of one number differ by far more
_EXACT = 2**24  # OpenCV counts in float32, which holds every whole number up to here

Values = NDArray[np.float64]


class LookupTable(NamedTuple):
    """One item of a Modality LUT Sequence or VOI LUT Sequence (PS3.3 C.11.1.1 and C.11.2.1.1).

    Args:
        entries: Output values, 1D.
        first_mapped: Input value that the first entry belongs to; it may be negative.
        top: Highest value of the output range, which begins at 0: white.
    """

    entries: Values
    first_mapped: int
    top: int

    def apply(self, values: Values) -> Values:
        """Map `values` (any shape); a value outside the table takes its first or last entry."""
        index = np.rint(values).astype(np.int64) - self.first_mapped
        return self.entries[np.clip(index, 0, self.entries.size - 1)]


class Window(NamedTuple):
    """A valid window: center and width in units of the modality values, and its VOI LUT Function."""

    center: float
    width: float
    function: str


def render(codes: NDArray[np.unsignedinteger], ds: Dataset, *, bits_stored: int) -> NDArray[np.float32]:
    """Show stored pixel values as a viewer would.

    Without any VOI LUT or window, files of more than 8 bits are spread between robust percentiles. Files
    of 8 bits or fewer were already made for a screen and are shown over their full range, so that they
    equal the same image as PNG or JPEG.

    Args:
        codes: Stored values, any shape, as unsigned integers of `bits_stored` bits (two's complement where
            Pixel Representation is 1).
        ds: Elements of the file; no pixel data needed.
        bits_stored: Number of bits of a code, 1 to 16.

    Returns:
        Same shape as `codes`, in [0, 1], high is bright (the sense of MONOCHROME2); padding is 0.

    Raises:
        RefusedImage: BLANK, if (nearly) all pixels that are not padding have one value.

    >>> ds = Dataset()
    >>> ds.PhotometricInterpretation = "MONOCHROME1"
    >>> render(np.array([0, 51, 255], np.uint8), ds, bits_stored=8)
    array([1. , 0.8, 0. ], dtype=float32)
    """
    return look_up(grayscale_table(codes, ds, bits_stored=bits_stored), codes)


def grayscale_table(codes: NDArray[np.unsignedinteger], ds: Dataset, *, bits_stored: int) -> Values:
    """Return what `render` shows for every value that `bits_stored` bits can hold, by its bit pattern."""
    if get_text(ds, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        ds = Dataset()  # colour was made for a screen: windows and LUTs belong to monochrome files
    stored = all_stored_values(bits_stored, signed=get_number(ds, "PixelRepresentation") == 1)
    padding = find_padding(stored, ds)
    counts = np.where(padding, 0, count_codes(codes, size=stored.size))
    table = _scale(apply_modality(stored, ds), ds, counts=counts, bits_stored=bits_stored)
    check_not_blank(table, counts)
    if is_inverse(ds):
        table = 1.0 - table
    table[padding] = 0.0
    return table


def count_codes(codes: NDArray[np.unsignedinteger], *, size: int) -> NDArray[np.int64]:
    """Count how often each code from 0 to `size` - 1 occurs."""
    rows, counts = np.atleast_2d(codes), np.zeros(size, np.int64)
    step = max(1, _EXACT // rows.shape[1])
    for start in range(0, len(rows), step):
        piece = cv2.calcHist([rows[start : start + step]], [0], None, [size], [0, size])
        counts += piece.ravel().astype(np.int64)
    return counts


def look_up(table: Values, codes: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Return `table[codes]` in float32, in a tenth of the time that NumPy takes."""
    whole = np.zeros(2 ** (8 * codes.itemsize), np.float32)  # OpenCV wants an entry for every bit pattern
    whole[: table.size] = table
    return np.asarray(cv2.LUT(codes, whole), np.float32).reshape(codes.shape)


def all_stored_values(bits_stored: int, *, signed: bool) -> Values:
    """Return every value that `bits_stored` bits can hold, indexed by its bit pattern.

    >>> all_stored_values(2, signed=True)
    array([ 0.,  1., -2., -1.])
    """
    values = np.arange(2**bits_stored, dtype=np.float64)
    if signed:
        values[values >= 2 ** (bits_stored - 1)] -= 2**bits_stored
    return values


def find_padding(stored: Values, ds: Dataset) -> NDArray[np.bool_]:
    """Mark values between Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2)."""
    value, limit = get_number(ds, "PixelPaddingValue"), get_number(ds, "PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(stored.shape, bool)
    # Some files write US over signed pixels, or SS over unsigned ones: the same bits, another number.
    wrap = 2.0 ** (get_number(ds, "BitsAllocated") or 16)
    bounds = np.array([value, value if limit is None else limit])
    if stored.min() < 0:
        bounds[bounds >= wrap / 2] -= wrap
    else:
        bounds[bounds < 0] += wrap
    return (stored >= float(bounds.min())) & (stored <= float(bounds.max()))


def apply_modality(stored: Values, ds: Dataset) -> Values:
    """Apply the Modality LUT Sequence, else Rescale Slope and Intercept (PS3.3 C.11.1), else nothing.

    A slope of 0, or one that is not a number, would erase the image and counts as 1.
    """
    table = find_lookup_table(ds, "ModalityLUTSequence", inputs=stored)
    if table is not None:
        return table.apply(stored)
    return stored * (get_number(ds, "RescaleSlope") or 1.0) + (get_number(ds, "RescaleIntercept") or 0.0)


def _apply_voi(modality: Values, ds: Dataset) -> Values | None:
    """Apply the first VOI LUT, else the window (PS3.3 C.11.2), to [0, 1]; None if there is no valid one."""
    table = find_lookup_table(ds, "VOILUTSequence", inputs=modality)
    if table is not None:
        return table.apply(modality) / table.top
    window = find_window(ds)
    return None if window is None else apply_window(modality, **window._asdict())


def find_window(ds: Dataset) -> Window | None:
    """Return the first window of a file; None if it has none that is valid (see `apply_window`)."""
    center, width = (get_numbers(ds, keyword)[:1] for keyword in ("WindowCenter", "WindowWidth"))
    if not center or not width:
        return None
    function = get_text(ds, "VOILUTFunction").upper()
    window = Window(center[0], width[0], function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR")
    return None if apply_window(np.zeros(1), **window._asdict()) is None else window


def apply_window(values: Values, *, center: float, width: float, function: str = "LINEAR") -> Values | None:
    """Map values to [0, 1] through a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: Output of the modality step, any shape.
        center: Center of the window, in units of `values`.
        width: Width of the window, in units of `values`.
        function: VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID; any other counts as LINEAR.

    Returns:
        Same shape in [0, 1], or None if the width is not valid: below 1 for LINEAR, 0 or less for the others.

    >>> apply_window(np.array([0.0, 2047.5, 4095.0]), center=2048, width=4096)
    array([0. , 0.5, 1. ])
    """
    if width <= 0 or (function not in ("LINEAR_EXACT", "SIGMOID") and width < 1):
        return None
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1:  # a threshold: the formula's slope is infinite
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def robust_range(values: Values, counts: NDArray[np.integer]) -> tuple[float, float]:
    """Return the values that 0.5 % and 99.5 % of the pixels do not exceed; (0, 0) if there are no pixels.

    Args:
        values: Value of each table entry.
        counts: Number of pixels per table entry, padding left out.
    """
    order = np.argsort(values, kind="stable")
    order = order[counts[order] > 0]
    if order.size == 0:
        return 0.0, 0.0
    cumulative = np.cumsum(counts[order])
    low, high = (values[order][np.searchsorted(cumulative, p / 100 * cumulative[-1])] for p in PERCENTILES)
    return float(low), float(high)


def stretch_percentiles(values: Values, counts: NDArray[np.integer]) -> Values:
    """Map values to [0, 1] between the robust percentiles; all 0 where these are equal.

    >>> stretch_percentiles(np.array([0.0, 1.0, 2.0]), np.array([10, 10, 10]))
    array([0. , 0.5, 1. ])
    """
    low, high = robust_range(values, counts)
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros(values.shape)


def check_not_blank(table: Values, counts: NDArray[np.integer]) -> None:
    """Refuse an image as BLANK if the `robust_range` of its greys in [0, 1] is below `MIN_SPREAD`."""
    low, high = robust_range(table, counts)
    if high - low < MIN_SPREAD:
        found = f"Nearly all pixels have one value (spread {format_percent(high - low)})"
        raise RefusedImage(RefusalReason.BLANK, f"{found}; a radiograph was expected.")


def is_inverse(ds: Dataset) -> bool:
    """Tell whether low values are shown bright.

    In the DX, MG and IO classes MONOCHROME1 comes with Presentation LUT Shape INVERSE and MONOCHROME2 with
    IDENTITY (PS3.3 C.8.11.3.1). Both elements say the same, so they must not invert twice. Where a file
    contradicts itself the shape decides, because it names the conversion to P-Values, which comes last.
    Computed Radiography and Secondary Capture have no such element: there Photometric Interpretation decides.
    """
    shape = get_text(ds, "PresentationLUTShape")
    if shape in ("INVERSE", "IDENTITY") and get_text(ds, "SOPClassUID") not in _WITHOUT_SHAPE:
        return shape == "INVERSE"
    return get_text(ds, "PhotometricInterpretation") == "MONOCHROME1"


def _scale(modality: Values, ds: Dataset, *, counts: NDArray[np.integer], bits_stored: int) -> Values:
    """Scale modality values to [0, 1] by the file's VOI, its full range or percentiles, in this order."""
    table = _apply_voi(modality, ds)
    if bits_stored <= FULL_RANGE_BITS:
        span = float(np.ptp(modality)) or 1.0
        return (modality - modality.min()) / span if table is None else table
    low, high = (0.0, 0.0) if table is None else robust_range(table, counts)
    if table is None or high == low:  # no window, or one that misses the pixels
        return stretch_percentiles(modality, counts)
    # A table may use a small part of its range, and fall.
    return table if high - low >= MIN_SPREAD else stretch_percentiles(table, counts)


def find_lookup_table(ds: Dataset, sequence: str, *, inputs: Values) -> LookupTable | None:
    """Read the first usable item of a sequence of lookup tables; None if there is none.

    Args:
        ds: Elements of the file.
        sequence: Keyword: ModalityLUTSequence or VOILUTSequence.
        inputs: All values that can reach the table. They tell whether its first input is signed; the file's
            own value representation (US or SS) is often wrong after a rescale.
    """
    tables = (_read_lookup_table(item, inputs) for item in ds.get(sequence) or [])
    return next((table for table in tables if table is not None), None)


def _read_lookup_table(item: Dataset, inputs: Values) -> LookupTable | None:
    """Read a table whose descriptor may disagree with its data, as DCMTK and other viewers do."""
    descriptor, words = _integers(item, "LUTDescriptor"), _integers(item, "LUTData") & 0xFFFF
    if descriptor.size != 3 or words.size == 0:
        return None
    count, first_mapped, bits = int(descriptor[0]) & 0xFFFF or 2**16, int(descriptor[1]), int(descriptor[2])
    if words.size < count and words.size == (count + 1) // 2 and _are_pairs_of_bytes(words, bits):
        words, bits = words.astype("<u2").view(np.uint8)[:count].astype(np.int64), min(bits, 8)
    entries = words.astype(np.float64)  # all of them: the last one counts for higher inputs, promised or not
    first_mapped = max(
        (first_mapped, first_mapped + (0x10000 if first_mapped < 0 else -0x10000)),
        key=lambda first: np.count_nonzero((inputs >= first) & (inputs < first + entries.size)),
    )  # its 16 bits are signed or unsigned, whichever meets more inputs
    top, highest = (1 << bits) - 1 if 1 <= bits <= 16 else 0, int(entries.max())
    if highest > top:  # just above it a rounding error, far above it a descriptor that says 8 of 16 bits
        top = highest if highest < _ROUNDING * top else (1 << highest.bit_length()) - 1
    return LookupTable(entries, first_mapped, max(top, 1))


def _are_pairs_of_bytes(words: NDArray[np.integer], bits: int) -> bool:
    """Tell whether each word holds two entries: so `bits` says, or the bytes follow each other smoothly."""
    steps = np.abs(np.diff(words.astype("<u2").view(np.uint8).astype(int)))
    return 1 <= bits <= 8 or float(steps.mean()) < _SMOOTH


def _integers(item: Dataset, keyword: str) -> NDArray[np.int64]:
    """Return an element's numbers; pydicom gives bytes (OW, UN), a list of numbers (US, SS) or one number."""
    data = item.get(keyword)
    if data is None:
        return np.zeros(0, np.int64)
    if isinstance(data, bytes):
        _, little_endian = get_encoding(item)
        data = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2")
    return np.atleast_1d(np.asarray(data)).astype(np.int64)
