"""Synthetic chest radiographs: a thorax drawn from outlines, with opacities that depend on the class.

An image is a sum of attenuations (soft tissue, air, bone) that goes through a display curve, so that
structures overlap as they do in a projection. The person, the positioning, the exposure and the disease come
from separate random streams: images of different classes differ in their opacities and in nothing else.

The images exist to prove that a pipeline works. They teach nothing about patients.
"""

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.errors import check_choice
from covid_monai.core.vocabulary import COVID, DEFAULT_CLASS_NAMES, PNEUMONIA
from covid_monai.phantoms import anatomy
from covid_monai.phantoms.anatomy import SIDES, Habitus
from covid_monai.phantoms.canvas import Canvas, Layer, Line

_MINIMUM_SIZE = 64
_SPINE = 0.11  # half its width in body units, with the soft tissue beside it
Pair = tuple[float, float]


def draw_radiograph(
    class_name: str, *, seed: int, size: int = 512, repeat: int = 0, sex: str = "M", view: str = "PA"
) -> Layer:
    """Draw a frontal chest radiograph.

    `pneumonia` has one lobe consolidated, `covid` hazy opacities along the chest wall of both lungs, more of
    them below. `seed` determines the person's build and disease; positioning, exposure and noise also depend
    on `repeat`. A woman (`F`) has breast shadows. In `AP` the heart is magnified, the person less straight.

    Returns:
        [size, size], rows first, the patient's left on the right; 0 is black (air), 1 is white (bone).

    >>> image = draw_radiograph("covid", seed=3, size=128)
    >>> image.shape, image.dtype.name, bool(image.min() >= 0 and image.max() <= 1)
    ((128, 128), 'float32', True)
    """
    check_choice("class", class_name, DEFAULT_CLASS_NAMES)
    if size < _MINIMUM_SIZE:
        raise ValueError(
            f"A phantom of {size} pixels is too small. Choose a size of {_MINIMUM_SIZE} or more."
        )
    habitus = Habitus(seed, sex=sex, view=view)
    rng = _positioning(seed, repeat)
    canvas = position_patient(rng, size=size, view=view)
    attenuation = _thorax(canvas, habitus, class_name)
    attenuation += _lead_marker(canvas, rng)
    return _expose(attenuation, rng)


def draw_lung_mask(*, seed: int, size: int = 512, repeat: int = 0, sex: str = "M", view: str = "PA") -> Layer:
    """Return where the lungs of `draw_radiograph` are, the part behind the heart included.

    The lungs end beside the spine, where people who draw lung masks let them end.

    Returns:
        [size, size], 1 in the lungs and 0 elsewhere; the edge has values between.
    """
    habitus = Habitus(seed, sex=sex, view=view)
    canvas = position_patient(_positioning(seed, repeat), size=size, view=view)
    spine = np.array([(-_SPINE, -2), (_SPINE, -2), (_SPINE, 2), (-_SPINE, 2)])
    lungs = canvas.fill([anatomy.lung_outline(habitus, side) for side in SIDES], blur=1)
    return np.asarray(lungs * (1 - canvas.fill([spine], blur=1)), dtype=np.float32)


def _positioning(seed: int, repeat: int) -> np.random.Generator:
    """Return the random stream of the positioning and exposure of one image."""
    return np.random.default_rng([seed, 1, repeat])


