"""Tables of the label against properties that should not predict it, with the strength of the association."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from covid_monai.evaluation.metrics.subgroups import NOT_RECORDED, age_bands
from covid_monai.evaluation.shortcuts.image_properties import ImageProperties

THIN_BELOW = 10  # patients
_SHAPES = (
    (0.8, "tall: under 0.8"),
    (0.95, "0.80 to 0.95"),
    (1.05, "square: 0.95 to 1.05"),
    (1.25, "1.05 to 1.25"),
)
_MOST_ROWS = 8
# Cohen, Statistical power analysis for the behavioral sciences, 1988, table 7.2: small, medium, large.
_STRENGTHS = ((0.1, "hardly any"), (0.3, "weak"), (0.5, "moderate"), (2.0, "strong"))

Item = dict[str, Any]


def confounding_tables(
    items: Sequence[Item],
    properties: Sequence[ImageProperties],
    groups: NDArray[np.int64],
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Label against source, view, sex, age and properties of file and image.

    Args:
        items: N records of a datalist.
        properties: Properties of their files.
        groups: Shape [N], patient of each.
        class_names: Names in the order of the labels.

    Returns:
        For each table `title`, `columns`, `rows` and `note`; a cell is "images (patients)", with a star where
        it rests on 1 to 9 patients. `cramers_v` is None where there is only one row or one class.
    """
    labels = np.array([item["label"] for item in items], dtype=np.int64)
    return [
        _table(title, levels, labels, groups, class_names)
        for title, levels in _levels(items, properties).items()
    ]


def _levels(items: Sequence[Item], properties: Sequence[ImageProperties]) -> dict[str, list[str]]:
    """Return the level of each image, by the title of the table."""

    def known(key: str) -> list[str]:
        return [NOT_RECORDED if item.get(key) in (None, "") else str(item[key]) for item in items]

    def numbers(value: Callable[[ImageProperties], float], digits: int = 2) -> list[str]:
        return _thirds([value(image) for image in properties], digits)

    ages = np.array([a if type(a := item.get("age")) in (int, float) else np.nan for item in items], float)
    return {
        "source": known("source"),
        "view": known("view"),
        "sex": known("sex"),
        "age": age_bands(ages).tolist(),
        "size in pixels": _most_frequent([f"{image.rows} x {image.columns}" for image in properties]),
        "width / height": [_shape(image.columns / image.rows) for image in properties],
        "file type": [image.file_type for image in properties],
        "colour and depth": [image.depth for image in properties],
        "JPEG compression": numbers(lambda image: image.compression, 1),
        "mean grey": numbers(lambda image: image.mean_grey),
        "frame around the image": [_frame(image.frame_share) for image in properties],
        "sharpness": numbers(lambda image: image.sharpness),
    }


def _shape(aspect: float) -> str:
    return next((name for limit, name in _SHAPES if aspect < limit), "wide: 1.25 and over")


def _frame(share: float) -> str:
    return "none" if share == 0 else "under 5 % of the area" if share < 0.05 else "5 % and more"


def _most_frequent(levels: list[str]) -> list[str]:
    kept = {level for level, _ in Counter(levels).most_common(_MOST_ROWS)}
    return [level if level in kept else "other" for level in levels]


def _thirds(values: Sequence[float], digits: int) -> list[str]:
    """Divide the images into thirds by a value, so that no row is empty."""
    low, high = (round(float(cut), digits) for cut in np.quantile(values, [1 / 3, 2 / 3]))
    if low == high:
        return [f"{low:g} or less" if value <= low else f"over {low:g}" for value in values]
    names = (f"{low:g} or less", f"over {low:g} to {high:g}", f"over {high:g}")
    return [names[int(np.searchsorted([low, high], value))] for value in values]


def _table(
    title: str,
    levels: Sequence[str],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, Any]:
    names, row = np.unique(levels, return_inverse=True)
    images = np.zeros((len(names), len(class_names)), dtype=np.int64)
    np.add.at(images, (row, labels), 1)
    patients = np.zeros_like(images)
    each = np.unique(np.stack([row, labels, groups]), axis=1)
    np.add.at(patients, (each[0], each[1]), 1)
    strength, note = _association(patients)
    return {
        "title": f"Label by {title}",
        "columns": [title, *class_names],
        "rows": [
            [str(name), *(_cell(n, p) for n, p in zip(counts, people, strict=True))]
            for name, counts, people in zip(names, images.tolist(), patients.tolist(), strict=True)
        ],
        "note": note,
        "cramers_v": strength,
    }


def _cell(images: int, patients: int) -> str:
    if images == 0:
        return "0"
    return f"{images:,} ({patients:,}){'*' if patients < THIN_BELOW else ''}"


def _association(patients: NDArray[np.int64]) -> tuple[float | None, str]:
    """Return Cramer's V of a table of patients, because images of one patient are not independent."""
    filled = patients[patients.sum(axis=1) > 0][:, patients.sum(axis=0) > 0]
    if min(filled.shape) < 2:
        return None, "All images have the same value, so there is nothing to compare."
    strength = float(association(filled, method="cramer"))
    test = chi2_contingency(filled)
    words = next(word for limit, word in _STRENGTHS if strength < limit)
    p_value = "p < 0.001" if test.pvalue < 0.001 else f"p = {test.pvalue:.3f}"
    return strength, (
        f"Cramer's V {strength:.2f} ({words}); chi-square {test.statistic:.1f}, {test.dof} degrees of "
        f"freedom, {p_value}, counting patients. Cells: images (patients); * means fewer than 10 patients."
    )
