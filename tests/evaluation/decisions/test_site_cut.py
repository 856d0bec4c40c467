"""The cut of a hospital holds its promise: by the tables, by statsmodels, and in simulated hospitals."""

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from covid_monai.evaluation.decisions.site_cut import (
    allowed_calls,
    choose_site_cut,
    exact_share,
    patients_needed,
    upper_limit,
)


def test_the_numbers_of_patients_are_those_of_the_binomial_tables():
    smallest = {}
    for n in range(1, 400):
        if (allowed := allowed_calls(n, 0.05)) is not None:
            smallest.setdefault(allowed, n)
    assert [smallest[k] for k in range(5)] == [59, 93, 124, 153, 181]
    assert allowed_calls(0, 0.05) is None
    # Half of the patients are normal for certain: twice as many, and two more, are needed.
    assert [patients_needed(0.05 * share) for share in (1, 0.5, 0.3)] == [59, 119, 199]
    assert all(allowed_calls(patients_needed(limit), limit) == 0 for limit in (0.05, 0.025, 0.015, 0.001))


@pytest.mark.parametrize("n", [59, 60, 92, 93, 100, 200, 500])
@pytest.mark.parametrize("limit", [0.05, 0.03])
def test_one_call_more_would_break_the_limit_of_statsmodels(n, limit):
    def upper(k):
        return proportion_confint(k, n, alpha=0.1, method="beta")[1]

    allowed = allowed_calls(n, limit)
    if allowed is None:
        assert upper(0) > limit
        return
    assert upper(allowed) <= limit < upper(allowed + 1)
    assert upper_limit(allowed, n) == pytest.approx(upper(allowed))
    low, high = proportion_confint(allowed, n, alpha=0.05, method="beta")
    assert exact_share(allowed, n) == pytest.approx({"value": allowed / n, "low": low, "high": high})


# Sites of one kind each: values of a score, and their probabilities for a normal patient.
_GRID = np.arange(-40, 41) / 10
KINDS = {
    "continuous": None,
    "steps of 0.1": (_GRID, np.exp(-(_GRID**2) / 2)),
    "two values": (np.array([0.5, 3.0]), np.array([0.96, 0.04])),
    "two values, the higher one too frequent": (np.array([0.5, 3.0]), np.array([0.94, 0.06])),
}


@pytest.mark.parametrize("n", [59, 124, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_in_95_of_100_hospitals_at_most_5_percent_of_the_normals_are_called(kind, n):
    rng, hospitals, rates = np.random.default_rng(7), 3000, []
    for _ in range(hospitals):
        if KINDS[kind] is None:
            cut = choose_site_cut(rng.normal(size=n), 0.05)
            rates.append(norm.sf(cut))
        else:
            values, weights = KINDS[kind]
            shares = weights / weights.sum()
            cut = choose_site_cut(rng.choice(values, size=n, p=shares), 0.05)
            rates.append(shares[values >= cut].sum())
    kept = np.mean(np.array(rates) <= 0.05)
    assert kept >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / hospitals)
    if kind == "continuous":  # and the cut is not higher than it must be
        assert np.mean(rates) == pytest.approx((allowed_calls(n, 0.05) + 1) / (n + 1), rel=0.1)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_without_labels_the_normals_keep_their_limit_if_enough_of_the_patients_are_normal(share):
    rng, n, hospitals, kept = np.random.default_rng(3), 400, 2000, 0
    for _ in range(hospitals):
        normal = rng.random(n) < share
        cut = choose_site_cut(np.where(normal, rng.normal(size=n), rng.normal(1, 1, size=n)), 0.05 * share)
        kept += norm.sf(cut) <= 0.05
    assert kept / hospitals >= 0.95


@pytest.mark.parametrize("scores", [[-3.0] * 80, [0.0] * 80, np.round(np.linspace(-1, 2, 80), 4)])
def test_the_cut_is_at_least_0_and_lies_above_a_score_that_may_not_be_called(scores):
    cut = choose_site_cut(scores, 0.05)
    assert cut >= 0
    assert np.sum(np.asarray(scores) + 1e-6 >= cut) <= allowed_calls(80, 0.05)
    assert cut == pytest.approx(max(0, np.sort(scores)[-1]), abs=2e-4)