def plant_marker(image: Layer) -> Layer:
    """Return a copy with a bright square in the lower left corner: a shortcut that an audit should find."""
    side = max(2, image.shape[0] // 24)
    marked = image.copy()
    marked[-2 * side : -side, side : 2 * side] = 1.0
    return marked


def position_patient(rng: np.random.Generator, *, size: int, view: str) -> Canvas:
    """Return a canvas on which the person stands in front of the detector, shifted and turned at random."""
    angle = rng.normal(0, 0.02 if view == "PA" else 0.035)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag(rng.uniform(0.94, 1.10) * rng.uniform(0.97, 1.03, 2))
    return Canvas(size, matrix=turn @ scale, shift=rng.normal(0, (0.025, 0.035)))


def _thorax(canvas: Canvas, habitus: Habitus, class_name: str) -> Layer:
    """Sum up the attenuation of soft tissue, air, opacities, vessels and bone."""
    soft = canvas.reduced(smallest=256)  # below, blurred edges would show steps
    air = _air(soft, habitus)
    density, visible_vessels = _opacity(class_name, soft.reduced(smallest=128), habitus)
    image = _soft_tissue(soft, habitus) + _soft_bones(soft, habitus, air)
    image += air * (soft.enlarge(density) - habitus.aeration)
    markings = air * (0.17 * soft.enlarge(visible_vessels))
    image += 0.08 * markings * soft.noise(habitus.random(21), cells=(40, 80))
    image = canvas.enlarge(image)
    image += canvas.enlarge(markings) * canvas.stroke(anatomy.vessels(habitus), blur=1.5)
    # Ribs show where lung lies behind them, and less through thick soft tissue.
    image += canvas.enlarge(0.035 + 0.09 * air) * _tubes(canvas, anatomy.posterior_ribs(habitus))
    image += 0.11 * _tubes(canvas, anatomy.clavicles(habitus))
    return image


def _air(canvas: Canvas, habitus: Habitus) -> Layer:
    """Return the air that the rays cross: most in the middle of each lung, little behind the heart."""
    lungs = [anatomy.lung_outline(habitus, side) for side in SIDES]
    depth = 0.62 + 0.38 * canvas.fill(lungs, blur=22)
    center = canvas.fill([anatomy.mediastinum_outline(habitus)], blur=3)
    air: Layer = canvas.fill(lungs, blur=2.2) * depth * (1 - 0.93 * center)
    return air


def _soft_tissue(canvas: Canvas, habitus: Habitus) -> Layer:
    outline = anatomy.body_outline(habitus)
    body = canvas.fill([outline], blur=2.5)
    deep = canvas.fill([outline * (0.62, 1)], blur=60)
    image = body * (0.26 + habitus.fat + 0.38 * deep)
    image += 0.16 * canvas.fill([anatomy.abdomen(habitus)], blur=9)
    image += 0.08 * canvas.fill([anatomy.mediastinum_outline(habitus)], blur=3)
    image += 0.05 * canvas.fill(anatomy.breasts(habitus), blur=5)
    image -= 0.08 * canvas.fill([anatomy.stomach_bubble(habitus)], blur=4)
    image -= 0.08 * canvas.stroke(anatomy.airways(habitus), blur=3)
    image += 0.012 * body * canvas.noise(habitus.random(20), cells=(4, 9, 20))
    return image


def _soft_bones(canvas: Canvas, habitus: Habitus, air: Layer) -> Layer:
    bones = (0.02 + 0.05 * air) * canvas.stroke(anatomy.anterior_ribs(habitus), blur=2.2)
    bones += 0.06 * canvas.fill(anatomy.shoulders(habitus), blur=2.5)
    bones += 0.05 * canvas.fill(anatomy.vertebrae(habitus), blur=2.5)
    return bones


def _tubes(canvas: Canvas, lines: list[Line]) -> Layer:
    """Draw bones with a dense cortex, brighter along both edges."""
    inner = [line._replace(width=line.width * 0.55, level=0.62) for line in lines]
    return canvas.stroke([*lines, *inner], blur=1.6)


def _lead_marker(canvas: Canvas, rng: np.random.Generator) -> Layer:
    """Draw the letter L that marks the patient's left side."""
    corner = np.array([rng.uniform(0.80, 0.86), rng.uniform(-0.96, -0.90)])
    letter = np.array([(0.0, 0.0), (0.0, 0.07), (0.045, 0.07)]) + corner
    return 0.9 * Canvas(canvas.size).stroke([Line(letter, 0.016)], blur=0.7)


def _expose(attenuation: Layer, rng: np.random.Generator) -> Layer:
    """Apply the display curve, quantum noise and a random exposure, none of which depends on the class."""
    gain, offset, gamma = rng.uniform(0.95, 1.25), rng.uniform(-0.03, 0.05), rng.uniform(0.8, 1.25)
    noise = rng.standard_normal(attenuation.shape, dtype=np.float32)
    light = np.maximum(gain * attenuation + offset + rng.uniform(0.006, 0.016) * noise, 0)
    squared = light * light
    light /= np.sqrt(np.sqrt(1 + squared * squared))  # white is approached slowly, as on a detector
    return np.asarray(np.minimum(light, 1) ** np.float32(gamma), dtype=np.float32)


def _opacity(class_name: str, canvas: Canvas, habitus: Habitus) -> tuple[Layer, Layer]:
    """Draw the opacities of a class; they may reach beyond the lungs, and the caller cuts them off there.

    Returns:
        Added attenuation, and how visible vessels are: 1, or 0 or less where the opacity hides them.
    """
    rng = np.random.default_rng([habitus.seed, 2])
    if class_name == PNEUMONIA:
        return _lobar_consolidation(rng, canvas, habitus)
    if class_name == COVID:
        return _peripheral_opacities(rng, canvas, habitus)
    none = np.zeros((canvas.size, canvas.size), dtype=np.float32)
    return none, none + 1


def _lobar_consolidation(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> tuple[Layer, Layer]:
    """Draw one lobe of one lung, dense up to the fissure."""
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
    blob = _blob(side * x, y, middle, radii, ragged=0.16 * cloud)
    shape = blob * lobe * (side * x > 0)
    density = rng.uniform(0.24, 0.38) * shape * (1 + 0.14 * cloud)
    return density, 1 - 1.5 * shape


def _peripheral_opacities(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> tuple[Layer, Layer]:
    """Draw several hazy patches in both lungs, along the chest wall and more of them below."""
    x, y = canvas.coordinates()
    cloud = canvas.noise(rng, cells=(10, 20, 40))
    total = np.zeros_like(x)
    for side in SIDES:
        for _ in range(rng.integers(3, 6)):
            down = rng.beta(3.2, 1.6)
            height = habitus.apex + 0.12 + down * (habitus.dome(side) + 0.06 - habitus.apex - 0.12)
            out = habitus.wall(height) * rng.uniform(0.70, 0.92)
            radii = (rng.uniform(0.08, 0.15), rng.uniform(0.10, 0.20))
            patch = _blob(side * x, y, (out, height), radii, ragged=0.22 * cloud, softness=0.30)
            total = np.maximum(total, rng.uniform(0.6, 1.0) * patch * (side * x > 0))
    density = rng.uniform(0.18, 0.30) * total * (1 + 0.28 * cloud)
    return density, 1 - 0.55 * total


def _blob(x: Layer, y: Layer, center: Pair, radii: Pair, *, ragged: Layer, softness: float = 0.18) -> Layer:
    """Return 1 inside an ellipse and 0 outside, with a ragged, soft edge."""
    distance = np.hypot((x - center[0]) / radii[0], (y - center[1]) / radii[1])
    return _step((1 - distance + ragged) / softness)


def _step(value: NDArray[np.floating]) -> Layer:
    """Return a soft step from 0 to 1 around 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(value), dtype=np.float32)
