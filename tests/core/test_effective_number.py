"""Kish's effective number against the variance that it promises."""

import numpy as np
import pytest

from covid_monai.core.effective_number import effective_number, effective_numbers


def test_no_images_are_worth_no_patient() -> None:
    assert effective_number([]) == 0.0


def test_equally_many_images_count_every_patient() -> None:
    assert effective_number(np.repeat(np.arange(7), 3).tolist()) == pytest.approx(7)


def test_mean_over_images_varies_as_that_of_so_many_patients() -> None:
    """Where images of one patient are alike, the mean over images has the variance of `n` patients."""
    images = np.array([133, 40, *[1] * 47])
    patients = np.repeat(np.arange(len(images)), images)
    draws = np.random.default_rng(0).normal(size=(20_000, len(images)))
    means = draws[:, patients].mean(axis=1)
    assert 1 / means.var() == pytest.approx(effective_number(patients.tolist()), rel=0.03)


def test_each_key_has_its_own_number() -> None:
    keyed = [("covid", "a"), ("normal", "a"), ("covid", "b"), ("normal", "a")]
    assert effective_numbers(keyed) == {"covid": 2.0, "normal": 1.0}
