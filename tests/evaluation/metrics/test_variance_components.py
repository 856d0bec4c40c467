"""Variances that add up, and degrees of freedom of their sum."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from covid_monai.evaluation.metrics.variance_components import (
    patient_component,
    seed_component,
    student_interval,
)


def test_the_seeds_of_two_recipes_alone_are_welchs_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.80, 0.01, 3), rng.normal(0.82, 0.03, 5)
    expected = ttest_ind(second, first, equal_var=False)
    components = [seed_component(first), seed_component(second)]
    found, p_value = student_interval(second.mean() - first.mean(), components)
    assert p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_what_is_not_known_has_no_component():
    assert seed_component(np.array([0.8])) is None
    assert patient_component(np.array([0.1, 0.2, 0.3]), effective_patients=1.0) is None
    assert patient_component(np.array([0.1, np.nan, np.nan]), effective_patients=9) is None
    assert student_interval(0.1, []) == ((0.1, None, None), None)
