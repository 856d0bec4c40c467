"""Predictive values follow Bayes, and decision curves are counted by hand."""

import numpy as np
import pytest
from evaluation_helpers import FEW, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.evaluation.metrics.clinical_utility import PREVALENCES, decision_curve, predictive_values
from covid_monai.evaluation.metrics.intervals import Interval, PatientBootstrap, ratio_interval


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.sampled_from(PREVALENCES))
def test_predictive_values_follow_bayes(sensitivity, specificity, prevalence):
    shares = [{"value": v, "low": v, "high": v} for v in (sensitivity, specificity)]
    (found,) = predictive_values(*shares, [prevalence])
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    assert found["ppv"]["value"] == pytest.approx(true_positive / (true_positive + false_positive))
    assert found["npv"]["value"] == pytest.approx(true_negative / (true_negative + false_negative))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_ratios_and_predictive_values_are_ordered(numbers):
    (a_low, a, a_high), (b_low, b, b_high) = sorted(numbers[:3]), sorted(numbers[3:])
    ratio = ratio_interval(Interval(a, a_low, a_high), Interval(b, b_low, b_high))
    assert ratio.value is None or ratio.low <= ratio.value <= ratio.high
    shares = [
        dict(zip(("low", "value", "high"), sorted(part), strict=True)) for part in (numbers[:3], numbers[3:])
    ]
    for found in predictive_values(*shares):
        for figure in (found["ppv"], found["npv"]):
            ends = [figure[key] for key in ("low", "value", "high") if figure[key] is not None]
            assert ends == sorted(ends)
            assert all(0 <= end <= 1 for end in ends)


def test_without_false_positives_the_ppv_has_a_lower_end():
    perfect = {"value": 1.0, "low": 0.9, "high": 1.0}
    found = predictive_values({"value": 0.8, "low": 0.7, "high": 0.88}, perfect, [0.01])[0]
    assert found["ppv"]["value"] == 1
    # At worst 0.7 of the cases against 0.1 of the others.
    assert found["ppv"]["low"] == pytest.approx(0.007 / (0.007 + 0.099))


def test_prevalence_outside_0_to_1_is_refused():
    share = {"value": 0.9, "low": 0.8, "high": 0.95}
    with pytest.raises(ValueError, match="between 0 and 1"):
        predictive_values(share, share, [0.0])


def test_decision_curve_is_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1])
    p = np.array([0.1, 0.3, 0.6, 0.4, 0.9])
    bootstrap = PatientBootstrap(np.arange(5))
    curve = decision_curve(labels, np.column_stack([1 - p, p]), 1, bootstrap, thresholds=[0.2, 0.5])
    # At 0.2: both cases found, two false alarms at 1/4 each; at 0.5: one found, one false alarm at 1.
    assert curve["model"] == pytest.approx([(2 - 2 / 4) / 5, (1 - 1) / 5])
    assert curve["treat_all"] == pytest.approx([0.4 - 0.6 / 4, 0.4 - 0.6])
    assert curve["treat_none"] == [0, 0]
    assert all(low <= high for low, high in zip(curve["low"], curve["high"], strict=True))


def test_calling_everybody_is_treating_all():
    test = rows(60, names=("no", "yes"))
    everybody = np.tile([0.0, 1.0], (60, 1))
    curve = decision_curve(test.labels, everybody, 1, PatientBootstrap(test.patients, **FEW))
    assert curve["model"] == pytest.approx(curve["treat_all"])
    # What treating all is worth depends on the share of cases, and that is a result of the sample.
    for low, value, high in zip(curve["low"], curve["treat_all"], curve["high"], strict=True):
        assert low < value < high


def test_the_net_benefit_of_a_rare_class_lies_in_its_interval():
    inside, threshold, trials = 0, 0.2, 300
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        labels = rng.permutation(60) < rng.binomial(60, 0.1)
        p = np.where(rng.random(60) < 0.9, labels, ~labels) * 0.8 + 0.1
        bootstrap = PatientBootstrap(range(60), resamples=200, seed=trial)
        curve = decision_curve(labels, np.column_stack([1 - p, p]), 1, bootstrap, thresholds=[threshold])
        truth = 0.1 * 0.9 - 0.9 * 0.1 * threshold / (1 - threshold)
        inside += curve["low"][0] is not None and curve["low"][0] <= truth <= curve["high"][0]
    # The percentiles of the resamples held the truth in 0.928 of 600 such trials.
    assert inside / trials >= 0.95
