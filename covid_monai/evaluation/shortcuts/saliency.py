"""What heat maps are worth: how much of them lies in the lungs, and whether they depend on the training.

Arrays in, plain values for `metrics.json` and sentences for a physician out; the maps themselves come from
`covid_monai.inference.grad_cam`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from statsmodels.stats.weightstats import DescrStatsW

# Above this rank correlation a map of an untrained network tells much of the map of the trained one.
SIMILAR = 0.5
_CONFIDENCE = 0.95


def lung_share(heatmap: ArrayLike, region: ArrayLike) -> float | None:
    """Share of a map's weight that lies in a region; None for a map without any weight.

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
) -> dict[str, Any]:
    """Mean share of the heat maps inside the lung region, beside what chance would give.

    Args:
        shares: N values of `lung_share`; None counts as an empty map.
        areas: N shares of the image that the region covers, which is what a map spread evenly would reach.
        decisions: N class indices that the maps were made for.
        patients: N patients; each counts once, with the mean of its images.
        class_names: K names.

    Returns:
        `rows`: for "all images" and each decided class `name`, `images`, `patients`, `empty` (maps without
        weight, left out), `share` (`value`, `low`, `high`: t interval over patients) and `region`.
        `beyond_chance`: share minus region over all images, likewise. `sentence`: both in words.
    """
    found = np.array([np.nan if share is None else share for share in shares], dtype=np.float64)
    covered, decided, who = np.asarray(areas, dtype=np.float64), np.asarray(decisions), np.asarray(patients)
    groups = [("all images", np.ones(len(found), dtype=bool))]
    groups += [(name, decided == k) for k, name in enumerate(class_names)]
    rows = []
    for name, chosen in groups:
        shown = chosen & ~np.isnan(found)
        rows.append(
            {
                "name": name,
                "images": int(chosen.sum()),
                "patients": len(np.unique(who[chosen])),
                "empty": int(np.sum(chosen & np.isnan(found))),
                "share": mean_over_patients(found[shown], who[shown]),
                "region": float(covered[shown].mean()) if shown.any() else None,
            }
        )
    shown = ~np.isnan(found)
    beyond = mean_over_patients(found[shown] - covered[shown], who[shown])
    return {"rows": rows, "beyond_chance": beyond, "sentence": _share_sentence(rows[0], beyond)}


def mean_over_patients(values: NDArray[np.float64], patients: NDArray[Any]) -> dict[str, float | None]:
    """Mean of the patients' means with its 95 % t interval; None where there is nothing to say.

    >>> mean_over_patients(np.array([1.0, 3.0, 4.0]), np.array(["a", "a", "b"]))["value"]
    3.0
    """
    means = np.array([values[patients == who].mean() for who in np.unique(patients)])
    if len(means) == 0:
        return {"value": None, "low": None, "high": None}
    if len(means) == 1:
        return {"value": float(means[0]), "low": None, "high": None}
    low, high = DescrStatsW(means).tconfint_mean(1 - _CONFIDENCE)
    return {"value": float(means.mean()), "low": float(low), "high": float(high)}


def similarity(one: ArrayLike, other: ArrayLike) -> tuple[float, float] | None:
    """Spearman's rank correlation and structural similarity of two maps; None if one is constant.

    Args:
        one: Shape [H, W] in [0, 1], at least 7 x 7.
        other: As `one`.
    """
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    ranks = float(spearmanr(first.ravel(), second.ravel()).statistic)
    return ranks, float(structural_similarity(first, second, data_range=1.0))


def summarise_randomisation(
    similarities: Sequence[tuple[float, float] | None], patients: Sequence[str], *, draws: int
) -> dict[str, Any]:
    """Whether the maps change when the network's weights are replaced by random ones, as they must.

    Args:
        similarities: What `similarity` gave for trained against random network, per image and draw.
        patients: The patient of each.
        draws: How many random networks there were.

    Returns:
        `comparisons`, `draws`, `empty` (pairs with a constant map, left out), `rank_correlation` (with its
        sign, so that unrelated maps give 0 on average however coarse they are) and `ssim`, each a mean
        with its interval; `passed`: the whole interval of the rank correlation lies below `SIMILAR`; None
        where there are too few comparisons. `sentence`: the same in words.

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
    if row["share"]["value"] is None or row["region"] is None:
        return "No heat map has any weight: where the network looks cannot be said."
    share, region = f"{row['share']['value']:.0%}", f"{row['region']:.0%}"
    start = f"{share} of the heat maps' weight lies in the lung region, which covers {region} of the image"
    low, high = beyond["low"], beyond["high"]
    if low is None or high is None or low <= 0 <= high:
        return f"{start}: no more than chance would give."
    if high < 0:
        return f"{start}: less than chance would give. The network looks elsewhere than at the lungs."
    return f"{start}: more than chance would give."


def _randomisation_sentence(result: dict[str, Any]) -> str:
    if result["passed"] is None:
        return "Weight-randomisation check: not possible, because the maps are empty or too few."
    value = f"{result['rank_correlation']['value']:.2f}"
    if result["passed"]:
        return (
            "Weight-randomisation check: passed. With random weights the maps become others (mean rank "
            f"correlation {value}), so they do show what was learned."
        )
    return (
        "Weight-randomisation check: failed. With random weights the maps stay much the same (mean rank "
        f"correlation {value}): they show the image or the network's build, not what was learned. Do "
        "not read anything into them."
    )
