"""Figures about heat maps, against scipy and against maps whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from covid_monai.evaluation.shortcuts.saliency import (
    lung_share,
    mean_over_patients,
    similarity,
    summarise_lung_share,
    summarise_randomisation,
)

NAMES = ("normal", "covid")


def test_share_of_even_map_is_the_size_of_the_region():
    region = np.zeros((10, 10), dtype=bool)
    region[:3] = True
    assert lung_share(np.ones((10, 10)), region) == pytest.approx(0.3)
    assert lung_share(np.zeros((10, 10)), region) is None


def test_mean_and_interval_are_scipys_of_the_patients_means():
    values, patients = np.array([0.1, 0.3, 0.6, 0.7]), np.array(["a", "a", "b", "c"])
    found, means = mean_over_patients(values, patients), np.array([0.2, 0.6, 0.7])
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    assert [found[key] for key in ("value", "low", "high")] == pytest.approx([0.5, low, high])
    assert mean_over_patients(values[:1], patients[:1]) == {"value": 0.1, "low": None, "high": None}


@pytest.mark.parametrize(
    ("level", "words"), [(0.7, "more than chance"), (0.4, "no more than chance"), (0.1, "less than")]
)
def test_sentence_compares_with_chance(level, words):
    shares = level + 0.02 * np.random.default_rng(0).normal(size=40)
    patients = [str(i) for i in range(40)]
    found = summarise_lung_share(shares.tolist(), [0.4] * 40, [0, 1] * 20, patients, NAMES)
    assert words in found["sentence"]
    assert [row["name"] for row in found["rows"]] == ["all images", *NAMES]
    assert found["rows"][1]["images"] == 20
    assert found["rows"][0]["region"] == pytest.approx(0.4)


def test_empty_maps_are_counted_and_left_out():
    found = summarise_lung_share([None, 0.5, 0.6], [0.4, 0.4, 0.4], [0, 0, 0], ["a", "b", "c"], NAMES)
    assert found["rows"][0]["empty"] == 1
    assert found["rows"][0]["share"]["value"] == pytest.approx(0.55)
    assert found["rows"][2]["share"] == {"value": None, "low": None, "high": None}
    nothing = summarise_lung_share([None], [0.4], [0], ["a"], NAMES)
    assert nothing["sentence"].startswith("Every heat map is empty")


def test_similarity_of_a_map_with_itself_and_with_a_constant_one():
    heat = np.random.default_rng(0).random((16, 16))
    assert similarity(heat, heat) == pytest.approx((1.0, 1.0))
    assert similarity(heat, heat.max() - heat)[0] == pytest.approx(-1.0)
    assert similarity(heat, np.zeros((16, 16))) is None


def test_randomisation_passes_for_unrelated_maps_and_fails_for_the_same():
    rng = np.random.default_rng(1)
    maps, patients = rng.random((12, 16, 16)), [str(i) for i in range(12)]
    unrelated = summarise_randomisation(
        [similarity(a, rng.random((16, 16))) for a in maps], patients, draws=1
    )
    same = summarise_randomisation([similarity(a, a + 0.01) for a in maps], patients, draws=1)
    assert unrelated["passed"]
    assert "passed" in unrelated["sentence"]
    assert not same["passed"]
    assert "failed" in same["sentence"]
    nothing = summarise_randomisation([None], ["a"], draws=1)
    assert nothing["passed"] is None
    assert nothing["empty"] == 1
    assert "not possible" in nothing["sentence"]
