"""Opacities of the radiograph phantom: what alone tells its classes apart."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.vocabulary import COVID, PNEUMONIA
from covid_monai.phantoms.anatomy import SIDES, Habitus
from covid_monai.phantoms.canvas import Canvas, Layer


class Opacity(NamedTuple):
    """What disease adds to a lung full of air."""

    density: Layer  # attenuation that it adds
    vessel_contrast: Layer  # 1 where vessels show, 0 or less where they drown in it


def draw_opacity(class_name: str, canvas: Canvas, habitus: Habitus) -> Opacity:
    """Return the opacities of `class_name` in this person's lungs; the caller keeps them inside the lungs."""
    rng = np.random.default_rng([habitus.seed, 2])
    if class_name == PNEUMONIA:
        density, drowned = _lobar_consolidation(rng, canvas, habitus)
    elif class_name == COVID:
        density, drowned = _peripheral_opacities(rng, canvas, habitus)
    else:
        density = drowned = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    return Opacity(density=density, vessel_contrast=1 - drowned)


def _lobar_consolidation(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> tuple[Layer, Layer]:
    """One lobe of one lung, dense up to the fissure; bronchi full of air stay dark in it."""
    x, y = canvas.coordinates()
    side = int(rng.choice(SIDES))
    top, bottom = habitus.apex, habitus.dome(side)
    fissure = top + rng.uniform(0.42, 0.62) * (bottom - top)
    slope = rng.uniform(-0.15, 0.25)
    below = _step((y - fissure - slope * (side * x - 0.4)) / 0.018)
    upper = rng.random() < 0.4
    lobe = (1 - below) if upper else below
    height = (top + fissure) / 2 if upper else (fissure + bottom) / 2 + 0.06
    middle = (rng.uniform(0.30, 0.48), height + rng.normal(0, 0.04))
    radii = (rng.uniform(0.20, 0.32), rng.uniform(0.20, 0.30))
    cloud = canvas.noise(rng, cells=(6, 12, 24))
    blob = _blob(side * x, y, center=middle, radii=radii, ragged=0.16 * cloud)
    shape = blob * lobe * (side * x > 0)
    density = rng.uniform(0.24, 0.38) * shape * (1 + 0.14 * cloud)
    return density, 1.5 * shape


def _peripheral_opacities(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> tuple[Layer, Layer]:
    """Several hazy patches in both lungs, along the chest wall and more of them below."""
    x, y = canvas.coordinates()
    cloud = canvas.noise(rng, cells=(10, 20, 40))
    total = np.zeros_like(x)
    for side in SIDES:
        for _ in range(rng.integers(3, 6)):
            down = rng.beta(3.2, 1.6)
            height = habitus.apex + 0.12 + down * (habitus.dome(side) + 0.06 - habitus.apex - 0.12)
            out = habitus.wall(height) * rng.uniform(0.70, 0.92)
            radii = (rng.uniform(0.08, 0.15), rng.uniform(0.10, 0.20))
            patch = _blob(side * x, y, center=(out, height), radii=radii, ragged=0.22 * cloud, softness=0.30)
            total = np.maximum(total, rng.uniform(0.6, 1.0) * patch * (side * x > 0))
    density = rng.uniform(0.18, 0.30) * total * (1 + 0.28 * cloud)
    return density, 0.55 * total


def _blob(
    x: Layer,
    y: Layer,
    *,
    center: tuple[float, float],
    radii: tuple[float, float],
    ragged: Layer,
    softness: float = 0.18,
) -> Layer:
    """Return 1 inside an ellipse and 0 outside, with a ragged, soft edge."""
    distance = np.hypot((x - center[0]) / radii[0], (y - center[1]) / radii[1])
    return _step((1 - distance + ragged) / softness)


def _step(value: NDArray[np.floating]) -> Layer:
    """Return a soft step from 0 to 1 around 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(value), dtype=np.float32)
