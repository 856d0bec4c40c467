"""Checks of heat maps: how much of them lies in the lungs, and whether they depend on the training.

The functions take arrays and return plain values for `metrics.json` and sentences for a physician. The maps
themselves come from `covid_monai.inference.grad_cam`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from statsmodels.stats.weightstats import DescrStatsW

from covid_monai.core.number_format import format_metric, format_percent
from covid_monai.evaluation.metrics.intervals import CONFIDENCE

# Above this rank correlation, the map of an untrained network resembles that of the trained one.
SIMILAR = 0.5


def lung_share(heatmap: ArrayLike, region: ArrayLike) -> float | None:
    """Return the share of a map's weight that lies in a region; None for a map without any weight.

    Args:
        heatmap: Shape [H, W], 0 or more.
        region: Shape [H, W], True inside.

    >>> lung_share([[0.0, 3.0], [1.0, 0.0]], [[False, True], [False, False]])
    0.75
    """
    weights = np.asarray(heatmap, dtype=np.float64)
    total = weights.sum()
    return float(weights[np.asarray(region, dtype=bool)].sum() / total) if total > 0 else None


def summarise_lung_share(
    shares: Sequence[float | None],
    areas: Sequence[float],
    decisions: ArrayLike,
    patients: ArrayLike,
    class_names: Sequence[str],
    *,
    without_lungs: int = 0,
) -> dict[str, Any]:
    """Compute the mean share of the heat maps in the lung region, and the share expected by chance.

    Args:
        shares: N values of `lung_share`; None counts as an empty map.
        areas: N shares of the image that the region covers; an evenly spread map would reach them.
        decisions: N class indices for which the maps were made.
        patients: N patients; each counts once, with the mean of its images.
        class_names: K names.
        without_lungs: Number of images that are not among the N because no lungs were found.

    Returns:
        `rows`: for "all images" and each decided class `name`, `images`, `patients`, `empty` (maps without
        weight, left out), `share` (`value`, `low`, `high`: t interval over patients) and `region`.
        `beyond_chance`: share minus region over all images, likewise. `sentence`: both in words.
        `without_lungs` as given.
    """
    found = np.array([np.nan if share is None else share for share in shares], dtype=np.float64)
    covered, decided, who = np.asarray(areas, dtype=np.float64), np.asarray(decisions), np.asarray(patients)
    known = ~np.isnan(found)
    groups = {"all images": np.ones(len(found), dtype=bool)}
    rows = [
        {
            "name": name,
            "images": int(chosen.sum()),
            "patients": len(np.unique(who[chosen])),
            "empty": int(np.sum(chosen & ~known)),
            "share": mean_over_patients(found[chosen & known], who[chosen & known]),
            "region": float(covered[chosen & known].mean()) if (chosen & known).any() else None,
        }
        for name, chosen in (groups | {name: decided == k for k, name in enumerate(class_names)}).items()
    ]
    beyond = mean_over_patients(found[known] - covered[known], who[known])
    sentence = _share_sentence(rows[0], beyond)
    return {"rows": rows, "beyond_chance": beyond, "sentence": sentence, "without_lungs": without_lungs}


def mean_over_patients(values: NDArray[np.float64], patients: NDArray[Any]) -> dict[str, float | None]:
    """Compute the mean of the patients' means with its 95 % t interval; None where it is undefined.

    >>> mean_over_patients(np.array([1.0, 3.0, 4.0]), np.array(["a", "a", "b"]))["value"]
    3.0
    """
    means = np.array([values[patients == who].mean() for who in np.unique(patients)])
    if len(means) < 2:
        return {"value": float(means[0]) if len(means) else None, "low": None, "high": None}
    low, high = DescrStatsW(means).tconfint_mean(1 - CONFIDENCE)
    return {"value": float(means.mean()), "low": float(low), "high": float(high)}


def similarity(one: ArrayLike, other: ArrayLike) -> tuple[float, float] | None:
    """Compute Spearman's rank correlation and structural similarity of two maps; None if one is constant.

    Args:
        one: Shape [H, W] in [0, 1], at least 7 x 7.
        other: Second map, of the same shape.
    """
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    ranks = float(spearmanr(first.ravel(), second.ravel()).statistic)
    return ranks, float(structural_similarity(first, second, data_range=1.0))


def summarise_randomisation(
    similarities: Sequence[tuple[float, float] | None], patients: Sequence[str], *, draws: int
) -> dict[str, Any]:
    """Judge whether the maps change when the network's weights are replaced by random ones, as they must.

    Args:
        similarities: Results of `similarity` for trained against random network, per image and draw.
        patients: Patient of each.
        draws: Number of random networks.

    Returns:
        `comparisons`, `draws`, `empty` (pairs with a constant map, left out), `rank_correlation` (with its
        sign, so that unrelated maps give 0 on average however coarse they are) and `ssim`, each a mean
        with its interval; `passed`: whether the whole interval of the rank correlation lies below `SIMILAR`,
        or None where there are too few comparisons. `sentence`: the same in words.

    Reference: Adebayo 2018, Sanity Checks for Saliency Maps, arXiv:1810.03292 (model parameter
    randomisation).
    """
    known = [pair is not None for pair in similarities]
    who = np.asarray(patients)[known] if similarities else np.array([])
    pairs = np.array([pair for pair in similarities if pair is not None], dtype=np.float64).reshape(-1, 2)
    ranks = mean_over_patients(pairs[:, 0], who)
    result = {
        "comparisons": len(pairs),
        "draws": draws,
        "empty": len(similarities) - len(pairs),
        "rank_correlation": ranks,
        "ssim": mean_over_patients(pairs[:, 1], who),
        "passed": None if ranks["high"] is None else bool(ranks["high"] < SIMILAR),
    }
    return result | {"sentence": _randomisation_sentence(result)}


def _share_sentence(row: dict[str, Any], beyond: dict[str, float | None]) -> str:
    if not row["images"]:
        return "No lungs were found in the images, so it is unknown whether the network looks at them."
    if row["share"]["value"] is None or row["region"] is None:
        return "Every heat map is empty, so it is unknown where the network looks."
    share, region = format_percent(row["share"]["value"], 0), format_percent(row["region"], 0)
    low, high = beyond["low"], beyond["high"]
    if low is None or high is None:
        judged = "One patient is too few to compare that with chance."
    elif high < 0:
        judged = "That is less than chance would give: the network does not look at the lungs."
    else:
        judged = f"That is {'more' if low > 0 else 'no more'} than chance would give."
    covers = f"the lung region, which covers {region} of the image"
    return f"{share} of the heat maps' weight lies in {covers}. {judged}"


def _randomisation_sentence(result: dict[str, Any]) -> str:
    if result["passed"] is None:
        return "Weight-randomisation check: not possible, because there are too few maps or they are empty."
    value = format_metric(result["rank_correlation"]["value"])
    if result["passed"]:
        return (
            "Weight-randomisation check: passed. With random weights the maps change (mean rank correlation "
            f"{value}), so they do depend on what the network has learned."
        )
    return (
        "Weight-randomisation check: failed. With random weights the maps hardly change (mean rank "
        f"correlation {value}). They show the image or the structure of the network, not what it has "
        "learned. Do not interpret them."
    )
