"""Decoding of DICOM pixel data to stored values: unused bits cleared, grey colour reduced to grey."""

import io
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.image_elements import correct_image_elements
from covid_monai.dicom.pixels.cells import cut_out_stored_bits
from covid_monai.dicom.pixels.codestream import (
    LITTLE_ENDIAN,
    RLE,
    Codestream,
    Format,
    is_codestream,
    read_codestream,
    split_frames,
)
from covid_monai.dicom.pixels.colour import grey_from_rgb, has_equal_channels
from covid_monai.dicom.pixels.decoder_process import decode_apart

try:
    from pydicom import pixels

    _apply_color_lut, _convert_color_space = pixels.apply_color_lut, pixels.convert_color_space
    _read_first_frame: Callable[[Dataset], NDArray[Any]] = partial(pixels.pixel_array, index=0, raw=True)
except ImportError:  # pydicom 2
    from pydicom.pixel_data_handlers import util

    _apply_color_lut, _convert_color_space = util.apply_color_lut, util.convert_color_space
    _read_first_frame = attrgetter("pixel_array")

_WAY_OUT = "Fetch or export the file again."


def decode_pixels(ds: Dataset) -> tuple[NDArray[np.unsignedinteger], int]:
    """Decode one grey frame.

    Args:
        ds: Single-frame image; missing elements that have one sensible value are filled in.

    Returns:
        Codes `[H, W]` (the bit patterns of the stored values, unused bits cleared) and their number of bits.

    Raises:
        RefusedImage: COLOUR, if the image is not grey.
        UnreadableImage: A sample has more than 16 bits, or the pixel data are damaged or unlike their header.
    """
    samples, bits = decode_frame(ds)
    if samples.ndim == 2 and get_text(ds, "PhotometricInterpretation") != "PALETTE COLOR":
        return samples, bits
    return _grey_from_colour(samples, ds, bits=bits), 8


def decode_frame(ds: Dataset) -> tuple[NDArray[np.unsignedinteger], int]:
    """Decode the first frame.

    Args:
        ds: As for `decode_pixels`, but of any number of frames.

    Returns:
        Codes `[H, W]`, or `[H, W, 3]` where a pixel has three samples (RGB), and their number of bits.

    Raises:
        RefusedImage: COLOUR, if a pixel has neither one nor three samples.
        UnreadableImage: As `decode_pixels`.
    """
    complete_description(ds)
    if is_codestream(ds):
        return _decode_codestream(ds)
    rle = get_text(ds.file_meta, "TransferSyntaxUID") == RLE
    cells = decode_rle_frame(split_frames(ds)[0], ds) if rle else _read_cells(ds)
    codes, bits = cut_out_stored_bits(_unsigned(cells), ds)
    return _as_rgb(codes, ds), bits


def complete_description(ds: Dataset) -> None:
    """Fill in missing elements that have one sensible value, and check that the others describe one image.

    Raises:
        RefusedImage: COLOUR, if a pixel has neither one nor three samples.
        UnreadableImage: Samples are no whole numbers of 1 to 16 bits, or their number is not that of the
            Photometric Interpretation (PS3.3 C.7.6.3.1.2).
    """
    if "PixelData" not in ds:
        raise UnreadableImage("It has no pixels, or floating-point numbers; whole numbers were expected.")
    if not ds.PixelData:  # None, if the element has no bytes
        raise UnreadableImage("Its PixelData is empty. Fetch or export the file again.")
    correct_image_elements(ds)
    bits_allocated, bits_stored = int(ds.BitsAllocated), int(ds.BitsStored)
    if not 1 <= bits_stored <= min(bits_allocated, 16) or bits_allocated > 32:
        raise UnreadableImage(
            f"A sample has {bits_stored} of {bits_allocated} bits; at most 16 are read. Export 16 bits."
        )
    samples, kind = int(ds.SamplesPerPixel), get_text(ds, "PhotometricInterpretation").upper()
    if samples not in (1, 3):
        message = f"A pixel has {format_count(samples, 'sample')}; 1 (grey) or 3 (colour) were expected."
        raise RefusedImage(RefusalReason.COLOUR, message)
    if kind.startswith(("RGB", "YBR", "HSV")) != (samples == 3) and kind:
        found = f"{format_count(samples, 'sample')}, but Photometric Interpretation is {kind!r}"
        raise UnreadableImage(f"A pixel has {found}. Export the file again.")


