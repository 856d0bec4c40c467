"""Removal of uniform frames: black or white surrounds of a scan, collimator edges."""

import numpy as np
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Crop, Transform
from monai.utils import TransformBackends
from numpy.typing import NDArray

from covid_monai.transforms.base import EachKey, as_type_of, require_float

DARK_LEVEL = 0.1
BRIGHT_LEVEL = 0.9
TOLERANCE = 0.04  # largest distance of a frame's pixel from the frame's level
LINE_SHARE = 0.98  # the rest of a line may be burned-in text, JPEG noise or a speck of dust
MAX_FRACTION = 0.25  # widest frame on one side, as a fraction of the image's height or width
MIN_SIZE = 64  # smallest height and width of the image inside its frame, in pixels

Box = tuple[int, int, int, int]  # top, bottom, left, right; bottom and right exclusive


def count_frame_lines(strip: NDArray[np.floating]) -> int:
    """Count the lines at the start of `strip`, `[lines, pixels]` from the edge, that belong to a frame."""
    level = float(np.median(strip[0]))
    # Most images have no frame: look at one line before looking at all.
    if DARK_LEVEL < level < BRIGHT_LEVEL or np.mean(np.abs(strip[0] - level) <= TOLERANCE) < LINE_SHARE:
        return 0
    uniform = np.mean(np.abs(strip - level) <= TOLERANCE, axis=1) >= LINE_SHARE
    return len(uniform) if uniform.all() else int(uniform.argmin())


def _without_frame(image: NDArray[np.floating], box: Box) -> Box:
    """Take the frame off all four sides of `box` once; a uniform side that is too wide does not count."""
    top, bottom, left, right = box
    inside = image[top:bottom, left:right]
    widths = []
    for lines in (inside, inside[::-1], inside.T, inside.T[::-1]):
        limit = int(MAX_FRACTION * len(lines))
        count = count_frame_lines(lines[: limit + 1])
        widths.append(count if count <= limit else 0)
    return top + widths[0], bottom - widths[1], left + widths[2], right - widths[3]


def find_image(image: NDArray[np.floating]) -> Box:
    """Find the image inside its frame.

    Sides are taken off in turns until nothing changes: a row is often uniform only once the columns of the
    frame are gone. Where that would remove more than `MAX_FRACTION` of a side in all, or leave less than
    `MIN_SIZE` pixels, there is no frame, and the box is the whole image.

    `image` is `[H, W]` with intensities in [0, 1].

    >>> framed = np.pad(np.full((80, 80), 0.5), ((10, 10), (0, 20)))
    >>> find_image(framed)
    (10, 90, 0, 80)
    """
    height, width = image.shape
    whole = (0, height, 0, width)
    box, previous = whole, None
    while box != previous:
        previous, box = box, _without_frame(image, box)
        top, bottom, left, right = box
        if min(bottom - top, right - left) < MIN_SIZE:
            return whole
    removed = max(top / height, 1 - bottom / height, left / width, 1 - right / width)
    return box if removed <= MAX_FRACTION else whole


class CropBorder(Transform):
    """Cut off uniform dark or bright frames and straight collimator edges of a radiograph.

    The cut is conservative, because lost lung is worse than a kept frame. A line of pixels is cut only if
    98 % of it has one level that is nearly black or nearly white, and only in an unbroken run from the edge.
    Wedges beside a rotated image stay, and so do grey frames and frames wider than a quarter of a side. An
    image without a frame is returned whole. Cropping a second time changes nothing.

    MONAI's `CropForeground` takes the box of all pixels above a threshold instead: one bright speck in the
    frame stops it, white frames stay, and lung darker than the threshold is lost at the edge.

    On a `MetaTensor` the affine follows the crop.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  # MONAI's own attribute

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return the image `[C, h, w]` inside its frame, which is the same in all channels.

        Raises:
            ValueError: `image` holds integers, or is not `[C, H, W]`.
        """
        tensor = require_float(image, "CropBorder")
        if tensor.ndim != 3:
            raise ValueError(f"CropBorder needs a [C, H, W] image but got shape {tuple(tensor.shape)}.")
        top, bottom, left, right = find_image(tensor.float().mean(dim=0).cpu().numpy())
        inside = slice(top, bottom), slice(left, right)
        # Contiguous, because a view would keep the whole image in memory.
        if isinstance(image, MetaTensor):
            return Crop()(image, inside).contiguous()
        return as_type_of(tensor[(..., *inside)].contiguous(), image)


class CropBorderd(EachKey):
    """Dictionary version of `CropBorder`; see also `EachKey`."""

    array_class = CropBorder
