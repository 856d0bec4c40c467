"""Fit the gate on a bundle's own training images, and set its limit on the validation images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from covid_monai.bundle import Bundle
from covid_monai.core.progress import with_progress
from covid_monai.gate.descriptor import Floats, describe, thumbnail
from covid_monai.gate.gate import MIN_UPRIGHT_PROBABILITY, POSES, Gate

MAX_IMAGES = 3000  # more change nothing that can be measured
_MAX_POSE_IMAGES = 1000
REFUSED_SHARE = 0.005  # of the validation images, by the distance
_DEVIATIONS = 3.0


def fit_gate(
    bundle: Bundle,
    train_records: Sequence[dict],
    val_records: Sequence[dict],
    *,
    seed: int = 0,
    workers: int = 2,
) -> Gate:
    """Statistics of the training images, with the limit that lets nearly all validation images pass.

    The distance is Mahalanobis', with the shrunk covariance of Ledoit and Wolf, which exists for few images
    too. Outliers are no part of it. The pose is told by a logistic regression of training images turned and
    inverted on purpose, and mirrored, as a mirrored image is not refused.

    Args:
        bundle: With its final weights.
        train_records: `image` (path); at most `MAX_IMAGES` of them, drawn at random, are used.
        val_records: Likewise.
        seed: Of the draw.
        workers: Threads that read and preprocess.

    Raises:
        ValueError: If there are fewer than two images in either.

    Reference: Lee 2018 (Mahalanobis distance against outliers); Ledoit and Wolf 2004.
    """
    if min(len(train_records), len(val_records)) < 2:
        raise ValueError("the input gate needs two training images and two validation images at least")
    training, validation = (
        describe_files(bundle, _draw(records, seed), workers=workers)
        for records in (train_records, val_records)
    )
    gate = _statistics(bundle, training)
    return _with_limit(gate, validation, training_images=len(training))


def _draw(records: Sequence[dict], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(records))[:MAX_IMAGES]
    return [records[index]["image"] for index in order]


def describe_files(bundle: Bundle, files: Sequence[str], *, workers: int = 2) -> Floats:
    """Descriptors `[N, D]` of images, read as the bundle reads them."""
    with ThreadPoolExecutor(workers, thread_name_prefix="describe") as pool:
        rows = pool.map(lambda file: describe(bundle.preprocessing({"image": file})["image"]), files)
        return np.stack(list(with_progress(rows, "describing images", total=len(files))))


def _statistics(bundle: Bundle, training: Floats) -> Gate:
    # Rounded as they will be stored: the limit then belongs to the very numbers that are used.
    center, scale = _stored(training.mean(axis=0)), _stored(training.std(axis=0) + 1e-6)
    covariance = LedoitWolf(assume_centered=True).fit((training - center) / scale)
    weights, bias = _fit_poses(thumbnail(training[:_MAX_POSE_IMAGES]))
    return Gate(
        center=center,
        scale=scale,
        precision=_stored(covariance.precision_),
        distance_limit=float("inf"),
        pose_weights=_stored(weights),
        pose_bias=_stored(bias),
        weights_sha256=bundle.identity["weights_sha256"],
        preprocessing_digest=bundle.preprocessing_digest,
        fitted_on={},
    )


def _fit_poses(upright: Floats) -> tuple[Floats, Floats]:
    """Logistic regression on thumbnails [N, 16, 16] in each of `POSES`."""
    images = np.concatenate([upright, upright[:, :, ::-1]])
    posed = [*(np.rot90(images, turns, axes=(1, 2)) for turns in range(len(POSES) - 1)), 1 - images]
    pixels = np.concatenate(posed).reshape(len(POSES) * len(images), -1)
    # Strong regularisation: a pose shall be told by where lungs and abdomen lie, not by single pixels.
    model = LogisticRegression(C=0.1, max_iter=300).fit(pixels, np.repeat(range(len(POSES)), len(images)))
    return model.coef_, model.intercept_


def _with_limit(gate: Gate, validation: Floats, *, training_images: int) -> Gate:
    distances = gate.distance(validation)
    logarithms = np.log(distances)
    # Few images say little of their tail; the normal distribution of the logarithm stands in then.
    spread = logarithms.mean() + _DEVIATIONS * logarithms.std(ddof=1)
    limit = float(np.exp(max(np.quantile(logarithms, 1 - REFUSED_SHARE), spread)))
    turned = gate.pose_probabilities(validation)[:, 0] < MIN_UPRIGHT_PROBABILITY
    fitted_on = {
        "training_images": training_images,
        "validation_images": len(validation),
        "validation_refused": float(np.mean((distances > limit) | turned)),
    }
    return replace(gate, distance_limit=limit, fitted_on=fitted_on)


def _stored(values: Floats) -> Floats:
    return values.astype(np.float32).astype(np.float64)
