"""The reference that drift is measured against."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from covid_monai.bundle import Bundle
from covid_monai.evaluation.decisions.score_reference import ScoreReference, fit_score_reference

ROOT = Path(__file__).parents[3]
NAMES = ("a", "b", "c")


def draw(alpha, count, seed=0):
    return np.random.default_rng(seed).dirichlet(alpha, count)


def test_images_of_the_same_kind_keep_the_index_low_and_others_raise_it():
    reference = fit_score_reference(draw([1, 2, 3], 2000), NAMES, chosen_on={})
    assert max(reference.stability_index(draw([1, 2, 3], 500, seed=1)).values()) < 0.1
    assert max(reference.stability_index(draw([3, 2, 1], 500, seed=1)).values()) > 0.25


def test_without_change_the_index_has_its_known_mean():
    """9 * (1 / n + 1 / m): Yurdakul and Naranjo 2020, a chi-square with nine degrees of freedom, scaled."""
    indices = []
    for seed in range(300):
        reference = fit_score_reference(draw([1, 1], 1000, seed), NAMES[:2], chosen_on={})
        indices.append(reference.stability_index(draw([1, 1], 400, seed + 1000))["a"])
    assert np.mean(indices) == pytest.approx(9 * (1 / 400 + 1 / 1000), rel=0.15)


@given(arrays(float, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(0, 1)))
def test_any_probabilities_have_a_finite_index_that_is_not_negative(probabilities):
    reference = fit_score_reference(probabilities, NAMES, chosen_on={})
    for rows in (probabilities, 1 - probabilities):
        assert all(np.isfinite(value) and value >= 0 for value in reference.stability_index(rows).values())
    assert all(value == pytest.approx(0) for value in reference.stability_index(probabilities).values())


def test_it_is_read_as_it_was_written_and_damage_is_told(tmp_path):
    reference = fit_score_reference(draw([1, 1, 1], 50), NAMES, chosen_on={"split": "validation"})
    reference.save(tmp_path / "r.json")
    assert ScoreReference.load(tmp_path / "r.json") == reference
    (tmp_path / "r.json").write_text('{"class_names": ["a"]}')
    with pytest.raises(ValueError, match=r"r\.json cannot be used: This is no ScoreReference"):
        ScoreReference.load(tmp_path / "r.json")


def test_the_shipped_bundle_has_the_one_of_its_calibration():
    bundle = Bundle(ROOT / "bundles" / "covid_cxr_classification")
    origin, calibrated_on = bundle.score_reference.chosen_on, bundle.calibration.chosen_on
    assert all(origin[key] == calibrated_on[key] for key in ("n", "datalist_digest", "split"))
    assert all(sum(counts) == origin["n"] for counts in bundle.score_reference.counts.values())
