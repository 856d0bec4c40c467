"""Weights of validation images: what shares the same, and quantiles under them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.evaluation.decisions.validation_weights import (
    balanced_weights,
    effective_of_weights,
    effective_patients,
    too_few,
    weighted_quantile,
)

CELLS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 40)), min_size=1, max_size=150
)


@given(CELLS)
def test_classes_sources_and_patients_share_equally(cells):
    labels, sources, patients = np.array(cells).T
    weights = balanced_weights(labels, patients, sources)
    assert weights.sum() == pytest.approx(1)
    for label in np.unique(labels):
        own = labels == label
        assert weights[own].sum() == pytest.approx(1 / len(np.unique(labels)))
        shares = []
        for source in np.unique(sources[own]):
            cell = own & (sources == source)
            # A source of twenty or more patients has a full share, a smaller one its part of it.
            shares.append(weights[cell].sum() / min(20, len(np.unique(patients[cell]))))
            of_patient = [weights[cell & (patients == who)].sum() for who in np.unique(patients[cell])]
            assert of_patient == pytest.approx([of_patient[0]] * len(of_patient))
        assert shares == pytest.approx([shares[0]] * len(shares))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_is_that_of_repeated_values(pairs, share):
    values, counts = np.array(pairs).T
    (found,) = weighted_quantile(values.astype(float), counts.astype(float), [share])
    repeated = np.repeat(values, counts)
    assert found == pytest.approx(np.quantile(repeated, share, method="inverted_cdf"))


def test_effective_numbers_count_patients():
    labels, patients = [0] * 30 + [1] * 30, [*range(30), *[99] * 21, *range(9)]
    numbers = effective_patients(labels, patients, ["normal", "covid", "absent"])
    assert numbers["normal"] == 30
    assert too_few(numbers) == {"covid": pytest.approx(900 / 450), "absent": 0}
    assert effective_of_weights(balanced_weights(labels, patients)[30:], patients[30:]) == pytest.approx(10)
