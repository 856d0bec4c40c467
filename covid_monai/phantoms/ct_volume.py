"""Synthetic chest CT volumes in Hounsfield units, small ones to try the CT readers and the CT bundle."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.core.errors import check_choice
from covid_monai.core.vocabulary import COVID, DEFAULT_CLASS_NAMES, PNEUMONIA

CT_SPACING_MM = (3.5, 3.5, 5.0)
_SHAPE = (96, 96, 40)  # voxels
_AIR, _FAT, _TISSUE, _LUNG, _BONE, _TRACHEA = -1000, -100, 40, -850, 400, -950
_GROUND_GLASS, _CONSOLIDATION = -500, -30
_Field = NDArray[np.float32]
_Mask = NDArray[np.bool_]


def draw_volume(class_name: str, *, seed: int) -> NDArray[np.int16]:
    """Draw a thorax with two lungs, heart, spine and ribs, and with opacities that depend on the class.

    `pneumonia` has one consolidation of about -30 HU, `covid` ground glass of about -500 HU along the pleura
    of both lungs. `seed` determines build, disease and noise.

    Returns:
        Array [96, 96, 40] in HU, with `CT_SPACING_MM`; the axes point to the patient's right, front and head.

    >>> volume = draw_volume("normal", seed=1)
    >>> volume.shape, int(volume[0, 0, 0]) < -900
    ((96, 96, 40), True)
    """
    check_choice("class", class_name, DEFAULT_CLASS_NAMES)
    rng = np.random.default_rng([seed, 0])
    x, y, z = _coordinates_mm(scale=rng.uniform(0.95, 1.08))
    lungs = _lungs(x, y, z)
    hu = _trunk(x, y, z, lungs)
    disease = np.random.default_rng([seed, 1])
    if class_name == PNEUMONIA:
        side = float(disease.choice((-1, 1)))
        center = (side * 70, disease.uniform(-40, 20), disease.uniform(-50, 20))
        hu[lungs & _ellipsoid(x, y, z, center, (34, 42, 30))] = _CONSOLIDATION
    elif class_name == COVID:
        for center in _pleural_centers(disease):
            hu[lungs & _ellipsoid(x, y, z, center, disease.uniform(14, 26, 3))] = _GROUND_GLASS
    hu += rng.normal(0, 15, _SHAPE).astype(np.float32)
    return np.asarray(np.clip(np.rint(hu), -1024, 3071), dtype=np.int16)


def _coordinates_mm(*, scale: float) -> tuple[_Field, _Field, _Field]:
    axes = [(np.arange(n) - (n - 1) / 2) * mm / scale for n, mm in zip(_SHAPE, CT_SPACING_MM, strict=True)]
    x, y, z = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True)
    return x, y, z


def _ellipsoid(x: _Field, y: _Field, z: _Field, center: tuple[float, ...], radii: ArrayLike) -> _Mask:
    rx, ry, rz = np.asarray(radii, dtype=np.float32)
    inside = ((x - center[0]) / rx) ** 2 + ((y - center[1]) / ry) ** 2 + ((z - center[2]) / rz) ** 2 < 1
    return np.asarray(inside)


def _lungs(x: _Field, y: _Field, z: _Field) -> _Mask:
    """Return both lungs above their domes, without the heart, which lies to the left (negative x)."""
    both = _ellipsoid(np.abs(x), y, z, (68, 0, -20), (56, 80, 108))
    dome = z > -62 - 0.006 * (np.abs(x) - 68) ** 2 - 0.004 * (y - 10) ** 2
    return both & dome & ~_ellipsoid(x, y, z, (-22, 28, -35), (56, 44, 48))


def _trunk(x: _Field, y: _Field, z: _Field, lungs: _Mask) -> _Field:
    radius = np.hypot(x / 150, y / 106)
    hu = (np.where(radius < 1, _FAT, _AIR) + 0 * z).astype(np.float32)
    hu[np.broadcast_to(radius < 0.93, hu.shape)] = _TISSUE
    rings = (np.abs(radius - 0.885) < 0.03) & (np.mod(z + 0.35 * y, 24) < 10)
    hu[rings] = _BONE
    hu[_ellipsoid(x, y, z, (0, -72, 0), (19, 17, 1e6))] = _BONE
    hu[lungs] = _LUNG
    hu[_ellipsoid(x, y, z, (0, -18, 100), (9, 9, 105))] = _TRACHEA
    return hu


def _pleural_centers(rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Return three places in each lung, near the chest wall, most of them behind and below."""
    angles = rng.uniform(0.5, 1.4, 6)  # 0 is the flank, pi / 2 the back
    heights = rng.uniform(-70, 25, 6)
    sides = (1, 1, 1, -1, -1, -1)
    return [
        (side * (68 + 46 * float(np.cos(a))), -66 * float(np.sin(a)), float(z))
        for side, a, z in zip(sides, angles, heights, strict=True)
    ]
