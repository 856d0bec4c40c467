"""JPEG and PNG radiographs, read with Pillow."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.acceptance import check_image_size
from covid_monai.dicom.grayscale import check_not_blank, count_codes, look_up, stretch_percentiles
from covid_monai.dicom.pixels.codestream import check_scans
from covid_monai.dicom.pixels.colour import grey_from_rgb
from covid_monai.dicom.pixels.downscaling import OVERSAMPLING, downscale

# Bytes of a decoded pixel of grey; Pillow keeps all other modes in four.
_GREY_BYTES = {"1": 1, "L": 1, "I;16": 2}
_COLOUR_BYTES = 4
_STRIP_PIXELS = 1 << 22
_MAX_EXIF_BYTES = 1 << 16  # a segment of JPEG holds no more; PNG has no bound of its own
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def is_raster(head: bytes) -> bool:
    """Tell by its first bytes whether a file is JPEG or PNG, whatever its name is."""
    return head.startswith(_SIGNATURES)


def read_raster(path: Path, *, target_size: int | None = None) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Read a JPEG or PNG file as a viewer shows it.

    8-bit images are shown over their full range. 16-bit PNG too, if their highest bit is used; otherwise
    they hold raw detector values in a wider container, and are spread between robust percentiles, as a
    DICOM file without a window is. Pillow reduces 16-bit RGB to 8 bits.

    Args:
        path: File; EXIF orientation is applied, transparency laid over black.
        target_size: Rows and columns that the image will be resized to. A much larger image is downscaled
            (see `downscale_factor`), a JPEG already during decoding. None reads the whole image.

    Returns:
        `[H, W]` in [0, 1], and rows and columns of the whole image.

    Raises:
        RefusedImage: TOO_LARGE (see `MAX_DECODED_BYTES`) or TOO_SMALL before decoding; COLOUR, MULTI_FRAME
            or BLANK.
        Exception: Pillow's, of many types, for damaged files.
    """
    try:
        image, full_size = _read(path, target_size)
    except RefusedImage:
        if target_size is None:
            raise
        image, full_size = _read(path, None)  # fewer pixels are smoother: the whole image decides
    return downscale(image, target_size), full_size


def _read(path: Path, target_size: int | None) -> tuple[NDArray[np.float32], tuple[int, int]]:
    pixels, full_size = _decode(path, target_size)
    return _scale(pixels if pixels.ndim == 2 else grey_from_rgb(pixels)), full_size


def _decode(path: Path, target_size: int | None) -> tuple[NDArray[np.unsignedinteger], tuple[int, int]]:
    """Return samples, uint8 or uint16, `[H, W]` or `[H, W, 3]`; and rows and columns of the whole image."""
    try:
        image = Image.open(path, formats=("JPEG", "PNG"))
    except Image.DecompressionBombError as error:
        message = "The image has too many pixels to read it safely."
        raise RefusedImage(RefusalReason.TOO_LARGE, message) from error
    except UnidentifiedImageError as error:  # its text is the path, which may be one of this process
        raise UnreadableImage("The header is damaged or not supported. Save the image again.") from error
    with image:
        _check_before_decoding(image, path)
        columns, rows = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation) in range(5, 9)
        if target_size is not None:  # at most an eighth, in powers of two; nothing happens to PNG
            image.draft(None, (OVERSAMPLING * target_size, OVERSAMPLING * target_size))
        ImageOps.exif_transpose(image, in_place=True)
        return _samples(image), (columns, rows) if turned else (rows, columns)


def _check_before_decoding(image: Image.Image, path: Path) -> None:
    """Refuse a file that is small on disk and takes much memory or time to decode."""
    is_grey = image.mode in _GREY_BYTES and "transparency" not in image.info
    check_image_size(
        image.height, image.width, bytes_per_pixel=_GREY_BYTES[image.mode] if is_grey else _COLOUR_BYTES
    )
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        message = "This is an animated PNG; a single image was expected."
        raise RefusedImage(RefusalReason.MULTI_FRAME, message)
    # One tag after another may name the whole block as its value.
    if len(image.info.get("exif", b"")) > _MAX_EXIF_BYTES:
        raise UnreadableImage("The image has more than 64 KiB of EXIF data. Save it again without them.")
    if image.format != "PNG":
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_scans(content, image.height * image.width)


def _samples(image: Image.Image) -> NDArray[np.unsignedinteger]:
    """Return any mode that Pillow gives as grey, or as RGB with transparency laid over black."""
    if image.mode.startswith("I"):  # 16-bit grey: "I;16", in older Pillow "I"
        pixels = np.asarray(image)
        return pixels if pixels.dtype == np.uint16 else np.clip(pixels, 0, 65535).astype(np.uint16)
    if image.mode in _GREY_BYTES and "transparency" not in image.info:
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, _STRIP_PIXELS // image.width)  # a copy of the whole image would take 4 bytes a pixel
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        if image.has_transparency_data:
            black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
            strip = Image.alpha_composite(black, strip.convert("RGBA"))
        rgb[top : top + step] = np.asarray(strip.convert("RGB"))
    return rgb


def _scale(grey: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Map samples to [0, 1]; see `read_raster`."""
    highest = np.iinfo(grey.dtype).max
    values = np.arange(highest + 1.0)
    counts = count_codes(grey, size=highest + 1)
    holds_raw_values = highest > 255 and int(grey.max()) <= highest // 2
    table = stretch_percentiles(values, counts) if holds_raw_values else values / highest
    check_not_blank(table, counts)
    return look_up(table, grey)