def _decode_codestream(ds: Dataset) -> tuple[NDArray[np.unsignedinteger], int]:
    """Decode a codestream. It holds the samples themselves: its precision counts, and not Bits Stored."""
    stream, stored = read_codestream(ds), int(ds.BitsStored)
    colour_space = get_text(ds, "PhotometricInterpretation").upper()
    if stream.format is Format.JPEG:
        samples = _decode_jpeg(stream, as_rgb=colour_space == "RGB")
    else:
        name, precision = str(stream.format), stream.precision
        samples = decode_apart(stream.content, format_name=name, shape=_shape(ds), precision=precision)
        samples = _as_rgb(samples, ds)
    bits, mask = stream.precision, 2**stream.precision - 1
    codes = _unsigned(samples) & np.asarray(mask, f"u{samples.dtype.itemsize}")
    signed = int(ds.PixelRepresentation) == 1
    if stored < bits and _fits(codes, stream, stored, signed=signed):  # a wider stream holds them
        return codes & np.asarray(2**stored - 1, codes.dtype), stored
    if stored != bits and signed and stream.signed is None and codes.max() > mask >> 1:
        found = f"{format_count(bits, 'bit')} a sample, its header {stored} with a sign"
        raise UnreadableImage(f"Its {stream.format} stream has {found}. {_WAY_OUT}")
    if stored != bits and int(ds.HighBit) != stored - 1:
        found = f"{format_count(bits, 'bit')} a sample, its header {stored} up to High Bit {ds.HighBit}"
        raise UnreadableImage(f"Its {stream.format} stream has {found}. {_WAY_OUT}")
    return codes, bits


def _fits(codes: NDArray[np.unsignedinteger], stream: Codestream, stored: int, *, signed: bool) -> bool:
    """Tell whether all samples are numbers of `stored` bits, with the sign in any higher ones."""
    if not stream.signed and codes.max() < 1 << stored:
        return True
    values = codes.astype(np.int32)
    values -= (values >> (stream.precision - 1)) << stream.precision  # two's complement
    half = 1 << (stored - 1)
    return signed and bool(values.min() >= -half and values.max() < half)


def _decode_jpeg(stream: Codestream, *, as_rgb: bool) -> NDArray[np.uint8]:
    """Decode 8-bit JPEG, colour to RGB.

    Where the file says RGB and there is no segment of Adobe, either it or the JFIF segment may be wrong, and
    both occur: grey written as RGB has three equal samples, as YCbCr two that are 128.
    """
    with Image.open(io.BytesIO(stream.content), formats=("JPEG",)) as image:
        if stream.samples == 1:
            return np.asarray(image)
        if as_rgb and not stream.adobe:
            image.draft("YCbCr", image.size)  # as it is written
            written = np.asarray(image).astype(np.int16)
            if np.abs(written[..., 1:] - written[..., :1]).mean() < np.abs(written[..., 1:] - 128).mean():
                return written.astype(np.uint8)
        return np.asarray(image.convert("RGB"))


def decode_rle_frame(frame: bytes, ds: Dataset) -> NDArray[np.unsignedinteger]:
    """Decode a frame of RLE to whole cells `[H, W]` or `[H, W, 3]` (PS3.5 annex G)."""
    samples, bits = int(ds.SamplesPerPixel), int(ds.BitsAllocated)
    segments, expected = int.from_bytes(frame[:4], "little"), samples * bits // 8
    if segments != expected:
        found = f"{format_count(segments, 'segment')}; its header needs {expected} ({samples} x {bits} bits)"
        raise UnreadableImage(f"Its RLE stream has {found}. {_WAY_OUT}")
    return decode_apart(frame, format_name="RLE", shape=_shape(ds), precision=bits)


