"""JPEG and PNG radiographs, read with Pillow."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.acceptance import check_image_size
from covid_monai.dicom.grayscale import check_not_blank, count_codes, look_up, stretch_percentiles
from covid_monai.dicom.pixels.colour import grey_from_rgb
from covid_monai.dicom.pixels.downscaling import OVERSAMPLING, downscale

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
        RefusedImage: TOO_LARGE or TOO_SMALL before decoding; COLOUR, MULTI_FRAME or BLANK.
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
    try:
        image = Image.open(path, formats=("JPEG", "PNG"))
    except Image.DecompressionBombError as error:
        message = "The image has too many pixels to read it safely."
        raise RefusedImage(RefusalReason.TOO_LARGE, message) from error
    with image:
        check_image_size(image.height, image.width)
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            message = "This is an animated PNG; a single image was expected."
            raise RefusedImage(RefusalReason.MULTI_FRAME, message)
        columns, rows = image.size
        if target_size is not None:  # at most an eighth, in powers of two; nothing happens to PNG
            image.draft(None, (OVERSAMPLING * target_size, OVERSAMPLING * target_size))
        grey = _to_grey(ImageOps.exif_transpose(image))
        turned = image.getexif().get(ExifTags.Base.Orientation) in range(5, 9)
    return _scale(grey), (columns, rows) if turned else (rows, columns)


def _to_grey(image: Image.Image) -> NDArray[np.unsignedinteger]:
    """Reduce any mode that Pillow gives to one channel, uint8 or uint16."""
    if image.mode.startswith("I"):  # 16-bit grey: "I;16", in older Pillow "I"
        return np.asarray(np.clip(np.asarray(image), 0, 65535), np.uint16)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return grey_from_rgb(np.asarray(image.convert("RGB")))


def _scale(grey: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Map samples to [0, 1]; see `read_raster`."""
    highest = np.iinfo(grey.dtype).max
    values = np.arange(highest + 1.0)
    counts = count_codes(grey, size=highest + 1)
    holds_raw_values = highest > 255 and int(grey.max()) <= highest // 2
    table = stretch_percentiles(values, counts) if holds_raw_values else values / highest
    check_not_blank(table, counts)
    return look_up(table, grey)
