"""The fit of the gate: statistics against scikit-learn, limit, too few images."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from covid_monai.gate.fitting import MAX_IMAGES, describe_files, fit_gate


def test_the_distance_is_the_one_of_scikit_learn(bundle, gate, data):
    files = [record["image"] for record in data.records("training")]
    training = describe_files(bundle, files)
    assert len(files) < MAX_IMAGES  # so all were used
    standard = (training - training.mean(axis=0)) / (training.std(axis=0) + 1e-6)
    expected = LedoitWolf(assume_centered=True).fit(standard).mahalanobis(standard)
    np.testing.assert_allclose(gate.distance(training) ** 2 * training.shape[1], expected, rtol=1e-2)


def test_validation_images_set_the_limit(bundle, gate, data):
    validation = describe_files(bundle, [record["image"] for record in data.records("validation")])
    distances = gate.distance(validation)
    assert distances.max() <= gate.distance_limit < 3 * distances.max()
    assert gate.fitted_on["validation_images"] == len(validation)
    assert gate.fitted_on["validation_refused"] <= 0.1


def test_the_gate_comes_back_as_it_was_and_is_small(bundle, gate, data):
    again = fit_gate(bundle, data.records("training"), data.records("validation"))
    np.testing.assert_array_equal(gate.precision, again.precision)
    assert gate.distance_limit == again.distance_limit
    assert bundle.gate_path.stat().st_size < 2_000_000


def test_too_few_images_are_an_error(bundle, data):
    with pytest.raises(ValueError, match="two training images"):
        fit_gate(bundle, data.records("training")[:1], data.records("validation"))