def _shape(ds: Dataset) -> tuple[int, ...]:
    """Return rows and columns, and samples where there are several."""
    shape = (int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel))
    return shape[:2] if shape[2] == 1 else shape


def _read_cells(ds: Dataset) -> NDArray[np.integer]:
    """Read the whole cells `[H, W]` or `[H, W, 3]` of the first uncompressed frame."""
    _check_length(ds)
    shape, syntax = (int(ds.Rows), int(ds.Columns)), get_text(ds.file_meta, "TransferSyntaxUID")
    wide = syntax in LITTLE_ENDIAN and int(ds.BitsAllocated) == 16
    if wide and len(ds.PixelData) == 2 * shape[0] * shape[1]:  # plain ones: pydicom would copy them twice
        return np.frombuffer(ds.PixelData, "<u2").reshape(shape).astype(np.uint16, copy=False)
    # pydicom takes every sample for right-aligned and would shift others out.
    bits_stored, high_bit = ds.BitsStored, ds.HighBit
    ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
    try:
        cells = np.asarray(_read_first_frame(ds))
    finally:
        ds.BitsStored, ds.HighBit = bits_stored, high_bit
    if cells.ndim == 3:
        _check_planes(cells, by_plane=int(ds.PlanarConfiguration) == 1)
    return cells


def _check_planes(pixels: NDArray[np.integer], *, by_plane: bool) -> None:
    """Check that three channels are not one image in the order that Planar Configuration denies."""
    other = np.moveaxis(pixels, -1, 0).reshape(-1, 3) if by_plane else pixels.reshape(3, -1).T
    if not has_equal_channels(pixels) and has_equal_channels(other):
        message = f"Its samples are not in the order of Planar Configuration {int(by_plane)}."
        raise UnreadableImage(f"{message} {_WAY_OUT}")


def _check_length(ds: Dataset) -> None:
    """Check that uncompressed pixel data are one image of the size that the header says.

    Padding behind them is one value. Anything else that is as long as a row or more means that the header
    describes another image: its rows would begin at wrong places.
    """
    frames = int(get_number(ds, "NumberOfFrames") or 1)
    subsampled = get_text(ds, "PhotometricInterpretation") == "YBR_FULL_422"
    row_bits = int(ds.Columns) * int(ds.BitsAllocated) * (2 if subsampled else int(ds.SamplesPerPixel))
    expected, found = -(-int(ds.Rows) * row_bits * frames // 8), len(ds.PixelData)
    surplus = ds.PixelData[expected:]
    wrong = len(surplus) >= row_bits // 8 and surplus.count(surplus[:1]) < len(surplus)
    if found < expected or found >= 2 * expected or wrong:
        message = f"Its pixel data have {found:,} bytes, but its header describes {expected:,}."
        raise UnreadableImage(f"{message} {_WAY_OUT}")


def _as_rgb(samples: NDArray[Any], ds: Dataset) -> NDArray[Any]:
    if samples.ndim == 3 and get_text(ds, "PhotometricInterpretation").upper().startswith("YBR_FULL"):
        return np.asarray(_convert_color_space(samples, "YBR_FULL", "RGB"))
    return samples


def _unsigned(array: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """View the same bits as unsigned integers of native byte order."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def _grey_from_colour(
    samples: NDArray[np.unsignedinteger], ds: Dataset, *, bits: int
) -> NDArray[np.unsignedinteger]:
    """Reduce RGB, or the indices of a palette, to 8 bits of grey."""
    palette = samples.ndim == 2
    grey = grey_from_rgb(_unsigned(_apply_color_lut(samples, ds)[..., :3]) if palette else samples)
    # Palettes fill their 8 or 16 bits.
    bits = grey.dtype.itemsize * 8 if palette else bits
    return (np.right_shift(grey, bits - 8) if bits > 8 else grey).astype(np.uint8)
