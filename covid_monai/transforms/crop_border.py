"""Removal of uniform frames: black or white surrounds of a scan, collimator edges."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Crop, InvertibleTransform, MapTransform
from monai.utils import TransformBackends
from numpy.typing import NDArray

from covid_monai.transforms.base import as_plain_tensor, as_type_of, require_float

DARK_LEVEL = 0.1
BRIGHT_LEVEL = 0.9
LINE_SHARE = 0.98  # the rest of a line may be burned-in text, JPEG noise or a speck of dust

Box = tuple[int, int, int, int]  # top, bottom, left, right; bottom and right exclusive


def frame_lines(strip: NDArray[np.floating], tolerance: float) -> int:
    """Count the lines at the start of `strip` that belong to a frame.

    Args:
        strip: `[lines, pixels]`, the edge of the image first.
        tolerance: Largest distance of a frame's pixel from the frame's level.
    """
    level = float(np.median(strip[0]))
    if DARK_LEVEL < level < BRIGHT_LEVEL:
        return 0
    # Most images have no frame: look at one line before looking at all.
    if np.mean(np.abs(strip[0] - level) <= tolerance) < LINE_SHARE:
        return 0
    uniform = np.mean(np.abs(strip - level) <= tolerance, axis=1) >= LINE_SHARE
    return len(uniform) if uniform.all() else int(uniform.argmin())


def _shrink(image: NDArray[np.floating], box: Box, max_fraction: float, tolerance: float) -> Box:
    """Take the frame off all four sides of `box` once; a side whose frame is too wide is no frame."""
    top, bottom, left, right = box
    radiograph = image[top:bottom, left:right]
    widths = []
    for lines in (radiograph, radiograph[::-1], radiograph.T, radiograph.T[::-1]):
        limit = int(max_fraction * len(lines))
        count = frame_lines(lines[: limit + 1], tolerance)
        widths.append(count if count <= limit else 0)
    return top + widths[0], bottom - widths[1], left + widths[2], right - widths[3]


def find_image(
    image: NDArray[np.floating], *, max_fraction: float = 0.25, tolerance: float = 0.04, min_size: int = 64
) -> Box:
    """Find the image inside its frame.

    Sides are taken off in turns until nothing changes: a row is often uniform only once the columns of the
    frame are gone. Where that would cost more than `max_fraction` of a side in all, or leave less than
    `min_size` pixels, it was no frame, and the whole image is the image.

    Args:
        image: `[H, W]`, intensities in [0, 1].
        max_fraction: Widest frame on one side as a fraction of the image's height or width.
        tolerance: Largest distance of a frame's pixel from the frame's level.
        min_size: Smallest height and width of the image, in pixels.

    Returns:
        Top, bottom, left and right of the image; bottom and right exclusive.

    >>> framed = np.pad(np.full((80, 80), 0.5), ((10, 10), (0, 20)))
    >>> find_image(framed)
    (10, 90, 0, 80)
    """
    height, width = image.shape
    whole = (0, height, 0, width)
    box, previous = whole, None
    while box != previous:
        previous, box = box, _shrink(image, box, max_fraction, tolerance)
        top, bottom, left, right = box
        if min(bottom - top, right - left) < min_size:
            return whole
    taken = max(top / height, 1 - bottom / height, left / width, 1 - right / width)
    return box if taken <= max_fraction else whole


class CropBorder(InvertibleTransform):
    """Cut off uniform dark or bright frames and straight collimator edges of a radiograph.

    Conservative, because lung lost is worse than a frame kept: a line of pixels goes only if 98 % of it has
    one level that is nearly black or nearly white, and only in an unbroken run from the edge. Wedges beside a
    rotated image stay, so do grey frames and frames wider than `max_fraction` of a side; an image without a
    frame comes back whole. Cropping a second time changes nothing.

    MONAI's `CropForeground` takes the box of all pixels above a threshold instead: one bright speck in the
    frame stops it, white frames stay, and lung darker than the threshold is lost at the edge.

    On a `MetaTensor` the affine follows the crop, and `inverse` pads back to the size before it.

    Args:
        max_fraction: Widest frame on one side as a fraction of the height or width, in (0, 0.45].
        tolerance: Largest distance of a frame's pixel from the frame's level, in [0, 0.1].
        min_size: Smallest height and width of the image, in pixels; at least 1.

    Raises:
        ValueError: If an argument is out of its range.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  # MONAI's own attribute

    def __init__(self, *, max_fraction: float = 0.25, tolerance: float = 0.04, min_size: int = 64) -> None:
        if not 0 < max_fraction <= 0.45:
            raise ValueError(f"max_fraction must lie in (0, 0.45], got {max_fraction}")
        if not 0 <= tolerance <= 0.1:
            raise ValueError(f"tolerance must lie in [0, 0.1], got {tolerance}")
        if min_size < 1:
            raise ValueError(f"min_size must be at least 1, got {min_size}")
        self.max_fraction = max_fraction
        self.tolerance = tolerance
        self.min_size = min_size
        self.cropper = Crop()

    def find_slices(self, image: NdarrayOrTensor) -> tuple[slice, slice]:
        """Find the rows and columns of the image.

        Args:
            image: `[C, H, W]`, floating point, intensities in [0, 1].

        Raises:
            ValueError: If `image` holds integers or is not `[C, H, W]`.
        """
        tensor = require_float(image, "CropBorder")
        if tensor.ndim != 3:
            raise ValueError(f"CropBorder needs a [C, H, W] image but got shape {tuple(tensor.shape)}")
        grey = tensor.float().mean(dim=0).cpu().numpy()
        top, bottom, left, right = find_image(
            grey, max_fraction=self.max_fraction, tolerance=self.tolerance, min_size=self.min_size
        )
        return slice(top, bottom), slice(left, right)

    def crop(self, image: NdarrayOrTensor, slices: tuple[slice, slice]) -> NdarrayOrTensor:
        """Cut `slices` out of `image`, as a copy that does not keep the whole image in memory."""
        if isinstance(image, MetaTensor):
            return self.cropper(image, slices).contiguous()
        return as_type_of(as_plain_tensor(image)[(..., *slices)].contiguous(), image)

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return the image inside its frame.

        Args:
            image: `[C, H, W]`, floating point, intensities in [0, 1]; the frame is the same in all channels.

        Returns:
            `[C, h, w]` with h <= H and w <= W; same type, dtype and metadata as `image`.

        Raises:
            ValueError: If `image` holds integers or is not `[C, H, W]`.
        """
        return self.crop(image, self.find_slices(image))

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """Pad a cropped `MetaTensor` with zeros to the size before the crop."""
        return self.cropper.inverse(data)


class CropBorderd(MapTransform, InvertibleTransform):
    """Dictionary version of `CropBorder`; the frame is found on the first key and cut off all of them.

    Args:
        keys: Keys of images of one height and width (a radiograph first, then its masks).
        max_fraction: See `CropBorder`.
        tolerance: See `CropBorder`.
        min_size: See `CropBorder`.
        allow_missing_keys: Skip a missing key instead of raising `KeyError`.
    """

    backend = CropBorder.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        max_fraction: float = 0.25,
        tolerance: float = 0.04,
        min_size: int = 64,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CropBorder(max_fraction=max_fraction, tolerance=tolerance, min_size=min_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with the images at `keys` cropped alike."""
        output = dict(data)
        present = list(self.key_iterator(output))
        sizes = {key: tuple(output[key].shape[-2:]) for key in present}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"CropBorderd needs images of one size but got {sizes}: crop them one by one")
        if present:
            slices = self.transform.find_slices(output[present[0]])
            output |= {key: self.transform.crop(output[key], slices) for key in present}
        return output

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with the `MetaTensor` at each key padded back."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.transform.inverse(output[key])
        return output
