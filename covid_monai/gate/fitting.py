"""Fit of the gate on a bundle's own training images, with its limit from the validation images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from covid_monai.bundle import Bundle
from covid_monai.core.parallel import map_in_threads
from covid_monai.gate.descriptor import Floats, describe, thumbnail
from covid_monai.gate.gate import MIN_UPRIGHT_PROBABILITY, POSES, Gate
from covid_monai.gate.source_fitting import fit_sources

MAX_IMAGES = 3000  # more images make no measurable difference
_MAX_POSE_IMAGES = 1000
REFUSED_SHARE = 0.005  # share of the validation images that the distance may refuse
_DEVIATIONS = 3.0
_THREADS = 2  # that read and preprocess


def fit_gate(bundle: Bundle, train_records: Sequence[dict], val_records: Sequence[dict]) -> Gate:
    """Fit the statistics of the training images, and a limit that nearly all validation images pass.

    The distance is Mahalanobis', with the shrunk covariance of Ledoit and Wolf, which also exists for few
    images. No outlier is needed. The pose comes from a logistic regression of training images that are
    turned and inverted on purpose, and mirrored, because a mirrored image is not refused.

    The bundle has its final weights. Records have an `image` (path), and where known a `source` and a
    `patient`; at most `MAX_IMAGES` of each are used, drawn at random.

    Reference: Lee 2018 (Mahalanobis distance against outliers); Ledoit and Wolf 2004.
    """
    if min(len(train_records), len(val_records)) < 2:
        raise ValueError(
            "The input gate needs at least two training images and two validation images; there are "
            f"{len(train_records)} and {len(val_records)}. Prepare the datalist with more images."
        )
    drawn = _draw(train_records), _draw(val_records)
    files = ([record["image"] for record in records] for records in drawn)
    training, validation = (describe_files(bundle, each) for each in files)
    gate = _with_limit(_fit_statistics(bundle, training), validation, training_images=len(training))
    records = [*drawn[0], *drawn[1]]
    sources = [str(record.get("source") or "") for record in records]
    patients = [str(record.get("patient") or record["image"]) for record in records]
    return replace(gate, sources=fit_sources(np.concatenate([training, validation]), sources, patients))


def describe_files(bundle: Bundle, files: Sequence[str]) -> Floats:
    """Return the descriptors `[N, D]` of images, read as the bundle reads them."""

    def describe_file(file: str) -> Floats:
        return describe(bundle.preprocessing({"image": file})["image"])

    rows = map_in_threads(describe_file, files, "describing images", total=len(files), workers=_THREADS)
    return np.stack(list(rows))


def _draw(records: Sequence[dict]) -> list[dict]:
    order = np.random.default_rng(0).permutation(len(records))[:MAX_IMAGES]
    return [records[index] for index in order]


def _fit_statistics(bundle: Bundle, training: Floats) -> Gate:
    # Rounded as they will be stored, so that the limit belongs to the numbers that are used.
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
    # Strong regularisation: the pose must follow from where lungs and abdomen lie, not from single pixels.
    model = LogisticRegression(C=0.1, max_iter=300).fit(pixels, np.repeat(range(len(POSES)), len(images)))
    return model.coef_, model.intercept_


def _with_limit(gate: Gate, validation: Floats, *, training_images: int) -> Gate:
    distances = gate.distance(validation)
    logarithms = np.log(distances)
    # Few images say little about their tail. Then the normal distribution of the logarithm sets the limit.
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
