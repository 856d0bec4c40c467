"""The temperature: bounded where the data say little, and below 1 only where that helps on other sources."""

import numpy as np
import pytest
from scipy.special import softmax

from covid_monai.evaluation.decisions.temperature import at_temperature, fit_temperature


def underconfident(n, *, factor, seed=0):
    """Labels drawn from the softmax of logits, and the softmax of `factor` times these logits."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 3))
    cumulated = softmax(logits, axis=1).cumsum(axis=1)
    return (rng.uniform(size=(n, 1)) > cumulated).sum(axis=1).clip(max=2), softmax(factor * logits, axis=1)


@pytest.mark.parametrize("n", [6, 40])
def test_images_without_an_error_do_not_make_it_certain(n):
    labels = np.arange(n) % 3
    probabilities = softmax(20 * np.eye(3)[labels], axis=1)
    temperature, notes = fit_temperature(labels, probabilities, np.arange(n))
    # Half a patient more might have been wrong.
    assert at_temperature(probabilities, temperature).max() == pytest.approx(1 - 0.5 / (n + 1), abs=0.002)
    assert any("classified correctly" in note for note in notes)


def test_probabilities_that_say_nothing_are_noted():
    labels = np.arange(60) % 3
    backwards = softmax(-5 * np.eye(3)[labels], axis=1)
    temperature, notes = fit_temperature(labels, backwards, np.arange(60))
    assert any("could not be fitted" in note for note in notes)
    assert np.isfinite(at_temperature(backwards, temperature)).all()


def test_a_temperature_below_1_needs_a_lower_loss_on_sources_left_out():
    labels, probabilities = underconfident(1200, factor=0.5)
    patients = np.arange(1200)
    alike = np.arange(1200) % 3
    assert fit_temperature(labels, probabilities, patients, alike)[0] == pytest.approx(0.5, rel=0.1)
    alone, notes = fit_temperature(labels, probabilities, patients)
    assert alone == 1
    assert "sources left out of the fit" in notes[0]
    # One large source asks for more certainty, the others are harmed by it.
    large, raw = underconfident(1200, factor=0.4)
    others, sure = underconfident(400, factor=1.15, seed=1)
    mixed = np.concatenate([large, others]), np.concatenate([raw, sure])
    sources = np.repeat([0, 1, 2], [1200, 200, 200])
    assert fit_temperature(*mixed, np.arange(1600), sources)[0] >= 1


def test_a_source_with_more_images_does_not_weigh_more():
    few, sure = underconfident(300, factor=4.0)
    many, right = underconfident(3000, factor=1.0, seed=1)
    mixed = np.concatenate([few, many]), np.concatenate([sure, right])
    sources = np.repeat([0, 1], [300, 3000])
    by_source, _ = fit_temperature(*mixed, np.arange(3300), sources)
    by_image, _ = fit_temperature(*mixed, np.arange(3300))
    assert by_source > 1.5 * by_image
