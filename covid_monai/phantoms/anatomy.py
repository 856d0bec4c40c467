"""Outlines of a thorax for the radiograph phantom, in the body coordinates of `phantoms.canvas`.

`side` is -1 for the patient's right (left of the image) and 1 for the left. No outline depends on the class.
"""

import numpy as np
from numpy.typing import NDArray

from covid_monai.phantoms.canvas import Line, ellipse, spline

SIDES = (-1, 1)
Path2D = NDArray[np.float64]


class Habitus:
    """Build of one person, chosen at random; lengths are in body units (the image is 2 wide)."""

    def __init__(self, seed: int, *, sex: str, view: str) -> None:
        rng = np.random.default_rng([seed, 0])
        self.seed, self.sex = seed, sex  # the seed is the same for every image of the person
        self.apex = rng.uniform(-0.80, -0.70)  # y of the top of the lungs
        self.base = rng.uniform(0.20, 0.44)  # y of the right diaphragm's dome
        self.breadth = rng.uniform(0.68, 0.82)  # half width of the rib cage at its widest
        self.heart = rng.uniform(0.86, 1.14) * (1.15 if view == "AP" else 1.0)  # width, 1 on average
        self.aeration = rng.uniform(0.42, 0.60)  # darkness of the lungs: depends on the depth of the breath
        self.fat = rng.uniform(0.06, 0.16)  # thickness of the soft tissue beside the ribs
        self.ribs = self.apex - rng.uniform(0.0, 0.04)  # y of the first rib's head
        self.rib_gap = (self.base - self.apex) / rng.uniform(9.2, 10.4)

    def random(self, part: int) -> np.random.Generator:
        """Return the random generator of one part of the body."""
        return np.random.default_rng([self.seed, 0, part])

    def wall(self, y: float) -> float:
        """Return the half width of the inside of the rib cage at height `y`."""
        middle, height = 0.30, 0.34 - self.apex
        return float(self.breadth * (max(0.03, 1 - ((middle - min(y, middle)) / height) ** 2.3)) ** 0.52)

    def dome(self, side: int) -> float:
        """Return the height of the top of the diaphragm; the left one is lower."""
        return self.base + (0.05 if side > 0 else 0.0)


def body_outline(habitus: Habitus) -> Path2D:
    """Return the outline of neck, shoulders and flanks."""
    flank = habitus.breadth + habitus.fat
    half = [(0.24, -1.2), (0.27, -0.98), (0.45, -0.90), (0.80, -0.82), (1.08, -0.70), (1.45, -0.40)]
    if habitus.random(1).random() < 0.6:  # the arms are raised, so that the armpit shows
        half += [(1.30, -0.12), (flank + 0.22, -0.16), (flank + 0.11, -0.04)]
    half += [(flank + 0.08, 0.14), (flank + 0.03, 0.50), (flank + 0.05, 1.2)]
    right = np.array([(-x, y) for x, y in half])
    left = np.array(half[::-1])
    return spline(np.concatenate([right, left]), steps=6)


def lung_outline(habitus: Habitus, side: int) -> Path2D:
    """Return the outline of one lung; its inner edge lies behind the mediastinum."""
    dome, apex = habitus.dome(side), habitus.apex
    angle = dome + 0.24  # the costophrenic angle lies well below the dome
    heights = np.linspace(apex + 0.10, angle - 0.08, 6)
    outer = [(habitus.wall(float(y)), float(y)) for y in heights]
    breadth = habitus.wall(angle)
    points = [
        (0.10, apex + 0.12),
        (0.20, apex + 0.015),
        *outer,
        (breadth * 0.995, angle),
        (breadth * 0.90, dome + 0.105),
        (breadth * 0.70, dome + 0.012),
        (breadth * 0.48, dome),
        (breadth * 0.25, dome + 0.05),
        (0.06, dome + 0.12),
        (0.04, 0.0),
    ]
    jitter = habitus.random(2).normal(0, 0.008, (len(points), 2))
    return spline(np.array(points) + jitter, closed=True) * (side, 1)


