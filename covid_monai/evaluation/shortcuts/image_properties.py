"""Properties of an image file that do not depend on the diagnosis, and a thumbnail.

Every file is decoded once, JPEG at a reduced size, so that thousands of images take only seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.ndimage import laplace

from covid_monai.core.errors import name_file_in_errors
from covid_monai.core.parallel import map_in_threads
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage

THUMBNAIL_SIZE = 64
_WORKING_SIZE = 256
_DEPTHS = {"1": "black and white", "L": "grey, 8 bit", "P": "palette", "RGB": "colour, 8 bit"}


@dataclass(frozen=True, slots=True)
class ImageProperties:
    """Properties of one file.

    Args:
        thumbnail: Image as `[64, 64]`, uint8, bone bright, stretched to a square.
        rows: Height of the stored image, in pixels.
        columns: Width of the stored image, in pixels.
        file_type: Format: `JPEG`, `PNG`, `DICOM`, ...
        depth: Colour and bits, in words.
        compression: Mean of the first JPEG quantisation table: 1 is best, about 50 is coarse; 0 for others.
        mean_grey: Mean intensity, in [0, 1].
        frame_share: Share of the area that is a black or white frame around the image, in [0, 1].
        sharpness: Standard deviation of the Laplacian at 256 pixels, divided by that of the image; 0 for an
            image of a single grey.
    """

    thumbnail: NDArray[np.uint8]
    rows: int
    columns: int
    file_type: str
    depth: str
    compression: float
    mean_grey: float
    frame_share: float
    sharpness: float


def read_all_properties(paths: Sequence[Path]) -> list[ImageProperties | None]:
    """Read the properties of every file, in order; None for a file that cannot be read as one image."""
    return list(map_in_threads(_properties_or_none, paths, "reading image properties", total=len(paths)))


def _properties_or_none(path: Path) -> ImageProperties | None:
    try:
        return read_properties(path)
    except (RefusedImage, UnreadableImage):
        return None


def read_properties(path: Path) -> ImageProperties:
    """Read the properties of one file: DICOM, or any image that Pillow opens.

    Colour images are converted to grey, because the audit must include images that the classifier refuses.

    Raises:
        RefusedImage: If the file is a DICOM object that is not one chest radiograph.
        UnreadableImage: If the file is missing, damaged, or in a format that is not read.
    """
    with name_file_in_errors(path):
        try:
            image = Image.open(path)
        except UnidentifiedImageError:
            return _dicom_properties(path)
        with image:
            return _raster_properties(image, path)


def _raster_properties(image: Image.Image, path: Path) -> ImageProperties:
    (columns, rows), mode, file_type = image.size, image.mode, str(image.format)
    tables = getattr(image, "quantization", None) or {}
    compression = float(np.mean(tables[min(tables)])) if tables else 0.0
    if mode.startswith("I"):
        from covid_monai.readers.raster import read_raster

        grey, depth = _resized(read_raster(path)[0]), "grey, 16 bit"
    else:
        image.draft("L", (_WORKING_SIZE, _WORKING_SIZE))
        upright = ImageOps.exif_transpose(image).convert("L")
        shown = np.asarray(upright, dtype=np.float32) / np.float32(255)
        grey, depth = _resized(shown), _DEPTHS.get(mode, mode)
    return _measure(grey, (rows, columns), file_type=file_type, depth=depth, compression=compression)


def _dicom_properties(path: Path) -> ImageProperties:
    from covid_monai.readers.radiograph import read_radiograph  # imports MONAI: only where DICOM is opened

    pixels, meta = read_radiograph(path)
    depth = str(meta["PhotometricInterpretation"] or "unknown")
    return _measure(_resized(pixels[0]), pixels.shape[1:], file_type="DICOM", depth=depth, compression=0.0)


def _resized(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    picture = Image.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    size = (_WORKING_SIZE, _WORKING_SIZE)
    resized = picture.resize(size, Image.Resampling.BOX if max(grey.shape) > 256 else None)
    # A bicubic enlargement overshoots at edges; as 8 bits, white would become black.
    return np.asarray(resized).clip(0, 1)


def _measure(
    grey: NDArray[np.float32], size: tuple[int, ...], *, file_type: str, depth: str, compression: float
) -> ImageProperties:
    from covid_monai.transforms.crop_border import find_image  # imports torch

    top, bottom, left, right = find_image(grey)
    block = _WORKING_SIZE // THUMBNAIL_SIZE
    small = grey.reshape(THUMBNAIL_SIZE, block, THUMBNAIL_SIZE, block).mean(axis=(1, 3))
    spread = float(grey.std())
    return ImageProperties(
        thumbnail=(255 * small).round().astype(np.uint8),
        rows=size[0],
        columns=size[1],
        file_type=file_type,
        depth=depth,
        compression=compression,
        mean_grey=float(grey.mean()),
        frame_share=1 - (bottom - top) * (right - left) / grey.size,
        sharpness=float(laplace(grey).std()) / spread if spread > 0 else 0.0,
    )
