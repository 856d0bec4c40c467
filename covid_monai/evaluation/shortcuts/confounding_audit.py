"""Confounding audit: whether the label can be predicted without looking at the lungs.

References: Maguolo and Nanni, Information Fusion 2021;76:1-7; DeGrave, Janizek and Lee, Nat Mach Intell
2021;3:610-619; Zech et al., PLoS Med 2018;15:e1002683 (the hospital read off the image).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.parallel import map_in_threads
from covid_monai.datasets.grouping import connected_groups
from covid_monai.evaluation.shortcuts.confounding_tables import confounding_tables
from covid_monai.evaluation.shortcuts.image_properties import ImageProperties, read_all_properties
from covid_monai.evaluation.shortcuts.shortcut_probes import (
    any_shortcut,
    beyond_chance,
    cross_validated_auroc,
    file_properties,
    is_shortcut,
    no_auroc,
    pixels,
    property_model,
    strongest_words,
    transferred_auroc,
)

if TYPE_CHECKING:
    from covid_monai.transforms.hidden_box import Box

Item = dict[str, Any]
Integers = NDArray[np.int64]

_CONTROLS = {
    "border": "the image border alone",
    "lungs hidden": "the image with the lungs hidden",
    "file": "the properties of the file alone",
}
_QUESTIONS = {
    "border": "Can the label be predicted from the image border alone?",
    "lungs hidden": "Can the label be predicted with the lungs hidden?",
    "file": "Can the label be predicted from size, shape, type, depth and compression of the file alone?",
    "whole image": "For comparison: can the same small model predict the label from the whole image?",
}
# Cramer's V that Cohen calls strong, for a table with two classes.
_STRONG_ASSOCIATION = 0.5


def audit_confounding(
    records: Sequence[Item],
    class_names: Sequence[str],
    *,
    find_lungs: "Callable[[NDArray[np.uint8]], Box]",
    root: Path = Path(),
) -> dict[str, Any]:
    """Tabulate the label against properties that should not predict it, and let probes try to predict it.

    Args:
        records: Items of a datalist, all splits together: `image`, `label`, and where known `patient`,
            `group`, `source`, `view`, `sex`, `age`.
        class_names: Names in the order of the labels.
        find_lungs: Function of a grey thumbnail `[64, 64]` to the box that hides its lungs, in any thread.
        root: Folder that relative `image` paths start from; the current folder by default.

    Returns:
        Plain values for JSON. `verdict`: one sentence. `shortcut`: True, False, or None where there are too
        few cases. `tables`: `title`, `columns`, `rows`, `note`, `cramers_v`. `probes`: `name`, `question`,
        `auroc` and `per_class` (`value`, `low`, `high`), `images`, `patients`, `note`. `unreadable`: paths
        of the files that could not be read.

    Raises:
        ValueError: If there are no records, or none of their files can be read.
    """
    if not records:
        raise ValueError("The datalist has no records, so there is nothing to audit.")
    properties = read_all_properties([root / item["image"] for item in records])
    opened = list(zip(records, properties, strict=True))
    pairs = [(item, image) for item, image in opened if image is not None]
    if not pairs:
        raise ValueError(
            f"None of the {len(records)} images can be read; the first is {root / records[0]['image']}. "
            "Check the folder of the images."
        )
    items, images = [item for item, _ in pairs], [image for _, image in pairs]
    groups = connected_groups(items)
    tables = confounding_tables(items, images, groups, class_names)
    lungs = list(
        map_in_threads(find_lungs, [i.thumbnail for i in images], "finding the lungs", total=len(images))
    )
    probes = _probes(items, images, lungs, groups, class_names)
    shortcut, verdict = _verdict(probes, tables)
    found = {"verdict": verdict, "shortcut": shortcut, "tables": tables, "probes": probes}
    return found | {"unreadable": [str(item["image"]) for item, image in opened if image is None]}


def _probes(
    items: Sequence[Item],
    images: Sequence[ImageProperties],
    lungs: "Sequence[Box]",
    groups: Integers,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    from covid_monai.transforms.hidden_box import INSIDE  # imports torch: only where it is needed

    labels = np.array([item["label"] for item in items], dtype=np.int64)
    whole = pixels(images)
    features = {
        "border": pixels(images, hidden=[INSIDE] * len(images)),
        "lungs hidden": pixels(images, hidden=lungs),
        "file": file_properties(images),
        "whole image": whole,
    }
    found = []
    for name, question in _QUESTIONS.items():
        model = property_model() if name == "file" else None
        result = cross_validated_auroc(features[name], labels, groups, class_names, model=model)
        found.append({"name": name, "question": question, **result})
    return found + _source_probes(items, whole, labels, groups, class_names)


def _source_probes(
    items: Sequence[Item],
    whole: NDArray[np.float32],
    labels: Integers,
    groups: Integers,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Predict the source from the image, and the label in each source after training on the others."""
    source_of = np.array([str(item.get("source") or "unknown") for item in items])
    names = sorted(set(source_of.tolist()))
    numbers = np.searchsorted(names, source_of)
    predicted = cross_validated_auroc(whole, numbers.astype(np.int64), groups, names)
    found = [{"name": "source", "question": "Can the source be predicted from the image?", **predicted}]
    for name in names:
        question = f"After training on all other sources, can the label be predicted for images of {name}?"
        result = (
            transferred_auroc(whole, labels, groups, class_names, left_out=source_of == name)
            if len(names) > 1
            else no_auroc("there is only one source")
        )
        found.append({"name": f"leave out {name}", "question": question, **result})
    return found


def _verdict(probes: Sequence[dict[str, Any]], tables: Sequence[dict[str, Any]]) -> tuple[bool | None, str]:
    controls = {probe["name"]: probe for probe in probes if probe["name"] in _CONTROLS and probe["per_class"]}
    judged = {name: is_shortcut(probe["per_class"]) for name, probe in controls.items()}
    shortcut = any_shortcut(list(judged.values()))
    figures = {
        name: f"{_CONTROLS[name]}: AUROC {strongest_words(probe['per_class'])}"
        for name, probe in controls.items()
    }
    if shortcut:
        found = "; from ".join(words for name, words in figures.items() if judged[name])
        return True, f"Shortcut: the label can be predicted from {found}. Do not believe the headline."
    everything = "; from ".join(figures.values())
    by_source = next(table["cramers_v"] for table in tables if table["title"] == "Label by source")
    if (by_source or 0) >= _STRONG_ASSOCIATION:
        return None, (
            f"Label and source go together (Cramer's V {by_source:.2f}), so the disease cannot be "
            "distinguished from the source in these data."
        )
    if limit := beyond_chance([probe["per_class"] for probe in controls.values()], shortcut):
        found = "Without the lungs the label can be predicted better than by chance"
        return shortcut, f"{found}, but {limit} (from {everything})."
    if shortcut is None:
        tried = f" (from {everything})" if everything else ""
        return None, (
            f"There are too few patients to say whether the label can be predicted without the lungs{tried}."
        )
    return False, f"No sign that the label can be predicted without the lungs (from {everything})."
