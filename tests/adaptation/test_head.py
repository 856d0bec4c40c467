"""The fine-tuned last layer: against scikit-learn, and on data with and without something to learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from covid_monai.adaptation.head import Head, fit_head, patient_folds, tune_head


def make(n, *, shift, seed=0, features=12):
    """Images whose class is in the first features, of which `shift` moves the first by class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    inputs = rng.normal(size=(n, features))
    inputs[np.arange(n), labels] += 2
    inputs[:, 3] += shift * (labels == 2)
    return inputs, labels, np.array([f"p{i // 2}" for i in range(n)])


OLD = Head(2.0 * np.eye(3, 12), np.zeros(3))


def test_from_weights_of_zero_it_is_the_ridge_regression_of_scikit_learn():
    inputs, labels, _ = make(150, shift=1)
    labels[:20] = 0  # unequal classes
    zero = Head(np.zeros((3, 12)), np.zeros(3))
    ours = fit_head(zero, inputs, labels, strength=0.1, scale=1.0)
    model = LogisticRegression(
        C=1 / (0.1 * len(labels)), class_weight="balanced", fit_intercept=False, tol=1e-9, max_iter=5000
    ).fit(np.column_stack([inputs, np.ones(len(inputs))]), labels)
    assert np.column_stack([ours.weight, ours.bias]) == pytest.approx(model.coef_, abs=2e-3)


def test_the_scale_of_the_features_changes_nothing():
    inputs, labels, _ = make(90, shift=1)
    one = fit_head(OLD, inputs, labels, strength=1, scale=1.0)
    large = fit_head(Head(OLD.weight / 50, OLD.bias), inputs * 50, labels, strength=1, scale=50.0)
    assert large.logits(inputs * 50) == pytest.approx(one.logits(inputs), abs=1e-3)


def test_a_strong_pull_keeps_the_old_weights():
    inputs, labels, _ = make(90, shift=3)
    head = fit_head(OLD, inputs, labels, strength=1e6, scale=1.0)
    assert head.weight == pytest.approx(OLD.weight, abs=1e-4)


def test_what_differs_at_the_site_is_learned_and_helps_other_patients():
    inputs, labels, patients = make(180, shift=3)
    tuned = tune_head(OLD, inputs, labels, patients, seed=0)
    assert tuned.strength is not None
    assert tuned.losses[1] < 0.9 * tuned.losses[0]
    fresh, truth, _ = make(2000, shift=3, seed=1)
    accuracy = [np.mean(head.logits(fresh).argmax(axis=1) == truth) for head in (OLD, tuned.head)]
    assert accuracy[1] > accuracy[0] + 0.03
    assert tune_head(OLD, inputs, labels, patients, seed=0).strength == tuned.strength


def test_where_the_old_weights_are_the_best_nearly_nothing_changes():
    for seed in range(4):
        inputs, labels, patients = make(60, shift=0, seed=seed)
        tuned = tune_head(OLD, inputs, labels, patients, seed=seed)
        fresh, truth, _ = make(4000, shift=0, seed=100 + seed)
        right = [np.mean(head.logits(fresh).argmax(axis=1) == truth) for head in (OLD, tuned.head)]
        assert right[1] > right[0] - 0.01


def test_folds_keep_patients_whole_and_classes_even():
    _, labels, patients = make(120, shift=0)
    folds = patient_folds(labels, patients, 5, seed=3)
    assert all(len(set(folds[patients == name])) == 1 for name in set(patients))
    assert np.ptp(np.bincount(folds)) <= 6
    assert not np.array_equal(folds, patient_folds(labels, patients, 5, seed=4))
