"""Probes: small models that try to read a label from what should not tell it.

A probe is kept small on purpose. What a linear model finds on 32 x 32 pixels, a deep network finds too, and
it finds more: a probe at chance proves nothing, a probe far above chance does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.shortcuts.image_properties import THUMBNAIL_SIZE, ImageProperties

Features = NDArray[Any]
Integers = NDArray[np.int64]

FEWEST_PATIENTS = 10  # in a class: two for each of five folds
_FOLDS = 5
_SIZE = 32
_COMPONENTS = 100
_RESAMPLES = 500
SHORTCUT_ABOVE = 0.60
CLEAR_BELOW = 0.75

Auroc = Mapping[str, float | None]


def pixels(facts: Sequence[ImageProperties], *, hidden: str | None = None) -> Features:
    """Pixels of the thumbnails, 32 x 32 or what is left of it.

    Args:
        facts: N files.
        hidden: Region to leave out, a name of `covid_monai.transforms.hide_region.REGIONS`.

    Returns:
        `[N, P]`, float32 in [0, 1].
    """
    from covid_monai.transforms.hide_region import hidden_region  # imports torch: only where it is needed

    block = THUMBNAIL_SIZE // _SIZE
    full = np.stack([image.thumbnail for image in facts]).reshape(-1, _SIZE, block, _SIZE, block)
    small = full.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
    kept = np.ones((_SIZE, _SIZE), dtype=bool) if hidden is None else ~hidden_region(hidden, _SIZE, _SIZE)
    return np.ascontiguousarray(small[:, kept])


def file_properties(facts: Sequence[ImageProperties]) -> Features:
    """What the file says without its picture: size, shape, type, depth, compression; `[N, 6]`, objects."""
    rows = [(f.rows, f.columns, f.columns / f.rows, f.compression, f.file_type, f.depth) for f in facts]
    return np.array(rows, dtype=object)


def picture_model(seed: int, *, images: int, features: int) -> Pipeline:
    """Principal components of the pixels, then logistic regression."""
    components = max(1, min(_COMPONENTS, features, images // 2))
    return make_pipeline(
        PCA(components, whiten=True, random_state=seed), LogisticRegression(C=0.1, max_iter=500)
    )


def property_model(seed: int) -> Pipeline:
    """Boosted trees on `file_properties`, whose last two columns are words."""
    numbered = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    encode = make_column_transformer((numbered, [4, 5]), remainder="passthrough")
    return make_pipeline(encode, HistGradientBoostingClassifier(max_iter=50, random_state=seed))


def cross_validated_auroc(
    features: Features,
    labels: Integers,
    groups: Integers,
    names: Sequence[str],
    *,
    seed: int,
    model: Pipeline | None = None,
) -> dict[str, Any]:
    """AUROC of a probe by cross-validation that keeps every patient in one fold.

    Args:
        features: `[N, P]`.
        labels: Shape [N]. Classes with fewer than `FEWEST_PATIENTS` groups are left out.
        groups: Shape [N], from `connected_groups`.
        names: Of all classes, in the order of their labels.
        seed: Of the folds.
        model: Untrained; by default `picture_model`.

    Returns:
        `auroc` (macro, one against the rest) and `per_class`, each `{"value", "low", "high"}`, `images` and
        `patients` that they rest on, and `note`. Where fewer than two classes are large enough, `value` is
        None and `note` says why.
    """
    kept = np.flatnonzero(np.isin(labels, large_classes(labels, groups)))
    present = np.unique(labels[kept])
    if len(present) < 2:
        return no_auroc(f"fewer than two classes have {FEWEST_PATIENTS} patients")
    if (features[kept] == features[kept[0]]).all():
        return no_auroc("the files do not differ in them")
    if model is None:
        model = picture_model(seed, images=len(kept), features=features.shape[1])
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(
        model, features[kept], labels[kept], groups=groups[kept], cv=folds, method="predict_proba"
    )
    return _scored(labels[kept], probabilities, groups[kept], [names[k] for k in present])


def transferred_auroc(
    features: Features,
    labels: Integers,
    groups: Integers,
    names: Sequence[str],
    *,
    left_out: NDArray[np.bool_],
    seed: int,
) -> dict[str, Any]:
    """AUROC on the images of one source, of a probe trained on all others; see `cross_validated_auroc`.

    Images elsewhere of a left-out patient take no part.
    """
    rest = ~left_out & ~np.isin(groups, groups[left_out])
    trained = large_classes(labels[rest], groups[rest])
    tested = np.intersect1d(large_classes(labels[left_out], groups[left_out]), trained)
    if len(tested) < 2:
        return no_auroc(f"fewer than two classes have {FEWEST_PATIENTS} patients both in it and elsewhere")
    train, test = rest & np.isin(labels, trained), left_out & np.isin(labels, tested)
    model = picture_model(seed, images=int(train.sum()), features=features.shape[1])
    found = model.fit(features[train], labels[train]).predict_proba(features[test])
    columns = found[:, np.searchsorted(trained, tested)] + 1e-9
    return _scored(
        labels[test], columns / columns.sum(axis=1, keepdims=True), groups[test], [names[k] for k in tested]
    )


def large_classes(labels: Integers, groups: Integers) -> Integers:
    """Labels of at least `FEWEST_PATIENTS` groups, in order."""
    return np.array(
        [k for k in np.unique(labels) if len(np.unique(groups[labels == k])) >= FEWEST_PATIENTS],
        dtype=np.int64,
    )


def no_auroc(reason: str) -> dict[str, Any]:
    """What stands for a probe that cannot be had."""
    nothing = {"value": None, "low": None, "high": None}
    return {
        "auroc": nothing,
        "per_class": {},
        "images": 0,
        "patients": 0,
        "note": f"Cannot be had: {reason}.",
    }


def _scored(
    labels: Integers, probabilities: NDArray[np.float64], groups: Integers, names: Sequence[str]
) -> dict[str, Any]:
    index = np.unique(labels, return_inverse=True)[1]
    metrics = metrics_with_intervals(
        index, probabilities.argmax(axis=1), probabilities, groups, names, resamples=_RESAMPLES
    )
    return {
        "auroc": metrics["auroc"],
        "per_class": {name: metrics["per_class"][name]["auroc"] for name in names},
        "images": len(labels),
        "patients": len(np.unique(groups)),
        "note": "",
    }


def is_shortcut(per_class: Mapping[str, Auroc]) -> bool | None:
    """Judge one control by the intervals of its classes; None if they are too wide, or there are none.

    >>> is_shortcut({"covid": {"value": 0.98, "low": 0.97, "high": 0.99}})
    True
    >>> is_shortcut({"covid": {"value": 0.55, "low": 0.30, "high": 0.80}}) is None
    True
    """
    intervals = [auroc for auroc in per_class.values() if auroc["low"] is not None]
    if any(auroc["low"] > SHORTCUT_ABOVE for auroc in intervals):  # type: ignore[operator]
        return True
    clear = [auroc["high"] is not None and auroc["high"] < CLEAR_BELOW for auroc in per_class.values()]
    return False if clear and all(clear) else None


def any_shortcut(judged: list[bool | None]) -> bool | None:
    """Judge several controls together: one is enough to find a shortcut, all are needed to find none."""
    if any(judged):
        return True
    return False if judged and None not in judged else None


def strongest_words(per_class: Mapping[str, Auroc]) -> str:
    """AUROC with interval of the class that is told best; its name where there are more than two.

    >>> strongest_words({"a": {"value": 0.5, "low": None, "high": None}})
    '0.50'
    """
    name, auroc = max(per_class.items(), key=lambda pair: (pair[1]["low"] or 0, pair[1]["value"] or 0))
    return f"{auroc_words(auroc)} for {name}" if len(per_class) > 2 else auroc_words(auroc)


def auroc_words(auroc: Mapping[str, Any]) -> str:
    """An AUROC with its interval, for a sentence."""
    value, low, high = auroc["value"], auroc["low"], auroc["high"]
    if value is None:
        return "unknown"
    if high is not None and high < 0.5:  # the folds differ by more than the classes do
        return f"{value:.2f}, no better than chance"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"
