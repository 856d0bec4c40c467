"""Small models that try to predict a label without the lungs, and the rule for calling the result a shortcut.

A probe is small on purpose. A deep network also finds what a linear model finds on 32 x 32 pixels, and more.
So a probe at chance level proves nothing, and a probe far above chance proves a shortcut.

A probe counts as a shortcut if the lower end of its 95 % interval lies above `SHORTCUT_ABOVE` for any class.
Chance is 0.50, and some association is honest: ill people more often lie down, are older, are turned. Below
0.60 that gain is small compared with what headlines claim (0.9 and more), and among the few intervals of an
audit a lower end above 0.60 hardly comes by chance. To say that there is no shortcut, every upper end must
lie below `CLEAR_BELOW`; otherwise there are too few cases.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from covid_monai.core.number_format import NOT_DEFINED, format_interval, format_metric
from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.shortcuts.image_properties import THUMBNAIL_SIZE, ImageProperties

if TYPE_CHECKING:
    from covid_monai.transforms.hidden_box import Box

Features = NDArray[Any]
Integers = NDArray[np.int64]

FEWEST_PATIENTS = 10  # of a class, two for each of five folds
_FOLDS = 5
_SIZE = 32
_COMPONENTS = 100
_RESAMPLES = 500
SHORTCUT_ABOVE = 0.60
CLEAR_BELOW = 0.75

Auroc = Mapping[str, float | None]


def pixels(properties: Sequence[ImageProperties], *, hidden: "Sequence[Box] | None" = None) -> Features:
    """Return the pixels of the thumbnails, reduced to 32 x 32, with a hidden box in each.

    Args:
        properties: Properties of N files.
        hidden: N boxes that are filled with the mean of what is outside; None hides nothing.

    Returns:
        `[N, 1024]`, float32 in [0, 1].
    """
    block = THUMBNAIL_SIZE // _SIZE
    full = np.stack([image.thumbnail for image in properties]).reshape(-1, _SIZE, block, _SIZE, block)
    small: Features = full.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
    if hidden is not None:
        from covid_monai.transforms.hidden_box import hide_box  # imports torch: only where it is needed

        small = np.stack([hide_box(image[None], box)[0] for image, box in zip(small, hidden, strict=True)])
    return np.reshape(small, (len(small), -1))


def file_properties(properties: Sequence[ImageProperties]) -> Features:
    """Return size, shape, compression, type and depth of the files, without the pixels: `[N, 6]`, objects."""
    rows = [(f.rows, f.columns, f.columns / f.rows, f.compression, f.file_type, f.depth) for f in properties]
    return np.array(rows, dtype=object)


def picture_model(*, images: int, features: int, seed: int = 0) -> Pipeline:
    """Make a model of principal components of the pixels and logistic regression."""
    components = max(1, min(_COMPONENTS, features, images // 2))
    return make_pipeline(
        PCA(components, whiten=True, random_state=seed), LogisticRegression(C=0.1, max_iter=500)
    )


def property_model(seed: int = 0) -> Pipeline:
    """Make a model of boosted trees on `file_properties`, whose last two columns are words."""
    numbered = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    encode = make_column_transformer((numbered, [4, 5]), remainder="passthrough")
    return make_pipeline(encode, HistGradientBoostingClassifier(max_iter=50, random_state=seed))


def cross_validated_auroc(
    features: Features,
    labels: Integers,
    groups: Integers,
    names: Sequence[str],
    *,
    seed: int = 0,
    model: Pipeline | None = None,
) -> dict[str, Any]:
    """Compute the AUROC of a probe by cross-validation that keeps every patient in one fold.

    Args:
        features: `[N, P]`.
        labels: Shape [N]. Classes with fewer than `FEWEST_PATIENTS` groups are left out.
        groups: Shape [N], from `connected_groups`.
        names: Names of all classes, in the order of their labels.
        seed: Seed of the folds.
        model: Untrained model; by default `picture_model`.

    Returns:
        `auroc` (macro, one against the rest) and `per_class`, each `{"value", "low", "high"}`, number of
        `images` and `patients`, and `note`. Where fewer than two classes are large enough, `value` is None
        and `note` says why.
    """
    kept = np.flatnonzero(np.isin(labels, large_classes(labels, groups)))
    present = np.unique(labels[kept])
    if len(present) < 2:
        return no_auroc(f"fewer than two classes have {FEWEST_PATIENTS} patients")
    if (features[kept] == features[kept[0]]).all():
        return no_auroc("these properties are the same for all files")
    if model is None:
        model = picture_model(images=len(kept), features=features.shape[1], seed=seed)
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
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the AUROC on images of one source after training on all others; see `cross_validated_auroc`.

    Images that other sources have of a left-out patient are not used.
    """
    rest = ~left_out & ~np.isin(groups, groups[left_out])
    trained = large_classes(labels[rest], groups[rest])
    tested = np.intersect1d(large_classes(labels[left_out], groups[left_out]), trained)
    if len(tested) < 2:
        return no_auroc(
            f"fewer than two classes have {FEWEST_PATIENTS} patients in this source and elsewhere"
        )
    train, test = rest & np.isin(labels, trained), left_out & np.isin(labels, tested)
    model = picture_model(images=int(train.sum()), features=features.shape[1], seed=seed)
    found = model.fit(features[train], labels[train]).predict_proba(features[test])
    columns = found[:, np.searchsorted(trained, tested)] + 1e-9
    return _scored(
        labels[test], columns / columns.sum(axis=1, keepdims=True), groups[test], [names[k] for k in tested]
    )