def mediastinum_outline(habitus: Habitus) -> Path2D:
    """Return great vessels and heart: aortic knob and left ventricle on the left, right atrium opposite."""
    rng = habitus.random(3)
    w, base = habitus.heart, habitus.base
    knob = rng.uniform(0.125, 0.175)
    points = [
        (-0.13, -1.1), (-0.11, -0.75), (-0.10, -0.55), (-0.125, -0.38), (-0.12, -0.20), (-0.13, base - 0.34),
        (-0.20 * w, base - 0.20), (-0.225 * w, base - 0.05), (-0.19 * w, base + 0.12), (0.0, base + 0.26),
        (0.36 * w, base + 0.19), (0.46 * w, base + 0.08), (0.43 * w, base - 0.05), (0.33 * w, base - 0.20),
        (0.22 * w, base - 0.34), (0.15, base - 0.44), (0.125, -0.19), (knob, -0.27), (knob, -0.35),
        (0.11, -0.43), (0.10, -0.6), (0.11, -0.75), (0.13, -1.1),
    ]  # fmt: skip
    return spline(np.array(points) + rng.normal(0, 0.006, (len(points), 2)), closed=True)


def abdomen(habitus: Habitus) -> Path2D:
    """Return liver and spleen under the domes of the diaphragm."""
    dome, breadth = habitus.base + 0.12, habitus.breadth
    top = [(-breadth, dome + 0.2), (-0.4, dome), (0, dome + 0.03), (0.4, dome + 0.05), (breadth, dome + 0.2)]
    return spline([(-breadth, 1.3), *top, (breadth, 1.3)])


def posterior_ribs(habitus: Habitus) -> list[Line]:
    """Return ten pairs of ribs, from the spine outwards and down."""
    rng = habitus.random(4)
    lines = []
    for number in range(10):
        head = habitus.ribs + number * habitus.rib_gap + rng.normal(0, 0.004)
        drop = habitus.rib_gap * (1.0 + 0.16 * number)
        for side in SIDES:
            out = habitus.wall(head + drop) + 0.012
            knots = [(0.06, head), (0.24 * out + 0.06, head - 0.025), (0.60 * out, head + 0.02)]
            knots += [(0.86 * out, head + 0.40 * drop), (out, head + 1.0 * drop)]
            lines.append(Line(spline(knots) * (side, 1), 0.046 * rng.uniform(0.9, 1.1)))
    return lines


def anterior_ribs(habitus: Habitus) -> list[Line]:
    """Return the flatter front ends of the ribs, from the flank inwards to the cartilage."""
    rng = habitus.random(5)
    lines = []
    for number in range(7):
        head = habitus.ribs + number * habitus.rib_gap
        start = head + habitus.rib_gap * (1.0 + 0.16 * number)
        drop = habitus.rib_gap * (1.5 + 0.10 * number)
        for side in SIDES:
            out, end = habitus.wall(start) + 0.012, rng.uniform(0.28, 0.40)
            knots = [(out, start), (0.92 * out, start + 0.45 * drop), (0.70 * out, start + 0.82 * drop)]
            knots.append((end * out + 0.05, start + drop))
            lines.append(Line(spline(knots) * (side, 1), 0.05 * rng.uniform(0.9, 1.1)))
    return lines


def clavicles(habitus: Habitus) -> list[Line]:
    """Return the two S-shaped bones over the tops of the lungs."""
    rng = habitus.random(6)
    inner = habitus.apex + rng.uniform(0.16, 0.24)
    outer = inner - 0.95 * (rise := rng.uniform(0.10, 0.20))
    knots = [(0.055, inner), (0.20, inner - 0.015), (0.42, inner - 0.45 * rise), (0.64, outer), (0.93, outer)]
    return [Line(spline(knots) * (side, 1), 0.056) for side in SIDES]


