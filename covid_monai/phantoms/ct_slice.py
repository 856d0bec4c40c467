"""Pictures of CT slices of the CT phantom, as papers show them: grey, cropped, of any window."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter, map_coordinates, zoom

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.phantoms.ct_volume import draw_volume

_WINDOWS = ((-600, 1200), (-500, 1600), (-300, 1500), (40, 400))  # centre and width in HU: lungs, soft tissue
_SLICES = (6, 36)  # of the volume: those that show lungs
_LUNG, _BODY = -700, -400  # HU: below is air in the lungs, above is the body
_BEND = 0.03  # standard deviation of the deformation, of the picture's side


def draw_ct_slice(*, seed: int, size: int) -> NDArray[np.float32]:
    """Draw an axial slice with both lungs, with its front up, as a picture `[size, size]` in [0, 1].

    Window, crop, shape of the body and what the lungs hold follow from `seed`; the classes take turns.

    >>> picture = draw_ct_slice(seed=1, size=128)
    >>> picture.shape, bool(picture.min() >= 0 and picture.max() <= 1)
    ((128, 128), True)
    """
    rng = np.random.default_rng([seed, 2])
    volume = draw_volume(DEFAULT_CLASS_NAMES[seed % 3], seed=seed)
    axial = volume[:, :, rng.integers(*_SLICES)].astype(np.float32).T[::-1, ::-1]
    hu = _bend(_resized(_cropped(axial, rng), size), rng)
    hu += _markings(hu, rng)
    center, width = _WINDOWS[rng.integers(len(_WINDOWS))]
    shown = (hu - center) / (width * rng.uniform(0.8, 1.25)) + 0.5
    return np.asarray(np.clip(shown, 0, 1), dtype=np.float32)


def _cropped(axial: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the body with margins of -6 % to 10 % of its sides; a picture is squeezed to a square later."""
    body = axial > _BODY
    edges = []
    for axis in (0, 1):
        inside = np.flatnonzero(body.any(axis=1 - axis))
        first, last = inside[0], inside[-1] + 1
        margins = np.rint(rng.uniform(-0.06, 0.10, 2) * (last - first)).astype(int)
        edges.append(slice(max(0, first - margins[0]), min(len(body), last + margins[1])))
    return axial[edges[0], edges[1]]


def _resized(axial: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    factors = [size / side for side in axial.shape]
    return np.asarray(zoom(axial, factors, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def _bend(hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Deform smoothly, so that no two bodies have the same outline."""
    size = len(hu)
    places = np.mgrid[:size, :size].astype(np.float32)
    places += zoom(rng.normal(0, _BEND * size, (2, 5, 5)), (1, size / 5, size / 5), order=3)
    return np.asarray(map_coordinates(hu, places, order=1, mode="nearest"), dtype=np.float32)


def _markings(hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return what the lungs hold beside air: vessels, fewer towards the wall, and cloudy opacities."""
    size = len(hu)
    lungs = (hu < _LUNG) & binary_erosion(binary_fill_holes(hu > _BODY), iterations=max(1, size // 64))
    fine, coarse, cloud = (_noise(size, blur, rng) for blur in (0.005, 0.014, 0.06))
    outwards = np.abs(np.linspace(-1, 1, size))
    vessels = np.maximum(fine, coarse) > 1.0 + outwards
    opacity = rng.choice((0, 200, 450)) * np.clip(cloud, 0, 1)
    return np.where(lungs, np.where(vessels, rng.uniform(400, 800), opacity), 0).astype(np.float32)


def _noise(size: int, blur: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise with unit variance, blurred by a share of the picture's side."""
    smooth = gaussian_filter(rng.standard_normal((size, size)), blur * size)
    return np.asarray(smooth / smooth.std())
