"""The ROC curve of a class with the operating point on it, as a small SVG in the colours of the page."""

from html import escape

from covid_monai.app.widgets.operating_points import Figure

_SIDE, _LEFT, _TOP, _BOTTOM = 220, 40, 10, 38  # pixels of the square, and of the room around it


def roc_svg(curve: list[tuple[float, float]], point: tuple[Figure, Figure] | None, *, title: str) -> str:
    """Draw it.

    Args:
        curve: (1 - specificity, sensitivity) from (0, 0) to (1, 1); empty draws the point alone.
        point: Sensitivity and specificity with their intervals; None draws the curve alone.
        title: What it shows, for those who do not see it.
    """
    width, height = _LEFT + _SIDE + 12, _TOP + _SIDE + _BOTTOM
    parts = [f'<svg class="roc" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<rect class="roc-frame" x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/>')
    parts.append(f'<path class="roc-chance" d="{_path([(0, 0), (1, 1)])}"/>')
    if curve:
        parts.append(f'<path class="roc-curve" d="{_path(curve)}"/>')
    if point is not None:
        parts += _point(*point)
    for share in (0, 0.5, 1):
        x, y = _place(share, 0)
        parts.append(f'<text x="{x}" y="{y + 14}" text-anchor="middle">{share:g}</text>')
        x, y = _place(0, share)
        parts.append(f'<text x="{x - 5}" y="{y + 4}" text-anchor="end">{share:g}</text>')
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 6}" text-anchor="middle">1 - specificity</text>'
    )
    parts.append(
        f'<text text-anchor="middle" transform="translate(12 {middle}) rotate(-90)">sensitivity</text>'
    )
    return "".join([*parts, "</svg>"])


def _place(x: float, y: float) -> tuple[float, float]:
    return round(_LEFT + x * _SIDE, 1), round(_TOP + (1 - y) * _SIDE, 1)


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x} {y}" for x, y in (_place(*point) for point in points))


def _point(sensitivity: Figure, specificity: Figure) -> list[str]:
    """A dot with the intervals of both as a cross."""
    x, y = 1 - (specificity["value"] or 0), sensitivity["value"] or 0
    cross = []
    if sensitivity["low"] is not None and sensitivity["high"] is not None:
        cross.append([(x, sensitivity["low"]), (x, sensitivity["high"])])
    if specificity["low"] is not None and specificity["high"] is not None:
        cross.append([(1 - specificity["high"], y), (1 - specificity["low"], y)])
    lines = [f'<path class="roc-interval" d="{_path(line)}"/>' for line in cross]
    cx, cy = _place(x, y)
    return [*lines, f'<circle class="roc-point" cx="{cx}" cy="{cy}" r="5"/>']