def shoulders(habitus: Habitus) -> list[Path2D]:
    """Return shoulder blades and upper arms."""
    rng = habitus.random(7)
    inner = rng.uniform(0.62, 0.76)
    blade = [(inner, -0.50), (0.82, -0.68), (0.97, -0.66), (0.90, -0.40), (0.80, -0.02), (0.72, 0.02)]
    head = ellipse((1.01, -0.63), (0.10, 0.11))
    shaft = np.array([(0.94, -0.6), (1.08, -0.64), (1.30, -0.1), (1.20, -0.1)])
    return [shape * (side, 1) for side in SIDES for shape in (spline(blade, closed=True), head, shaft)]


def vertebrae(habitus: Habitus) -> list[Path2D]:
    """Return the vertebral bodies."""
    gap = habitus.rib_gap * 1.02
    half, wide, waist = gap * 0.42, 0.078, 0.068
    corners = [(-wide, -half), (wide, -half), (waist, 0), (wide, half), (-wide, half), (-waist, 0)]
    return [np.array([(x, y + center) for x, y in corners]) for center in np.arange(-1.05, 1.1, gap)]


def airways(habitus: Habitus) -> list[Line]:
    """Return trachea and main bronchi, which are dark."""
    fork = habitus.random(8).uniform(-0.30, -0.24)
    trachea = [(0.0, -1.1), (-0.005, -0.6), (-0.015, fork)]
    return [
        Line(spline(trachea), 0.072),
        Line(spline([(-0.015, fork), (-0.08, fork + 0.07), (-0.13, fork + 0.15)]), 0.045),
        Line(spline([(-0.015, fork), (0.07, fork + 0.08), (0.15, fork + 0.13)]), 0.038),
    ]


def vessels(habitus: Habitus) -> list[Line]:
    """Return the pulmonary vessels, which leave the hilum, branch and taper."""
    rng = habitus.random(9)
    side = np.repeat(SIDES, 9)
    angle = np.tile(np.linspace(-1.3, 1.4, 9), 2) + rng.normal(0, 0.14, 18)
    start = np.stack([rng.uniform(0.10, 0.15, 18), -0.06 + 0.09 * angle], axis=1)
    width = rng.uniform(0.022, 0.032, 18)
    lines: list[Line] = []
    for _ in range(5):  # generations of branches
        bend = rng.normal(0, 0.22, len(side))
        headings = np.stack([angle + 0.3 * bend, angle + bend], axis=1)
        steps = np.stack([np.cos(headings), np.sin(headings)], axis=2)
        steps *= rng.uniform(0.03, 0.085, len(side))[:, None, None]
        paths = np.concatenate([start[:, None], start[:, None] + np.cumsum(steps, axis=1)], axis=1)
        paths[..., 0] *= side[:, None]
        levels = np.minimum(1.0, 0.15 + 30 * width)
        lines += [Line(p, w, level=v) for p, w, v in zip(paths, width, levels, strict=True)]
        fork = rng.uniform(0.15, 0.6, (2, len(side))) * [[1], [-1]]
        angle, width = (angle + bend + fork).ravel(), np.tile(0.70 * width, 2)
        start, side = np.tile(start + steps.sum(axis=1), (2, 1)), np.tile(side, 2)
    return lines


def breasts(habitus: Habitus) -> list[Path2D]:
    """Return the breast shadows of a woman; none for a man."""
    if habitus.sex != "F":
        return []
    rng = habitus.random(10)
    radius, y = rng.uniform(0.24, 0.36), rng.uniform(0.10, 0.25)
    return [ellipse((side * 0.46, y), (radius, radius * 1.05)) for side in SIDES]


def stomach_bubble(habitus: Habitus) -> Path2D:
    """Return the gas under the left dome of the diaphragm."""
    rng = habitus.random(11)
    center = (rng.uniform(0.30, 0.46), habitus.dome(1) + rng.uniform(0.13, 0.20))
    return ellipse(center, (rng.uniform(0.05, 0.13), rng.uniform(0.03, 0.07)))
