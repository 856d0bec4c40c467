"""Fit of the statistics of each training source, with limits from patients held out.

The covariance is shared by the sources. Each source has the same weight in it, and so has each patient of a
source. Covariances of their own, distances to the nearest images, and parts of the descriptor told a source
that was left out from the others no better (docs/experiments.md, "Source of an image").
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from covid_monai.datasets.collections import shareable_names
from covid_monai.gate.descriptor import Floats
from covid_monai.gate.sources import TrainingSources

MIN_PATIENTS = 20  # with fewer than 19, no limit holds 95 % of the images
ACCEPTED_SHARE = 0.95
_FOLDS = 5

Texts = NDArray[np.str_]


def fit_sources(
    descriptors: Floats, sources: Sequence[str], patients: Sequence[str]
) -> TrainingSources | None:
    """Fit the sources with at least `MIN_PATIENTS` patients; None if there is none.

    The limit of a source is a conformal quantile: an image of a new patient of the source lies within it with
    a probability of at least 95 %. The distances that it is taken from are of patients who were held out of
    the fit in turn.

    Args:
        descriptors: Descriptors of training and validation images, `[N, D]`; see `describe`.
        sources: Source of each image, empty if unknown. Names other than those of `covid-monai data prepare`
            are free text and may name a person. They are replaced by numbers, because a bundle is shared.
        patients: Patient of each image.

    Reference: Lee, Barber, Willett 2023 (conformal quantiles where patients have several images).
    """
    shown, of_patient = (np.array(part, dtype=np.str_) for part in (shareable_names(sources), patients))
    names = tuple(name for name in sorted(set(shown.tolist())) if name)
    names = tuple(name for name in names if len(set(of_patient[shown == name])) >= MIN_PATIENTS)
    if not names:
        return None
    fitted = _fit_with_limits(names, descriptors, shown, of_patient)
    if len(names) == 1:
        return fitted
    shares = [_resembling_share(name, names, descriptors, shown, of_patient) for name in names]
    return replace(fitted, resembled_when_left_out=(min(shares), max(shares)))


def _resembling_share(
    left_out: str, names: tuple[str, ...], descriptors: Floats, sources: Texts, patients: Texts
) -> float:
    """Return the share of the images of a source that resemble another, when it was left out of the fit."""
    others, own = tuple(name for name in names if name != left_out), sources == left_out
    fitted = _fit_with_limits(others, descriptors[~own], sources[~own], patients[~own])
    resembling = fitted.resembles(descriptors[own]).any(axis=-1)
    return float(np.average(resembling, weights=_patient_weights(patients[own])))


def _fit_with_limits(
    names: tuple[str, ...], descriptors: Floats, sources: Texts, patients: Texts
) -> TrainingSources:
    used = np.isin(sources, names)
    descriptors, sources, patients = descriptors[used], sources[used], patients[used]
    unique, patient = np.unique(patients, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(unique)) % _FOLDS)[patient]
    distances = np.empty((len(descriptors), len(names)))
    for held_out in (fold == number for number in range(_FOLDS)):
        part = _fit(names, descriptors[~held_out], sources[~held_out], patients[~held_out])
        distances[held_out] = part.distances(descriptors[held_out])
    limits = [
        _conformal_limit(distances[sources == name, column], patients[sources == name])
        for column, name in enumerate(names)
    ]
    return replace(_fit(names, descriptors, sources, patients), limits=_stored(np.array(limits)))


def _fit(names: tuple[str, ...], descriptors: Floats, sources: Texts, patients: Texts) -> TrainingSources:
    """Fit means and the covariance, without limits."""
    means, weights, residuals = [], np.empty(len(descriptors)), np.empty_like(descriptors)
    for name in names:
        own = sources == name
        weights[own] = _patient_weights(patients[own])
        means.append(_stored(np.average(descriptors[own], axis=0, weights=weights[own])))
        weights[own] /= weights[own].mean() * own.sum()
        residuals[own] = descriptors[own] - means[-1]
    weights /= weights.mean()
    scale = _stored(np.sqrt(np.average(residuals**2, axis=0, weights=weights)) + 1e-6)
    weighted = residuals / scale * np.sqrt(weights)[:, None]
    precision = _stored(LedoitWolf(assume_centered=True).fit(weighted).precision_)
    return TrainingSources(names, np.stack(means), scale, precision, np.full(len(names), np.inf), None)


def _conformal_limit(distances: Floats, patients: Texts) -> float:
    """Return the quantile of distances in which each patient, and the one to come, has the same weight."""
    order = np.argsort(distances)
    share = np.cumsum(_patient_weights(patients)[order]) / (len(set(patients.tolist())) + 1)
    return float(distances[order][np.searchsorted(share, ACCEPTED_SHARE - 1e-12)])


def _patient_weights(patients: Texts) -> Floats:
    """Return a weight for each image, with which every patient counts once."""
    _, patient, images = np.unique(patients, return_inverse=True, return_counts=True)
    weights: Floats = 1 / images[patient]
    return weights


def _stored(values: Floats) -> Floats:
    """Round as the file does, so that limits belong to the numbers that are used."""
    return values.astype(np.float32).astype(np.float64)
