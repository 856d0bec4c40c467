"""Patients drawn again and again: resamples of a set of images for any statistic.

Within each class, n - 1 of its n patients are drawn with replacement and weigh n / (n - 1) each: the classes
of a test split are as many as they are by choice, not by chance, and the variance comes out without bias
also for few patients. `scipy.stats.bootstrap` resamples rows, neither groups nor strata. A resample is a
vector of weights, so that all resamples of a statistic are one pass over the images (`weighted`).

Reference: Rao and Wu, Resampling inference with complex survey data, J Am Stat Assoc 1988;83:231-241; Field
and Welsh, Bootstrapping clustered data, J R Stat Soc B 2007;69:369-390.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.evaluation.metrics.intervals import Interval, effective_count, exact_interval, share_interval
from covid_monai.evaluation.metrics.weighted import Floats

# Weights of one block of resamples stay under about 16 MB.
_BLOCK_ELEMENTS = 2_000_000


class PatientBootstrap:
    """Resamples of the patients behind a set of images, the same ones for every metric.

    Args:
        labels: Shape [N], class index of each image; a patient belongs to the class of most of its images.
        patients: Shape [N], patient of each image.
        resamples: How often the patients are drawn.
        seed: Same seed, same draws, whatever the block size.
    """

    def __init__(
        self, labels: NDArray[np.int64], patients: ArrayLike, *, resamples: int = 1000, seed: int = 0
    ) -> None:
        names, cluster = np.unique(np.asarray(patients), return_inverse=True)
        self.cluster: NDArray[np.int64] = cluster
        self.n_patients = len(names)
        self.resamples = resamples
        self._seed = seed
        images = np.zeros((self.n_patients, int(labels.max()) + 1))
        np.add.at(images, (cluster, labels), 1)
        self.strata: NDArray[np.int64] = images.argmax(axis=1).astype(np.int64)

    def patient_weights(self) -> Iterator[Floats]:
        """Arrays of shape [B, P]: the weight of each patient in each resample, in blocks of resamples."""
        generator = np.random.default_rng(self._seed)
        block = max(1, _BLOCK_ELEMENTS // len(self.cluster))
        for start in range(0, self.resamples, block):
            size = min(block, self.resamples - start)
            weights = np.ones((size, self.n_patients))
            for stratum in np.unique(self.strata):
                members = np.flatnonzero(self.strata == stratum)
                if len(members) > 1:
                    weights[:, members] = _draw(generator, size, len(members))
            yield weights

    def image_weights(self) -> Iterator[Floats]:
        """Arrays of shape [B, N]: the weight of each image, that of its patient."""
        for weights in self.patient_weights():
            yield weights[:, self.cluster]

    def patients_of(self, rows: NDArray[np.bool_]) -> tuple[int, float]:
        """How many patients have images among `rows` [N], and how many these are worth (Kish)."""
        images = np.bincount(self.cluster[rows], minlength=self.n_patients)
        return int((images > 0).sum()), effective_count(images.astype(np.float64))


def _draw(generator: np.random.Generator, size: int, n: int) -> Floats:
    drawn = generator.integers(n, size=(size, n - 1)) + n * np.arange(size)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
    return counts.astype(np.float64) * (n / (n - 1))


def clustered_means(values: Floats, bootstrap: PatientBootstrap) -> tuple[Floats, Floats, Floats, Floats]:
    """Means over images and their standard errors, of the sample and of every resample.

    The errors are those of a ratio (sum of values / number of images) under stratified sampling of patients
    (Cochran, Sampling Techniques, 1977, section 6.11).

    Args:
        values: Shape [N, L], one column per statistic.
        bootstrap: Of the same images.

    Returns:
        Mean [L], error [L], means [B, L], errors [B, L].
    """
    sums = np.zeros((bootstrap.n_patients, values.shape[1]))
    np.add.at(sums, bootstrap.cluster, values)
    images = np.bincount(bootstrap.cluster, minlength=bootstrap.n_patients)[:, None].astype(np.float64)
    (mean,), (error,) = _means_and_errors(np.ones((1, len(images))), sums, images, bootstrap.strata)
    blocks = [_means_and_errors(w, sums, images, bootstrap.strata) for w in bootstrap.patient_weights()]
    return (
        mean,
        error,
        np.concatenate([means for means, _ in blocks]),
        np.concatenate([errors for _, errors in blocks]),
    )


def share_with_interval(
    values: ArrayLike, labels: ArrayLike, patients: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """The mean of values between 0 and 1 (such as yes and no) over images, with its 95 % interval.

    Args:
        values: Shape [N].
        labels: Shape [N], class index of each image: patients are resampled within classes.
        patients: Shape [N].
        resamples: How often the patients are drawn.
        seed: Same seed, same interval.

    Returns:
        No value for no images; no ends for fewer than two patients.

    >>> share_with_interval([1, 1, 0, 1, 1, 1], [0] * 6, list("abcdef")).value.__round__(3)
    0.833
    """
    shares = np.asarray(values, dtype=np.float64)
    if len(shares) == 0:
        return Interval(None, None, None)
    bootstrap = PatientBootstrap(np.asarray(labels, dtype=np.int64), patients, resamples=resamples, seed=seed)
    mean, _, means, _ = clustered_means(shares[:, None], bootstrap)
    n, effective = bootstrap.patients_of(np.ones(len(shares), dtype=bool))
    found = share_interval(float(mean[0]), means[:, 0], effective_patients=effective)
    if found.low is None and found.value in (0.0, 1.0) and n > 1:
        return exact_interval(found.value, n)
    return found


def _means_and_errors(
    weights: Floats, sums: Floats, images: Floats, strata: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    total = weights @ images
    means = weights @ sums / total
    variances = np.zeros_like(means)
    for stratum in np.unique(strata):
        rows = strata == stratum
        n = int(rows.sum())
        if n > 1:
            variances += _residual_squares(weights[:, rows], sums[rows], images[rows], means) * n / (n - 1)
    return means, np.sqrt(np.maximum(variances, 0)) / total


def _residual_squares(weights: Floats, sums: Floats, images: Floats, means: Floats) -> Floats:
    """Weighted squares of (sum - mean x images) about their own mean, multiplied out: [B, L] at once."""
    squares = weights @ sums**2 - 2 * means * (weights @ (sums * images)) + means**2 * (weights @ images**2)
    level = weights @ sums - means * (weights @ images)
    return squares - level**2 / weights.sum(axis=1, keepdims=True)
