"""Folds of a cross-validation, with scikit-learn's splitters; by patient, hospital and copy, but for one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from covid_monai.datasets.datalist import Item, hospital_of
from covid_monai.datasets.grouping import connected_groups, whole_hospitals

Fold = dict[str, list[Item]]
_VALIDATION_FOLDS = 6  # validation is a sixth of the images outside the test


def join_patients(items: Sequence[Item], everything: Sequence[Item]) -> list[Item]:
    """Give the same `patient` to images that a patient or a copy connects, also through other images.

    A collection without patients thus gets them from the collections that it was copied from: `everything`
    holds those images too, with `image`, `patient`, and `group` where an image has copies.

    >>> images = [{"image": str(number), "patient": patient} for number, patient in enumerate("abcab")]
    >>> copies = [{**image, "group": "g"} for image in images[3:]]
    >>> [image["patient"] for image in join_patients(images[:3], images[:3] + copies)]
    ['a', 'a', 'c']
    """
    named: dict[int, str] = {}
    joined = {
        image["image"]: named.setdefault(cluster, image["patient"])
        for image, cluster in zip(everything, connected_groups(everything).tolist(), strict=True)
    }
    return [{**item, "patient": joined[item["image"]]} for item in items]


def make_folds(items: Sequence[Item], *, protocol: str, folds: int, seed: int) -> Iterator[tuple[str, Fold]]:
    """Yield the name of each fold, with its images of `training`, `validation` and `test`.

    Patients and groups of duplicates are never divided, and neither are the `whole_hospitals`, except in
    `leave_one_patient_out`. Validation is drawn from the images outside the test.
    `folds_by_image` alone divides them: there each image is a patient of its own, so that the result shows
    how much of a published one is due to that.
    In `leave_one_source_out`, images whose patient, copy or hospital is in the source left out are in no
    split.

    Raises:
        ValueError: A class has too few patients, there is only one source, or a source cannot name a folder.
    """
    if protocol == "folds_by_image":
        items = [{**item, "patient": item["image"], "group": None, "hospital": None} for item in items]
    labels = np.array([item["label"] for item in items])
    whole = set() if protocol == "leave_one_patient_out" else whole_hospitals(items)
    clusters = connected_groups(items, hospitals=whole)
    if protocol in ("folds", "folds_by_image"):
        fewest = _fewest_patients(labels, clusters)
        if fewest < folds:
            found = f"{folds} folds need as many patients in each class, but one class has {fewest}."
            raise ValueError(f"{found} Use fewer folds.")
        splitter: Any = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = LeaveOneGroupOut()
    by_source = protocol == "leave_one_source_out"
    groups, related = clusters, clusters
    if by_source:
        hospitals = {name for item in items if (name := hospital_of(item)) is not None}
        groups = np.array([item["source"] for item in items])
        related = connected_groups(items, hospitals=hospitals)  # also those that are too large for one fold
    for number, (rest, test) in enumerate(splitter.split(labels, labels, groups), start=1):
        rest = rest[~np.isin(related[rest], related[test])]
        name = _check_name(str(groups[test[0]])) if by_source else f"{number:02}"
        train, held = _draw_validation(labels[rest], clusters[rest], seed=seed, fold=name)
        parts = {"training": rest[train], "validation": rest[held], "test": test}
        yield name, {split: [items[i] for i in rows] for split, rows in parts.items()}


def _check_name(source: str) -> str:
    """Return a source that can name the files of its fold; a datalist may hold any text, such as a path."""
    if source in ("", ".", "..") or len(source) > 100 or not source.isprintable() or {*source} & {*"/\\"}:
        problem = f"The source {source[:100]!r} of the datalist cannot name a folder."
        raise ValueError(f"{problem} Rename it, without slashes and with 100 characters at most.")
    return source


def _draw_validation(
    labels: NDArray[np.int64], clusters: NDArray[np.int64], *, seed: int, fold: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of training and of validation, each with images of every class."""
    classes = np.unique(labels)
    fewest = _fewest_patients(labels, clusters)
    if fewest >= 2:
        splitter = StratifiedGroupKFold(min(_VALIDATION_FOLDS, fewest), shuffle=True, random_state=seed)
        for train, held in splitter.split(labels, labels, clusters):
            if all(len(np.unique(labels[rows])) == len(classes) for rows in (train, held)):
                return train, held
    raise ValueError(
        f"Fold {fold}: a class has too few patients for training and validation ({fewest}). Add images of it."
    )


def _fewest_patients(labels: NDArray[np.int64], clusters: NDArray[np.int64]) -> int:
    """Return the number of patients of the class that has the fewest."""
    return min((len(np.unique(clusters[labels == label])) for label in np.unique(labels)), default=0)
