"""Colour images that are really grey: saved as RGB, scanned with a tint, or with a coloured arrow."""

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import RefusalReason, RefusedImage

# Measured on the 316 colour files among the images of four public collections: 0.026 and 0.41 at most.
# Photographs, colour maps and coloured text lie above one of the two limits.
MAX_OFF_TINT_FRACTION = 0.035
MAX_TINT = 0.5
OFF_TINT_DISTANCE = 48 / 255  # chroma noise of JPEG and the uneven colour of light boxes stay below
_SAMPLES_PER_SIDE = 256
_LIT = 0.1  # darker pixels show no hue


def has_equal_channels(pixels: NDArray[np.integer]) -> bool:
    """Tell whether the three samples of every pixel `[..., 3]` are equal: it is grey."""
    return all(np.array_equal(pixels[..., 0], pixels[..., k]) for k in (1, 2))


def grey_from_rgb(rgb: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Turn a colour image that is really grey into one channel.

    A tint is allowed (a radiograph photographed on a light box is blue all over), and a small coloured arrow.
    The weights are those of ITU-R BT.601 in integers, as Pillow has them, so that three equal
    channels give exactly that channel.

    Args:
        rgb: `[H, W, 3]`, uint8 or uint16; the result `[H, W]` has the same type.

    Raises:
        RefusedImage: COLOUR, if the image is not grey.

    >>> grey_from_rgb(np.full((2, 2, 3), 200, np.uint8))[0]
    array([200, 200], dtype=uint8)
    """
    if has_equal_channels(rgb):
        return rgb[..., 0].copy()
    off_tint, tint = _measure_colour(rgb)
    if off_tint > MAX_OFF_TINT_FRACTION or tint > MAX_TINT:
        measured = f"{format_percent(off_tint, 0)} of it has other hues, saturation {format_percent(tint, 0)}"
        message = f"This is a colour image ({measured}); a grey radiograph was expected."
        raise RefusedImage(RefusalReason.COLOUR, message)
    weights = np.array((19595, 38470, 7471), np.uint32)  # sum to 65536: fits 32 bits for uint16
    grey = np.empty(rgb.shape[:2], rgb.dtype)
    for row, samples in zip(grey, rgb, strict=True):  # the whole image would take 12 bytes a pixel
        row[:] = (samples @ weights + np.uint32(0x8000)) >> np.uint32(16)
    return grey


def _measure_colour(rgb: NDArray[np.unsignedinteger]) -> tuple[float, float]:
    """Return the fraction of pixels that the image's own tint does not explain, and the mean saturation.

    A tint multiplies: it changes each pixel's chroma in proportion to its brightness.
    """
    step_rows, step_columns = (max(1, size // _SAMPLES_PER_SIDE) for size in rgb.shape[:2])
    sample = rgb[::step_rows, ::step_columns] / np.float32(np.iinfo(rgb.dtype).max)
    red, green, blue = sample.reshape(-1, 3).T.copy()  # contiguous channels: several times as fast
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    lit = brightness > _LIT
    off = np.zeros_like(brightness)
    for chroma in (red - brightness, blue - brightness):
        tint = np.median(chroma[lit] / brightness[lit]) if lit.any() else 0.0
        off += np.abs(chroma - tint * brightness)
    off_tint = off > OFF_TINT_DISTANCE
    strongest = np.maximum(np.maximum(red, green), blue)
    saturation = np.ptp([red, green, blue], axis=0).mean() / max(float(strongest.mean()), 1e-6)
    return float(off_tint.mean()), float(saturation)
