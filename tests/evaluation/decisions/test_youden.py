"""The width of the kernels against SciPy's rule and under sources that lie apart."""

import numpy as np
import pytest
from statsmodels.nonparametric.bandwidths import bw_silverman

from covid_monai.evaluation.decisions.youden import kernel_width, youden_cut


def test_the_width_is_that_of_silverman_for_one_source():
    scores = np.random.default_rng(0).standard_t(3, size=2000)
    width = kernel_width(scores, np.full(2000, 1 / 2000), 2000)
    assert width == pytest.approx(bw_silverman(scores), rel=0.01)  # it divides by 1.349


def test_sources_that_lie_apart_do_not_widen_the_kernels():
    rng = np.random.default_rng(0)
    sources = np.repeat([0, 1, 2], 200)
    within = rng.normal(size=600)
    weights = np.full(600, 1 / 600)
    apart = within + np.array([-6.0, 0.0, 6.0])[sources]
    assert kernel_width(apart, weights, 600, sources) == pytest.approx(bw_silverman(within), rel=0.05)
    assert kernel_width(apart, weights, 600) > 3 * kernel_width(apart, weights, 600, sources)


def test_equal_scores_have_the_narrowest_kernel_and_no_cut_is_none():
    assert kernel_width(np.zeros(30), np.full(30, 1 / 30), 30) == 0.1
    is_case = np.arange(30) < 15
    assert youden_cut(is_case, np.zeros(30), np.arange(30)) is None
    assert youden_cut(np.ones(30, bool), np.arange(30.0), np.arange(30)) is None
