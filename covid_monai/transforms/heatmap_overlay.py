"""Drawing of a heat map over a grey image, the same in the evaluation report, the results and the page.

This module is not imported by `covid_monai.transforms`: matplotlib would delay every prediction.
"""

import numpy as np
from matplotlib import colormaps
from numpy.typing import ArrayLike, NDArray

OPACITY = 0.55  # of the hottest place
_COLOUR_MAP = colormaps["inferno"]


def heatmap_colours(heatmap: ArrayLike) -> NDArray[np.float64]:
    """Return red, green and blue in [0, 1], along a new last axis, of a heat map of any shape in [0, 1].

    The colours lead from black for 0 over purple and orange to light yellow for 1.
    """
    colours: NDArray[np.float64] = _COLOUR_MAP(np.asarray(heatmap, dtype=np.float64))[..., :3]
    return colours


def overlay_heatmap(
    image: ArrayLike, heatmap: ArrayLike, *, colours: ArrayLike | None = None
) -> NDArray[np.uint8]:
    """Draw a heat map over a grey image; the hotter a place, the less of the image is visible there.

    Args:
        image: Shape [H, W], in [0, 1] from black to white.
        heatmap: Shape [H, W], in [0, 1]; values outside are clipped.
        colours: Red, green and blue in [0, 1] of each pixel, shape [H, W, 3]; by default those of
            `heatmap_colours`.

    Returns:
        Shape [H, W, 3], red, green and blue from 0 to 255.

    >>> overlay_heatmap([[0.5, 0.5]], [[0.0, 1.0]]).tolist()
    [[[128, 128, 128], [196, 197, 148]]]
    """
    heat = np.clip(np.asarray(heatmap, dtype=np.float64), 0, 1)
    painted = heatmap_colours(heat) if colours is None else np.asarray(colours, dtype=np.float64)
    weight = OPACITY * heat[..., None]
    blended = np.asarray(image, dtype=np.float64)[..., None] * (1 - weight) + painted * weight
    return (blended * 255).round().astype(np.uint8)
