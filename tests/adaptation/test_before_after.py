"""Figures before and after, on patients that were not used."""

from functools import partial

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from covid_monai.adaptation.before_after import answer, cross_fit, measure
from covid_monai.adaptation.site_fit import fit_site

NAMES = ("normal", "pneumonia", "covid")


def crossed(images, start, **options):
    return cross_fit(
        images, partial(fit_site, start=start), needed=59, counted=images.labels == 0, seed=0, **options
    )


@pytest.mark.parametrize(
    ("counts", "parts"), [((100, 30, 30), 5), ((66, 20, 20), 10), ((60, 3, 0), 63), ((30, 30, 30), 5)]
)
def test_no_patient_is_answered_by_a_model_that_has_seen_them(draw, start, counts, parts):
    images, seen = draw(counts), []

    def fit(part):
        seen.append(set(part.patients.tolist()))
        return fit_site(part, start)

    answers, found = cross_fit(images, fit, needed=59, counted=images.labels == 0, seed=0)
    assert found == parts == len(seen)
    everybody = set(images.patients.tolist())
    left_out = [everybody - part for part in seen]
    assert sum(map(len, left_out)) == len(everybody) == len(set().union(*left_out))
    model = fit_site(images.where(np.isin(images.patients, [*seen[0]])), start)
    rows = np.isin(images.patients, [*left_out[0]])
    assert np.array_equal(answers.probabilities[rows], answer(images.where(rows), model).probabilities)
    normals = set(images.patients[images.labels == 0].tolist())
    assert all(len(part & normals) >= min(59, counts[0] - 6) for part in seen)


def test_with_59_normals_there_is_no_patient_to_spare(draw, start):
    assert crossed(draw((59, 20, 20)), start) == (None, 0)


def test_the_figures_are_those_of_a_count_with_the_intervals_of_statsmodels(draw, start):
    images = draw((100, 30, 40), shift=2)
    answers = crossed(images, start).answers
    figures = measure(answers, images, NAMES)
    called = int(np.sum(answers.causes[images.labels == 2] == "covid"))
    low, high = proportion_confint(called, 40, method="beta")
    expected = {"value": called / 40, "low": low, "high": high}
    assert figures["causes"]["covid"]["sensitivity"] == pytest.approx(expected)
    assert called > 10
    wrong = np.sum(answers.causes[images.labels == 0] == "covid")
    assert figures["causes"]["covid"]["false_alarms"]["value"] == wrong / 100
    holds = np.mean(answers.sets[images.labels == 0, 0])
    assert figures["coverage"]["normal"]["value"] == pytest.approx(holds)
    assert holds > 0.85
    before = measure(answer(images, start), images, NAMES)
    alarms = [each["decisions"]["covid"]["false_alarms"]["value"] for each in (before, figures)]
    assert alarms[1] < alarms[0]
    assert 0 < figures["log_loss"]["value"] < 1
