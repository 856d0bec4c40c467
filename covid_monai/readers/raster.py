"""JPEG and PNG radiographs, with Pillow."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from covid_monai.readers.acceptance import check_size
from covid_monai.readers.grayscale import check_not_blank, count_codes, stretch_percentiles
from covid_monai.readers.greyness import grey_from_rgb
from covid_monai.vocabulary import RefusalReason, RefusedImage

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def is_raster(head: bytes) -> bool:
    """Tell by its first bytes whether a file is JPEG or PNG, whatever its name says."""
    return head.startswith(_SIGNATURES)


def read_raster(path: Path) -> NDArray[np.float32]:
    """Read a JPEG or PNG file as a viewer shows it.

    8-bit pictures are shown over their full range. 16-bit PNG too, if their highest bit is used; else they
    are raw detector values in a wider container and are spread between robust percentiles, as a DICOM file
    without a window is. Pillow reduces 16-bit RGB to 8 bits.

    Args:
        path: The file; EXIF orientation is applied, transparency laid over black.

    Returns:
        `[H, W]` in [0, 1].

    Raises:
        RefusedImage: TOO_LARGE or TOO_SMALL before decoding; COLOUR, MULTI_FRAME or BLANK.
        Exception: Pillow's, of many types, for damaged files.
    """
    try:
        image = Image.open(path, formats=("JPEG", "PNG"))
    except Image.DecompressionBombError as error:
        raise RefusedImage(RefusalReason.TOO_LARGE, "Too many pixels to read safely.") from error
    with image:
        check_size(image.height, image.width)
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise RefusedImage(RefusalReason.MULTI_FRAME, "An animated PNG; a single picture was expected.")
        grey = _to_grey(ImageOps.exif_transpose(image))
    return _scale(grey)


def _to_grey(image: Image.Image) -> NDArray[np.unsignedinteger]:
    """Reduce any mode that Pillow gives to one channel, uint8 or uint16."""
    if image.mode.startswith("I"):  # 16-bit grey: "I;16", in older Pillow "I"
        return np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
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
    raw = highest > 255 and int(grey.max()) <= highest // 2
    shown = stretch_percentiles(values, counts) if raw else values / highest
    check_not_blank(shown, counts)
    return shown.astype(np.float32)[grey]