def large_classes(labels: Integers, groups: Integers) -> Integers:
    """Return the labels with at least `FEWEST_PATIENTS` groups, in order."""
    return np.array(
        [k for k in np.unique(labels) if len(np.unique(groups[labels == k])) >= FEWEST_PATIENTS],
        dtype=np.int64,
    )


def no_auroc(reason: str) -> dict[str, Any]:
    """Return the result of a probe that cannot be trained or tested."""
    auroc = {"value": None, "low": None, "high": None}
    return {"auroc": auroc, "per_class": {}, "images": 0, "patients": 0, "note": f"Not possible: {reason}."}


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
    """Judge one probe by the intervals of its classes; None if they are too wide, or if there are none.

    >>> is_shortcut({"covid": {"value": 0.98, "low": 0.97, "high": 0.99}})
    True
    >>> is_shortcut({"covid": {"value": 0.55, "low": 0.30, "high": 0.80}}) is None
    True
    """
    if any(auroc["low"] is not None and auroc["low"] > SHORTCUT_ABOVE for auroc in per_class.values()):
        return True
    clear = [auroc["high"] is not None and auroc["high"] < CLEAR_BELOW for auroc in per_class.values()]
    return False if clear and all(clear) else None


def any_shortcut(judged: list[bool | None]) -> bool | None:
    """Judge several probes together: one is enough to find a shortcut, all are needed to find none."""
    if any(judged):
        return True
    return False if judged and None not in judged else None


def beyond_chance(results: Iterable[Mapping[str, Auroc]], shortcut: bool | None) -> str | None:
    """Return how much better than chance the classes of probes are, in words; None if no interval says so.

    >>> beyond_chance([{"a": {"value": 0.65, "low": 0.59, "high": 0.7}}], False)
    'only slightly: no interval lies above 0.60'
    """
    aurocs = [auroc for per_class in results for auroc in per_class.values()]
    if not any(auroc["low"] is not None and auroc["low"] > 0.5 for auroc in aurocs):
        return None
    if shortcut is None:
        return "there are too few patients to say how much better"
    return f"only slightly: no interval lies above {SHORTCUT_ABOVE:.2f}"


def strongest_words(per_class: Mapping[str, Auroc]) -> str:
    """Write the highest AUROC of the classes with its interval, and the class if there are more than two.

    >>> strongest_words({"a": {"value": 0.65, "low": 0.59, "high": 0.7}})
    '0.650 (0.590 to 0.700)'
    """
    name, auroc = max(per_class.items(), key=lambda pair: (pair[1]["low"] or 0, pair[1]["value"] or 0))
    return f"{_auroc_words(auroc)} for {name}" if len(per_class) > 2 else _auroc_words(auroc)


def _auroc_words(auroc: Auroc) -> str:
    value, low, high = auroc["value"], auroc["low"], auroc["high"]
    if value is None:
        return NOT_DEFINED
    figure = format_metric(value) if low is None else f"{format_metric(value)} ({format_interval(auroc)})"
    # The folds then differ by more than the classes do: the interval excludes chance, but predicts nothing.
    return f"{figure}, worse than chance" if high is not None and high < 0.5 else figure
