"""Synthetic chest radiographs: a thorax drawn from outlines, with or without disease.

An image is a sum of attenuations (soft tissue, air, bone) that goes through a display curve, so that
structures overlap as they do in a projection. The person, the positioning, the exposure and the disease come
from separate random streams: what is drawn for a class differs in its opacities and in nothing else.

The images exist to prove that a pipeline works. They teach nothing about patients.
"""

import numpy as np

from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.phantoms import anatomy as anatomy
from covid_monai.phantoms.anatomy import Habitus
from covid_monai.phantoms.canvas import Canvas, Layer, Line
from covid_monai.phantoms.disease import draw_opacity

_MINIMUM_SIZE = 64


def draw_radiograph(
    class_name: str, *, seed: int, size: int = 512, repeat: int = 0, sex: str = "M", view: str = "PA"
) -> Layer:
    """Draw a frontal chest radiograph that looks like one.

    Args:
        class_name: `normal`, `pneumonia` (one lobe consolidated) or `covid` (hazy opacities along the chest
            wall of both lungs, more of them below).
        seed: The person: build and, where there is one, disease.
        size: Rows and columns; at least 64.
        repeat: Number of the image of this person: positioned, exposed and noisy anew.
        sex: `F` or `M`: breast shadows or none.
        view: `PA` or `AP`: in AP the heart is magnified and the person lies less straight.

    Returns:
        [size, size], rows first, the patient's left on the right; 0 is black (air), 1 is white (bone).

    Raises:
        ValueError: If `class_name` is not one of the three, or `size` is too small.

    >>> image = draw_radiograph("covid", seed=3, size=128)
    >>> image.shape, image.dtype.name, bool(image.min() >= 0 and image.max() <= 1)
    ((128, 128), 'float32', True)
    """
    if class_name not in DEFAULT_CLASS_NAMES:
        raise ValueError(f"no phantom for class {class_name!r}: choose from {', '.join(DEFAULT_CLASS_NAMES)}")
    if size < _MINIMUM_SIZE:
        raise ValueError(f"a phantom image of {size} pixels is too small: {_MINIMUM_SIZE} or more")
    habitus = Habitus.draw(seed, sex=sex, view=view)
    rng = np.random.default_rng([seed, 1, repeat])
    canvas = _position(rng, size=size, view=view)
    attenuation = _thorax(canvas, habitus, class_name)
    attenuation += _lead_marker(canvas, rng)
    return _expose(attenuation, rng)


def plant_marker(image: Layer) -> Layer:
    """Return a copy with a bright square in the lower left corner: a shortcut to be found by an audit."""
    side = max(2, image.shape[0] // 24)
    marked = image.copy()
    marked[-2 * side : -side, side : 2 * side] = 1.0
    return marked


def _position(rng: np.random.Generator, *, size: int, view: str) -> Canvas:
    """Place the person in front of the detector."""
    angle = rng.normal(0, 0.02 if view == "PA" else 0.035)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag(rng.uniform(0.94, 1.10) * rng.uniform(0.97, 1.03, 2))
    return Canvas(size, matrix=turn @ scale, shift=rng.normal(0, (0.025, 0.035)))


def _thorax(canvas: Canvas, habitus: Habitus, class_name: str) -> Layer:
    """Sum up the attenuation of soft tissue, air, opacities, vessels and bone."""
    soft = canvas.reduced(smallest=256)  # below, blurred edges would show steps
    air = _air(soft, habitus)
    opacity = draw_opacity(class_name, soft.reduced(smallest=128), habitus)
    image = _soft_tissue(soft, habitus) + _soft_bones(soft, habitus, air)
    image += air * (soft.enlarge(opacity.density) - habitus.aeration)
    markings = air * (0.17 * soft.enlarge(opacity.vessel_contrast))
    image += 0.08 * markings * soft.noise(habitus.random(21), cells=(40, 80))
    image = canvas.enlarge(image)
    image += canvas.enlarge(markings) * canvas.stroke(anatomy.vessels(habitus), blur=1.5)
    # Ribs show where lung lies behind them, and less through thick soft tissue.
    image += canvas.enlarge(0.035 + 0.09 * air) * _tubes(canvas, anatomy.posterior_ribs(habitus))
    image += 0.11 * _tubes(canvas, anatomy.clavicles(habitus))
    return image


def _air(canvas: Canvas, habitus: Habitus) -> Layer:
    """How much air the rays cross: most in the middle of each lung, little behind the heart."""
    lungs = [anatomy.lung_outline(habitus, side) for side in anatomy.SIDES]
    depth = 0.62 + 0.38 * canvas.fill(lungs, blur=22)
    center = canvas.fill([anatomy.mediastinum_outline(habitus)], blur=3)
    return canvas.fill(lungs, blur=2.2) * depth * (1 - 0.93 * center)


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
    """Bones with a dense cortex: brighter along both edges."""
    inner = [line._replace(width=line.width * 0.55, level=0.62) for line in lines]
    return canvas.stroke([*lines, *inner], blur=1.6)


def _lead_marker(canvas: Canvas, rng: np.random.Generator) -> Layer:
    """The letter L that a radiographer lays on the patient's left."""
    corner = np.array([rng.uniform(0.80, 0.86), rng.uniform(-0.96, -0.90)])
    letter = np.array([(0.0, 0.0), (0.0, 0.07), (0.045, 0.07)]) + corner
    upright = Canvas(canvas.size)
    return 0.9 * upright.stroke([Line(letter, 0.016)], blur=0.7)


def _expose(attenuation: Layer, rng: np.random.Generator) -> Layer:
    """Image curve, quantum noise and the exposure of the day: none of it depends on the class."""
    gain, offset, gamma = rng.uniform(0.95, 1.25), rng.uniform(-0.03, 0.05), rng.uniform(0.8, 1.25)
    noise = rng.standard_normal(attenuation.shape, dtype=np.float32)
    light = np.maximum(gain * attenuation + offset + rng.uniform(0.006, 0.016) * noise, 0)
    squared = light * light
    light /= np.sqrt(np.sqrt(1 + squared * squared))  # white is reached slowly, as on image
    return np.asarray(np.minimum(light, 1) ** np.float32(gamma), dtype=np.float32)
