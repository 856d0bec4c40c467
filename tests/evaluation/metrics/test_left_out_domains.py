"""Two recipes on domains that their trainings left out: the primary figure, its interval, the rule."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from covid_monai.evaluation.metrics.left_out_domains import LARGEST_LOSS, compare_arms, score_arm

WEIGHTS = {"a": 1.0, "b": 0.5}


def arm(rng, *, separation, seeds=3, n=120, of_patients=None, between_seeds=0.0, domains=("a", "b")):
    """Return scores of one recipe; each patient has two images and moves them alike for every recipe."""
    labels, patients = np.arange(n) // 2 % 2, np.arange(n) // 2
    own = {} if of_patients is None else of_patients
    found = {}
    for name in domains:
        strength = separation + between_seeds * rng.normal(size=(seeds, 1))
        common = own.get(name, np.zeros(n // 2))[patients]
        found[name] = (labels, strength * labels + common + rng.normal(size=(seeds, n)), patients)
    return found


def test_the_primary_figure_is_the_weighted_mean_logit_of_scikit_learns_auroc():
    scored = arm(np.random.default_rng(0), separation=1)
    areas = {
        name: [roc_auc_score(labels, seed) for seed in scores] for name, (labels, scores, _) in scored.items()
    }
    found = score_arm(scored, weights=WEIGHTS)
    expected = (logit(areas["a"]).mean() + 0.5 * logit(areas["b"]).mean()) / 1.5
    assert found["primary"] == pytest.approx(expected)
    assert found["domains"]["b"]["of_seeds"] == pytest.approx(areas["b"])


def test_domains_are_never_pooled():
    # All cases of one domain score above all images of the other: areas within the domains do not see it.
    scored = arm(np.random.default_rng(1), separation=0.5)
    labels, scores, patients = scored["b"]
    moved = scored | {"b": (labels, scores + 100, patients)}
    assert score_arm(moved, weights=WEIGHTS) == score_arm(scored, weights=WEIGHTS)


@pytest.mark.slow
def test_intervals_hold_the_chance_of_patients_and_of_seeds():
    inside, without_seeds, trials = 0, 0, 150
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        common = {name: rng.normal(size=60) for name in WEIGHTS}
        settings = {"separation": 1.2, "between_seeds": 0.4, "of_patients": common}
        first, second = arm(rng, **settings), arm(rng, **settings)
        gain = compare_arms(first, second, weights=WEIGHTS, resamples=200)["gain"]
        inside += gain["low"] <= 0 <= gain["high"]
        fixed = [
            {name: (labels, scores.mean(axis=0), who) for name, (labels, scores, who) in each.items()}
            for each in (first, second)
        ]
        gain = compare_arms(*fixed, weights=WEIGHTS, resamples=200)["gain"]
        without_seeds += gain["low"] <= 0 <= gain["high"]
    assert inside / trials >= 0.92  # 0.95 less two standard errors, 0.018 each
    assert without_seeds / trials < 0.88


def test_a_recipe_is_adopted_by_the_rule():
    rng = np.random.default_rng(2)
    weak, strong = arm(rng, separation=0.5), arm(rng, separation=2)
    found = compare_arms(weak, strong, weights=WEIGHTS, resamples=400)
    assert found["adopt"]
    assert found["gain"]["low"] > 0
    assert found["p_value"] < 0.05
    assert not compare_arms(strong, weak, weights=WEIGHTS, resamples=400)["adopt"]
    assert not compare_arms(weak, weak, weights=WEIGHTS, resamples=400)["adopt"]

    # Much better in one domain does not pay for a loss in another.
    labels, scores, patients = weak["b"]
    traded = strong | {"b": (labels, scores - 0.5 * labels, patients)}
    found = compare_arms(weak, traded, weights=WEIGHTS, resamples=400)
    assert found["domains"]["b"]["difference"]["value"] < -LARGEST_LOSS
    assert found["gain"]["low"] > 0
    assert not found["adopt"]
    assert found["reason"].endswith("AUROC falls by 0.02 or more in b.")


def test_one_seed_and_few_patients_are_named():
    rng = np.random.default_rng(3)
    weak, strong = arm(rng, separation=0.5, seeds=1), arm(rng, separation=2, seeds=1)
    assert "one seed" in compare_arms(weak, strong, weights=WEIGHTS, resamples=200)["reason"]
    # All cases of one domain are images of one patient.
    single = {
        name: each | {"b": (*each["b"][:2], np.where(each["b"][0] == 1, -1, each["b"][2]))}
        for name, each in (("weak", weak), ("strong", strong))
    }
    found = compare_arms(single["weak"], single["strong"], weights=WEIGHTS, resamples=200)
    assert found["gain"]["low"] is None
    assert not found["adopt"]
    assert "too few patients" in found["reason"]


def test_a_perfect_domain_has_a_finite_logit():
    labels = np.arange(40) % 2
    found = score_arm({"a": (labels, labels + 0.0, np.arange(40))}, weights={"a": 1.0})
    assert found["primary"] == pytest.approx(logit(1 - 0.5 / 400))


def test_other_images_and_missing_domains_are_refused():
    scored = arm(np.random.default_rng(4), separation=1)
    labels, scores, patients = scored["a"]
    with pytest.raises(ValueError, match="no scores of the domains b"):
        score_arm({"a": scored["a"]}, weights=WEIGHTS)
    with pytest.raises(ValueError, match="not scored on the same images of a"):
        compare_arms(scored, scored | {"a": (1 - labels, scores, patients)}, weights=WEIGHTS)
    with pytest.raises(ValueError, match="a needs cases"):
        score_arm(scored | {"a": (np.ones_like(labels), scores, patients)}, weights=WEIGHTS)
