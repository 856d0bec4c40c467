"""Thumbnails for the comparison of images: small, square and grey, of any file that Pillow or pydicom opens.

An audit must also see what the classifier refuses: an explanation drawn over an image shows that image.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from covid_monai.core.errors import name_file_in_errors, without_file_name
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.datasets.collections.base import Excluded
from covid_monai.dicom.acceptance import MAX_PIXELS
from covid_monai.dicom.file import is_dicom, read_dicom
from covid_monai.dicom.grayscale import render
from covid_monai.dicom.pixels.decode import decode_pixels

SIDE = 192  # pixels; enough for ribs and vessels, too few for text and noise

Thumbnail = NDArray[np.uint8]


def read_thumbnail(path: Path) -> Thumbnail | Excluded:
    """Read a file as `[SIDE, SIDE]` grey levels; return `Excluded` with the reason where that fails.

    The image is stretched to a square, because many collections publish their images stretched.
    """
    try:
        with name_file_in_errors(path), _open(path, side=SIDE) as image:
            small = _grey(image).resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
            return np.asarray(small)
    except (RefusedImage, UnreadableImage) as error:
        return Excluded(path, f"cannot be compared: {without_file_name(str(error), path)}")


def is_drawn_in_patches(thumbnail: Thumbnail) -> bool:
    """Tell whether an image consists of patches of one grey level with hard edges between them.

    Collections hold such pictures: they explain a classifier by its superpixels. They keep an image's shapes
    and lose its detail. Of 8,400 real images none is mistaken for one; of 317 such pictures 2 are missed.
    """
    middle = thumbnail[SIDE // 8 : -SIDE // 8, SIDE // 8 : -SIDE // 8].astype(np.int16)
    steps = np.abs(np.diff(middle, axis=1))[(middle[:, 1:] > 8) & (middle[:, 1:] < 247)]  # not the background
    return bool(steps.size and (steps <= 1).mean() > 0.64 and (steps >= 10).mean() > 0.02)


def same_pixels(first: Path, second: Path) -> bool:
    """Tell whether two files decode to the same grey levels at full size, as after a lossless conversion."""
    with _open(first) as one, _open(second) as other:
        return one.size == other.size and _grey(one).tobytes() == _grey(other).tobytes()


def _open(path: Path, *, side: int | None = None) -> Image.Image:
    """Open an image; with `side`, a JPEG is decoded at a fraction of its size that is not below `side`."""
    if is_dicom(path):
        ds = read_dicom(path)
        codes, bits_stored = decode_pixels(ds)
        displayed = render(codes, ds, bits_stored=bits_stored)
        return Image.fromarray((displayed * 255).round().astype(np.uint8))
    image = Image.open(path)
    if image.height * image.width > MAX_PIXELS:
        raise UnreadableImage(
            f"The image has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,}."
        )
    if side is not None:
        image.draft("L", (side, side))
    return ImageOps.exif_transpose(image)


def _grey(image: Image.Image) -> Image.Image:
    """Reduce any mode to 8 bits of luminance; more than 8 bits are spread over their range."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
        spread = (values - values.min()) / max(float(np.ptp(values)), 1.0)
        return Image.fromarray((spread * 255).astype(np.uint8))
    return image if image.mode == "L" else image.convert("RGB").convert("L")
