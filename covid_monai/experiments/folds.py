"""Cross-validation by patient and duplicate group with scikit-learn's splitters, as datalists."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from covid_monai.datasets.datalist import Item
from covid_monai.datasets.grouping import connected_groups

Fold = dict[str, list[Item]]
_VALIDATION_FOLDS = 6  # validation is a sixth of what is not test


def join_patients(items: Sequence[Item], everything: Sequence[Item]) -> list[Item]:
    """Give images one `patient` that a patient or a copy connects, be it over images that are not among them.

    A collection that names no patients gets them so from those that it was copied from.

    Args:
        items: Some of the images.
        everything: All images, with `image`, `patient`, and `group` where an image has copies.

    >>> images = [{"image": str(number), "patient": patient} for number, patient in enumerate("abcab")]
    >>> copies = [{**image, "group": "g"} for image in images[3:]]
    >>> [image["patient"] for image in join_patients(images[:3], images[:3] + copies)]
    ['a', 'a', 'c']
    """
    clusters = connected_groups(everything).tolist()
    named: dict[int, str] = {}
    joined = {
        image["image"]: named.setdefault(cluster, image["patient"])
        for image, cluster in zip(everything, clusters, strict=True)
    }
    return [{**item, "patient": joined[item["image"]]} for item in items]


def make_folds(items: Sequence[Item], *, protocol: str, folds: int, seed: int) -> Iterator[tuple[str, Fold]]:
    """Yield a name and the images of `training`, `validation` and `test`, fold by fold.

    Patients and groups of duplicates are never divided. Validation is drawn from what is not test.

    Args:
        items: Images with `label`, `patient`, `source`, and `group` where an image has copies.
        protocol: `folds`, `leave_one_patient_out` or `leave_one_source_out`. In the last one images whose
            patient or copy is in the source left out are in no split of that fold.
        folds: Of the protocol `folds`.
        seed: Of the draw.

    Raises:
        ValueError: If a class has too few patients, or there is only one source.
    """
    labels, clusters = np.array([item["label"] for item in items]), connected_groups(items)
    for name, rest, test in _outer(items, labels, clusters, protocol=protocol, folds=folds, seed=seed):
        train, held = _draw_validation(labels[rest], clusters[rest], seed=seed, fold=name)
        parts = {"training": rest[train], "validation": rest[held], "test": test}
        yield name, {split: [items[i] for i in rows] for split, rows in parts.items()}


def _draw_validation(
    labels: NDArray[np.int64], clusters: NDArray[np.int64], *, seed: int, fold: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of training and validation; both have every class that there is."""
    classes = np.unique(labels)
    fewest = min(len(np.unique(clusters[labels == label])) for label in classes)
    if fewest >= 2:
        splitter = StratifiedGroupKFold(min(_VALIDATION_FOLDS, fewest), shuffle=True, random_state=seed)
        for train, held in splitter.split(labels, labels, clusters):
            if all(len(np.unique(labels[rows])) == len(classes) for rows in (train, held)):
                return train, held
    raise ValueError(f"fold {fold}: a class has too few patients ({fewest}) for training and validation")


def _outer(
    items: Sequence[Item],
    labels: NDArray[np.int64],
    clusters: NDArray[np.int64],
    *,
    protocol: str,
    folds: int,
    seed: int,
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    rows = np.arange(len(items))
    if protocol == "leave_one_source_out":
        sources = np.array([item["source"] for item in items])
        for rest, test in LeaveOneGroupOut().split(rows, labels, sources):
            apart = ~np.isin(clusters[rest], clusters[test])
            yield str(sources[test[0]]), rest[apart], test
        return
    splitter: Any = LeaveOneGroupOut()
    if protocol == "folds":
        fewest = min(len(np.unique(clusters[labels == label])) for label in np.unique(labels))
        if fewest < folds:
            raise ValueError(f"{folds} folds need as many patients in each class; one class has {fewest}")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (rest, test) in enumerate(splitter.split(rows, labels, clusters), start=1):
        yield f"{number:02}", rest, test
