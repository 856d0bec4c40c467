"""Comparison of two training recipes on domains (sources, hospitals) that their trainings left out.

The areas are those *within* each domain. An area over the images of several domains together also counts
pairs of images of two domains. It therefore rewards a network that tells domains apart, not diseases.

The primary figure is the weighted mean of logit(AUROC) over the domains and the seeds. On the logit scale, a
step from 0.95 to 0.97 counts more than one from 0.60 to 0.62. The interval of a gain holds patients (the same
for both recipes) and seeds (each recipe's own, in each domain); see `variance_components`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from covid_monai.core.effective_number import effective_number
from covid_monai.evaluation.metrics.classification_metrics import by_score, ranked, weighted_auroc
from covid_monai.evaluation.metrics.intervals import PatientBootstrap
from covid_monai.evaluation.metrics.prediction_table import Floats
from covid_monai.evaluation.metrics.variance_components import (
    Component,
    patient_component,
    seed_component,
    student_interval,
)

# Fixed before any recipe was measured. The normal images of NIH are of few machines, so NIH counts half.
WEIGHTS = {"kermany": 1.0, "ieee8023": 1.0, "nih": 0.5}
LARGEST_LOSS = 0.02  # of AUROC in any domain

# Of each domain: labels [N] (1: case), scores [S, N] of S seeds (higher: more likely a case), patients [N].
Arm = Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]


def score_arm(arm: Arm, *, weights: Mapping[str, float] = WEIGHTS) -> dict[str, Any]:
    """Compute the primary figure of one recipe.

    Returns:
        `primary` (weighted mean logit), `domains`: name to `auroc` (mean over seeds), `of_seeds`, `images`,
        `effective_patients` (Kish's number of the smaller class).
    """
    domains = {name: _Domain(name, *arm[name]) for name in _check(arm, weights)}
    means = [weights[name] * domain.logits(domain.areas).mean() for name, domain in domains.items()]
    return {
        "primary": float(sum(means) / sum(weights.values())),
        "domains": {
            name: {
                "auroc": float(domain.areas.mean()),
                "of_seeds": domain.areas.tolist(),
                "images": len(domain.is_case),
                "effective_patients": domain.effective_patients(),
            }
            for name, domain in domains.items()
        },
    }


def compare_arms(
    first: Arm,
    second: Arm,
    *,
    weights: Mapping[str, float] = WEIGHTS,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Decide whether the second recipe replaces the first.

    Args:
        first: Scores of the recipe that is in use, on each domain left out.
        second: Scores of the other recipe, on the same images in the same order.
        weights: Weight of each domain in the primary figure.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.

    Returns:
        `gain` of the primary figure (`{"value", "low", "high"}`), `p_value`, `first` and `second` (see
        `score_arm`), `domains`: name to `difference` of AUROC (likewise), `adopt`, and `reason` in words.
        The second recipe is adopted if the lower end of the gain is above 0 and no domain loses
        `LARGEST_LOSS` or more. With one seed, the interval holds the patients only, and `reason` says so.

    Raises:
        ValueError: If domains are missing, or if the recipes were not scored on the same images.

    >>> rng = np.random.default_rng(0)
    >>> labels, patients = np.arange(200) % 2, np.arange(200)
    >>> weak, strong = ({"x": (labels, labels * d + rng.normal(size=(3, 200)), patients)} for d in (0.5, 2))
    >>> compare_arms(weak, strong, weights={"x": 1.0}, resamples=200)["adopt"]
    True
    """
    pairs = {
        name: _Pair(_Domain(name, *first[name]), _Domain(name, *second[name]), resamples=resamples, seed=seed)
        for name in _check(first, weights)
    }
    shares = {name: weights[name] / sum(weights.values()) for name in pairs}
    on_logits = {name: pair.difference(pair.first.logits) for name, pair in pairs.items()}
    gain = sum(shares[name] * value for name, (value, _) in on_logits.items())
    known = all(parts for _, parts in on_logits.values())
    components = [part.scaled(shares[name]) for name, (_, parts) in on_logits.items() for part in parts]
    interval, p_value = student_interval(gain, components if known else ())
    found: dict[str, Any] = {"gain": interval.to_json(), "p_value": p_value, "domains": {}}
    for name, pair in pairs.items():
        difference, p_value = student_interval(*pair.difference(np.asarray))
        found["domains"][name] = {"difference": difference.to_json(), "p_value": p_value}
    found |= {"first": score_arm(first, weights=weights), "second": score_arm(second, weights=weights)}
    return found | _rule(found)


def _check(arm: Arm, weights: Mapping[str, float]) -> list[str]:
    missing = sorted(set(weights) - set(arm))
    if missing:
        raise ValueError(
            f"There are no scores of the domains {', '.join(missing)}. Score them, or give other weights."
        )
    return list(weights)


class _Domain:
    """Areas of all seeds of one recipe within one domain."""

    def __init__(self, name: str, labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> None:
        self.name = name
        self.is_case: NDArray[np.bool_] = np.asarray(labels) == 1
        self.scores: Floats = np.atleast_2d(np.asarray(scores, dtype=np.float64))
        self.patients = np.asarray(patients)
        pairs = int(self.is_case.sum()) * int((~self.is_case).sum())
        if pairs == 0 or self.scores.shape[1] != len(self.is_case) or not np.isfinite(self.scores).all():
            raise ValueError(f"{name} needs cases, others, and a finite score of each image for each seed.")
        self._rankings = [ranked(scores) for scores in self.scores]
        # An area of 1 has no logit: at most all but half a pair of images count as in the right order.
        self._least = 0.5 / pairs
        self.areas = self.measure(np.ones((1, len(self.is_case))))[0]

    def measure(self, weights: Floats) -> Floats:
        """Compute the areas [B, S] of all seeds under weights [B, N]."""
        ranking = self._rankings
        return np.column_stack([weighted_auroc(*by_score(self.is_case, order, weights)) for order in ranking])

    def logits(self, areas: Floats) -> Floats:
        """Return the logits of areas, limited to those that differ from 0 and 1."""
        return np.asarray(logit(np.clip(areas, self._least, 1 - self._least)))

    def effective_patients(self) -> float:
        """Return Kish's effective number of patients of the smaller class."""
        return min(effective_number(self.patients[rows].tolist()) for rows in (self.is_case, ~self.is_case))


class _Pair:
    """Both recipes on one domain, with the same resamples of its patients."""

    def __init__(self, first: _Domain, second: _Domain, *, resamples: int, seed: int) -> None:
        if not all(
            np.array_equal(*pair)
            for pair in ((first.is_case, second.is_case), (first.patients, second.patients))
        ):
            raise ValueError(f"The recipes were not scored on the same images of {first.name}.")
        self.first, self._areas = first, (first.areas, second.areas)
        bootstrap = PatientBootstrap(first.patients, resamples=resamples, seed=seed)
        blocks = [
            [domain.measure(weights) for domain in (first, second)] for weights in bootstrap.image_weights()
        ]
        self._draws = [np.concatenate(areas) for areas in zip(*blocks, strict=True)]
        self._effective = first.effective_patients()

    def difference(self, scale: Callable[[Floats], Floats]) -> tuple[float, list[Component]]:
        """Return second minus first on a scale, and its causes of uncertainty; none if one is not known."""
        one, other = (scale(areas) for areas in self._areas)
        draws = scale(self._draws[1]).mean(axis=1) - scale(self._draws[0]).mean(axis=1)
        patients = patient_component(draws, self._effective)
        seeds = [part for part in map(seed_component, (one, other)) if part]
        return float(other.mean() - one.mean()), [patients, *seeds] if patients else []


def _rule(found: Mapping[str, Any]) -> dict[str, Any]:
    gain = found["gain"]
    worse = [n for n, d in found["domains"].items() if d["difference"]["value"] <= -LARGEST_LOSS]
    better = gain["low"] is not None and gain["low"] > 0
    reason = (
        "The gain is above 0 with its whole interval." if better else "The interval of the gain includes 0."
    )
    if gain["low"] is None:
        reason = "The gain has no interval: a class has too few patients in a domain."
    reason += f" AUROC falls by {LARGEST_LOSS} or more in {', '.join(worse)}." if worse else ""
    few = min(len(d["of_seeds"]) for arm in ("first", "second") for d in found[arm]["domains"].values())
    reason += (
        " A recipe has one seed, so the interval does not hold the chance of training." if few == 1 else ""
    )
    return {"adopt": bool(better and not worse), "reason": reason}
