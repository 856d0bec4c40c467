"""Intervals of an estimate whose uncertainty has several causes, such as patients and training seeds.

Two trainings that differ only in their seed give different networks. A comparison of two recipes must hold
for the next seed as well as for the next patients (Bouthillier et al., Accounting for variance in machine
learning benchmarks, MLSys 2021). The variances of independent causes add up. Each is an estimate with its own
degrees of freedom, which Satterthwaite's formula joins (An approximate distribution of estimates of variance
components, Biometrics Bulletin 1946;2:110-114). With two samples this is Welch's test.

A bootstrap of patients and seeds together has the same variance (Owen, The pigeonhole bootstrap, Ann Appl
Stat 2007;1:386-411). Its percentiles take that variance as known, but three seeds give two degrees of
freedom. Such intervals are too narrow.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from covid_monai.evaluation.metrics.intervals import CONFIDENCE, Interval
from covid_monai.evaluation.metrics.prediction_table import Floats


class Component(NamedTuple):
    """One cause of uncertainty: its variance, and the degrees of freedom with which the variance is known."""

    variance: float
    freedom: float

    def scaled(self, factor: float) -> "Component":
        """Return the component of the estimate times a factor."""
        return Component(self.variance * factor**2, self.freedom)


def patient_component(draws: Floats, effective_patients: float) -> Component | None:
    """Return the variance due to patients, from values of resamples [B]; None where it is not known.

    `effective_patients` is the effective number (Kish) of the smaller class behind the estimate.
    """
    defined = draws[~np.isnan(draws)]
    if effective_patients <= 1 or len(defined) < 2 or 2 * len(defined) < len(draws):
        return None
    # Two patients with very unequal numbers of images have less than one degree of freedom: no finite end.
    return Component(float(defined.var(ddof=1)), max(effective_patients - 1, 1.0))


def seed_component(values: Floats) -> Component | None:
    """Return the variance of the mean of the values [S] of S seeds; None for one seed, which shows none.

    >>> seed_component(np.array([0.80, 0.82, 0.84])).freedom
    2
    """
    seeds = len(values)
    return Component(float(np.var(values, ddof=1)) / seeds, seeds - 1) if seeds > 1 else None


def joined(components: Sequence[Component]) -> tuple[float, float]:
    """Return the standard error of an estimate and its degrees of freedom (Satterthwaite).

    >>> joined([Component(0.5, 4), Component(0.5, 4)])
    (1.0, 8.0)
    """
    total = sum(part.variance for part in components)
    if total <= 0:
        return 0.0, 0.0
    return float(np.sqrt(total)), total**2 / sum(part.variance**2 / part.freedom for part in components)


def student_interval(value: float, components: Sequence[Component]) -> tuple[Interval, float | None]:
    """Return the interval of an estimate and the p value of 0; without both where nothing varies."""
    error, freedom = joined(components)
    if error < 1e-12:
        return Interval(value, None, None), None
    reach = float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Interval(value, value - reach, value + reach), float(2 * student.sf(abs(value) / error, freedom))
