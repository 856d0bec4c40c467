"""Folds of a cross-validation by patient and duplicate group, with scikit-learn's splitters."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from covid_monai.datasets.datalist import Item
from covid_monai.datasets.grouping import connected_groups

Fold = dict[str, list[Item]]
_VALIDATION_FOLDS = 6  # validation is a sixth of the images outside the test


def join_patients(items: Sequence[Item], everything: Sequence[Item]) -> list[Item]:
    """Give the same `patient` to images that a patient or a copy connects, also through other images.

    A collection without patients thus gets them from the collections that it was copied from.

    Args:
        items: Images to return.
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
    """Yield the name of each fold, with its images of `training`, `validation` and `test`.

    Patients and groups of duplicates are never divided. Validation is drawn from the images outside the test.

    Args:
        items: Images with `label`, `patient`, `source`, and `group` where an image has copies.
        protocol: `folds`, `leave_one_patient_out` or `leave_one_source_out`. In the last one, images whose
            patient or copy is in the source left out are in no split of that fold.
        folds: Number of folds of the protocol `folds`.
        seed: Seed of the random draw.

    Raises:
        ValueError: A class has too few patients, or there is only one source.
    """
    labels, clusters = np.array([item["label"] for item in items]), connected_groups(items)
    for name, rest, test in _split_test(items, labels, clusters, protocol=protocol, folds=folds, seed=seed):
        train, held = _draw_validation(labels[rest], clusters[rest], seed=seed, fold=name)
        parts = {"training": rest[train], "validation": rest[held], "test": test}
        yield name, {split: [items[i] for i in rows] for split, rows in parts.items()}


def _draw_validation(
    labels: NDArray[np.int64], clusters: NDArray[np.int64], *, seed: int, fold: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of training and of validation, each with images of every class."""
    classes = np.unique(labels)
    fewest = min(len(np.unique(clusters[labels == label])) for label in classes)
    if fewest >= 2:
        splitter = StratifiedGroupKFold(min(_VALIDATION_FOLDS, fewest), shuffle=True, random_state=seed)
        for train, held in splitter.split(labels, labels, clusters):
            if all(len(np.unique(labels[rows])) == len(classes) for rows in (train, held)):
                return train, held
    raise ValueError(
        f"Fold {fold}: a class has too few patients for training and validation ({fewest}). Add images of it."
    )


def _split_test(
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
            separate = ~np.isin(clusters[rest], clusters[test])
            yield str(sources[test[0]]), rest[separate], test
        return
    splitter: Any = LeaveOneGroupOut()
    if protocol == "folds":
        fewest = min(len(np.unique(clusters[labels == label])) for label in np.unique(labels))
        if fewest < folds:
            raise ValueError(
                f"{folds} folds need as many patients in each class, but one class has {fewest}. "
                "Use fewer folds."
            )
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (rest, test) in enumerate(splitter.split(rows, labels, clusters), start=1):
        yield f"{number:02}", rest, test
