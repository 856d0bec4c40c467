"""Decoding of DICOM pixel data to stored values: unused bits cleared, grey colour reduced to grey."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.pixels.colour import grey_from_rgb
from covid_monai.dicom.pixels.jpeg import check_jpeg_stream, decode_jpeg_extended, is_jpeg, is_twelve_bit_jpeg

try:
    from pydicom import pixels

    _apply_color_lut, _convert_color_space = pixels.apply_color_lut, pixels.convert_color_space
except ImportError:  # pydicom 2
    from pydicom.pixel_data_handlers import util

    _apply_color_lut, _convert_color_space = util.apply_color_lut, util.convert_color_space

_RLE = "1.2.840.10008.1.2.5"
_LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")
_UNCOMPRESSED = (*_LITTLE_ENDIAN, "1.2.840.10008.1.2.2")


def decode_pixels(ds: Dataset) -> tuple[NDArray[np.unsignedinteger], int]:
    """Decode one grey frame.

    Args:
        ds: Single-frame image; missing elements that have one sensible value are filled in.

    Returns:
        Codes `[H, W]` (the bit patterns of the stored values, unused bits cleared) and their number of bits.

    Raises:
        RefusedImage: COLOUR, if the image is not grey.
        UnreadableImage: A sample has more than 16 bits. Decoders raise exceptions of many other types.
    """
    _fill_in_missing_elements(ds)
    bits_allocated, bits_stored = int(ds.BitsAllocated), int(ds.BitsStored)
    if not 1 <= bits_stored <= min(bits_allocated, 16) or bits_allocated > 16:
        raise UnreadableImage(
            f"A sample has {bits_stored} of {bits_allocated} bits; at most 16 are read. Export 16 bits."
        )
    if is_jpeg(ds):
        check_jpeg_stream(ds)
    if int(ds.SamplesPerPixel) > 1 or get_text(ds, "PhotometricInterpretation") == "PALETTE COLOR":
        return _decode_colour(ds)
    return _decode_grey(ds, bits_stored=bits_stored), bits_stored


def _fill_in_missing_elements(ds: Dataset) -> None:
    """Complete the Image Pixel module: anonymisers and exports drop elements with one sensible value."""
    if "BitsStored" not in ds or not ds.BitsStored:
        ds.BitsStored = ds.BitsAllocated
    defaults = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    for keyword, value in {**defaults, "HighBit": ds.BitsStored - 1}.items():
        if ds.get(keyword) is None:
            setattr(ds, keyword, value)


def _decode_grey(ds: Dataset, *, bits_stored: int) -> NDArray[np.unsignedinteger]:
    """Decode one sample per pixel, and clear the bits around it."""
    mask = 2**bits_stored - 1
    if get_text(ds.file_meta, "TransferSyntaxUID") not in (*_UNCOMPRESSED, _RLE):
        # A codestream holds the sample itself, whatever High Bit says. Lossy ones may overshoot: clip, as
        # masking would turn white into black.
        array = decode_jpeg_extended(ds) if is_twelve_bit_jpeg(ds) else _pixel_array(ds)
        if int(ds.PixelRepresentation) == 0 and array.max() > mask:
            array = np.minimum(array, mask)
        return np.asarray(_unsigned(array) & mask)
    # Read whole cells: pydicom takes every sample for right-aligned and would shift others out.
    high_bit = int(ds.HighBit)
    ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
    try:
        cells = _view_cells(ds)
        cells = _unsigned(_pixel_array(ds)) if cells is None else cells
    finally:
        ds.BitsStored, ds.HighBit = bits_stored, high_bit
    shift = high_bit + 1 - bits_stored
    if not 0 <= shift <= int(ds.BitsAllocated) - bits_stored:
        bits = f"{bits_stored} of {ds.BitsAllocated} bits"
        raise UnreadableImage(f"High Bit {high_bit} cannot hold {bits}. Export it again.")
    if shift:
        cells = np.right_shift(cells, shift, dtype=cells.dtype)
    return cells & mask if cells.max() > mask else cells


def _view_cells(ds: Dataset) -> NDArray[np.unsignedinteger] | None:
    """View plain 16-bit cells without a copy, as pydicom would copy them twice; None for any other layout."""
    shape, syntax = (int(ds.Rows), int(ds.Columns)), get_text(ds.file_meta, "TransferSyntaxUID")
    wide = syntax in _LITTLE_ENDIAN and int(ds.BitsAllocated) == 16
    if not wide or len(ds.PixelData) != 2 * shape[0] * shape[1]:
        return None
    return np.frombuffer(ds.PixelData, "<u2").reshape(shape).astype(np.uint16, copy=False)


def _pixel_array(ds: Dataset) -> NDArray[Any]:
    """Decode through pydicom, and turn a panic of a decoder into an exception."""
    try:
        return ds.pixel_array
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pylibjpeg-rle is written in Rust: its panics derive from BaseException
        message = (
            f"Its pixel data are damaged ({type(error).__name__}). Fetch the file from its source again."
        )
        raise UnreadableImage(message) from error


def _unsigned(array: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """View the same bits as unsigned integers of native byte order."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def _decode_colour(ds: Dataset) -> tuple[NDArray[np.unsignedinteger], int]:
    """Decode RGB, YBR or palette colour and reduce it to 8 bits of grey."""
    palette = ds.PhotometricInterpretation == "PALETTE COLOR"
    samples = _pixel_array(ds)
    rgb = _apply_color_lut(samples, ds) if palette else samples
    if _still_ybr(ds):
        rgb = _convert_color_space(samples, ds.PhotometricInterpretation, "RGB")
    if rgb.ndim != 3 or rgb.shape[-1] < 3:
        message = f"A pixel has {rgb.shape[-1]} samples; 1 (grey) or 3 (colour) were expected."
        raise RefusedImage(RefusalReason.COLOUR, message)
    grey = grey_from_rgb(_unsigned(rgb[..., :3]))
    # Palettes fill their 8 or 16 bits, direct colour fills Bits Stored.
    bits = grey.dtype.itemsize * 8 if palette else int(ds.BitsStored)
    return (np.right_shift(grey, bits - 8) if bits > 8 else grey).astype(np.uint8), 8


def _still_ybr(ds: Dataset) -> bool:
    """Tell whether `pixel_array` is still YBR: pydicom 3 always converts it, pydicom 2 only at times."""
    converts = hasattr(Dataset, "pixel_array_options")  # new in pydicom 3
    return not converts and get_text(ds, "PhotometricInterpretation").startswith("YBR_FULL")


def describes_pixels(ds: Dataset) -> bool:
    """Tell whether the elements that every decoder needs are there."""
    return all(get_number(ds, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
