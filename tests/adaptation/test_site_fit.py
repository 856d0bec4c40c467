"""What is fitted for a hospital, and that its promise holds in simulated hospitals."""

from dataclasses import replace

import numpy as np
import pytest

from covid_monai.adaptation.site_fit import fit_site
from covid_monai.adaptation.site_images import UNKNOWN
from covid_monai.evaluation.decisions.operating_point import log_odds


def false_alarms(model, fresh):
    """Share of fresh normal patients whose score for covid reaches the cut."""
    return np.mean(log_odds(model.calibrated(fresh), 0)[:, 2] >= model.unseen.cuts["covid"])


@pytest.mark.parametrize(("counts", "hospitals"), [((59, 0, 0), 200), ((124, 25, 25), 60)])
def test_in_95_of_100_hospitals_5_percent_of_normals_at_most_are_called(draw, start, counts, hospitals):
    rates = []
    for hospital in range(hospitals):
        shift = 4 * hospital / hospitals  # from hospital to hospital more normals look like covid
        model = fit_site(draw(counts, seed=hospital, shift=shift), start)
        rates.append(false_alarms(model, draw((4000, 0, 0), seed=1000 + hospital, shift=shift)))
    # The share of 4,000 fresh patients has an error of 0.003.
    kept = np.mean(np.array(rates) <= 0.05 + 0.003)
    assert kept >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / hospitals)
    assert np.mean(rates) < 0.03


@pytest.mark.slow
def test_the_promise_holds_with_a_fine_tuned_layer_too(draw, start):
    rates, tuned = [], 0
    for hospital in range(40):
        images = draw((130, 40, 40), seed=hospital, shift=1.5)
        model = fit_site(images, start, fine_tune=True, seed=hospital)
        tuned += model.unseen.adapted["fine_tuned_on"] > 0
        assert model.unseen.adapted["patients"] >= 65
        rates.append(false_alarms(model, draw((4000, 0, 0), seed=1000 + hospital, shift=1.5)))
    assert tuned > 20
    assert np.mean(np.array(rates) <= 0.05 + 0.003) >= 0.95 - 3 * 0.034


def test_every_class_with_20_patients_recalibrates_everything(draw, start):
    model = fit_site(draw((80, 20, 20)), start)
    assert model.calibration.temperature != start.calibration.temperature
    assert model.operating_point != start.operating_point
    assert set(model.unseen.cuts) == {"pneumonia", "covid"}
    facts = model.unseen.adapted
    assert facts["patients_of_class"] == {"normal": 80, "pneumonia": 20, "covid": 20}
    assert (facts["patients"], facts["allowed_above_the_cut"], facts["fine_tuned_on"]) == (80, 0, 0)


def test_with_fewer_patients_of_a_class_the_old_values_of_the_others_stay(draw, start):
    model = fit_site(draw((80, 19, 40), shift=3), start)
    old, new = start.calibration, model.calibration
    assert (new.temperature, new.conformal["pneumonia"]) == (old.temperature, old.conformal["pneumonia"])
    assert new.conformal["normal"] != old.conformal["normal"]
    assert new.conformal["covid"] != old.conformal["covid"]
    assert model.operating_point == start.operating_point
    assert any("pneumonia" in note and "stay as they were" in note for note in model.unseen.notes)
    assert fit_site(draw((80, 19, 40), shift=3), start) == model


def test_with_58_normals_no_cause_is_named_and_it_says_so(draw, start):
    model = fit_site(draw((58, 20, 20)), start)
    assert model.unseen.cuts == {}
    assert model.unseen.adapted["allowed_above_the_cut"] is None
    assert any("needs 59 normal patients, and there are 58" in note for note in model.unseen.notes)


def test_without_labels_calls_are_capped_by_the_share_of_normals(draw, start):
    images = draw((250, 50, 100))
    images = replace(images, labels=np.full(len(images), UNKNOWN))
    model = fit_site(images, start, least_share_of_normals=0.5)
    odds = log_odds(model.calibrated(images), 0)
    assert model.calibration == start.calibration
    for k, name in enumerate(start.calibration.class_names[1:], start=1):
        # P(Binomial(400, 0.025) <= 4) is below 5 %, and that of 5 is not.
        assert np.sum(odds[:, k] >= model.unseen.cuts[name]) == 4
    few = fit_site(images.where(np.arange(400) < 118), start, least_share_of_normals=0.5)
    assert few.unseen.cuts == {}
    assert any("needs 119 patients without labels" in note for note in few.unseen.notes)


def test_the_layer_is_not_tuned_with_patients_that_the_cut_needs(draw, start):
    model = fit_site(draw((68, 40, 40)), start, fine_tune=True)
    assert model.head is start.head
    said = " ".join(model.unseen.notes)
    assert "not fine-tuned, because fewer than 10 patients with normal" in said
