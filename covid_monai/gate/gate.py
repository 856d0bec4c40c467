"""The gate before the network: only upright images like the training images get a score.

The readers refuse files by their header and colours. The gate judges the pixels by statistics of the training
images, which are stored beside the weights.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError
from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.number_format import format_probability
from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.gate.descriptor import LAYOUT, Floats, describe, thumbnail
from covid_monai.gate.sources import TrainingSources
from covid_monai.lungs import LungQuality

POSES = ("upright", "turned to the left", "upside down", "turned to the right", "inverted")
_INVERTED = POSES.index("inverted")
# An image is refused only if another pose is nine times as probable as upright.
MIN_UPRIGHT_PROBABILITY = 0.1
_MAX_BYTES = 64 * 2**20  # unpacked; a gate has 0.3 MB
_ARRAYS = ("center", "scale", "precision", "pose_weights", "pose_bias")
_PLAIN = ("distance_limit", "weights_sha256", "preprocessing_digest", "fitted_on")
_LONGEST_SOURCE = 64  # letters
_SOURCE_ARRAYS = ("means", "scale", "precision", "limits")


@dataclass(frozen=True)
class Gate:
    """Statistics of a bundle's training images, and the limits beyond which an image gets no score."""

    center: Floats  # mean of the descriptors (see `describe`), [D]
    scale: Floats  # standard deviation of the descriptors, [D]
    precision: Floats  # inverse covariance of the standardised descriptors, [D, D]
    distance_limit: float  # largest accepted distance; see `distance`
    pose_weights: Floats  # multinomial logistic regression on thumbnails, [len(POSES), 16 * 16]
    pose_bias: Floats  # intercepts of that regression, [len(POSES)]
    weights_sha256: str  # of the bundle's `model.pt`, whose training images these are
    preprocessing_digest: str  # of the bundle
    # `training_images`, `validation_images`, and `validation_refused`: the share that the limits refuse
    fitted_on: dict[str, float]
    # None: the gate is of an earlier version, or no source has enough patients
    sources: TrainingSources | None = None

    def distance(self, descriptors: Floats) -> Floats:
        """Return the Mahalanobis distance from the training images, mostly near 1: `[..., D]` to `[...]`."""
        standard = (descriptors - self.center) / self.scale
        squared = ((standard @ self.precision) * standard).sum(axis=-1)
        distance: Floats = np.sqrt(np.maximum(squared, 0) / len(self.center))
        return distance

    def pose_probabilities(self, descriptors: Floats) -> Floats:
        """Return the probability of each of `POSES`: `[..., D]` to `[..., len(POSES)]`."""
        grid = thumbnail(descriptors).reshape(*descriptors.shape[:-1], -1)
        probabilities: Floats = softmax(grid @ self.pose_weights.T + self.pose_bias, axis=-1)
        return probabilities

    def check(self, image: Tensor) -> dict[str, Any] | None:
        """Refuse a preprocessed image `[1, S, S]` as NOT_UPRIGHT, INVERTED or UNLIKE_TRAINING.

        Returns:
            The `source_shift` of the `Prediction` of an accepted image; None if the gate knows no sources.
        """
        descriptor = describe(image)
        distance, poses = float(self.distance(descriptor)), self.pose_probabilities(descriptor)
        upright = poses[0] >= MIN_UPRIGHT_PROBABILITY
        if not upright:
            # A photograph is not reported as upside down: turned back, the image must be like the others.
            pose = int(poses.argmax())
            turned_back = -image if pose == _INVERTED else torch.rot90(image, -pose, (1, 2))
            if self.distance(describe(turned_back)) <= self.distance_limit:
                probability = format_probability(poses[pose])
                found = f"The image seems to be {POSES[pose]} (probability {probability})."
                if pose == _INVERTED:
                    way_out = "Give an image with bright bone and dark air."
                    raise RefusedImage(RefusalReason.INVERTED, f"{found} {way_out}")
                raise RefusedImage(RefusalReason.NOT_UPRIGHT, f"{found} Turn it upright.")
        if not upright or distance > self.distance_limit:
            raise RefusedImage(
                RefusalReason.UNLIKE_TRAINING,
                f"The image is unlike the training images (distance {distance:.2g}; the limit is "
                f"{self.distance_limit:.2g}). Give a frontal chest radiograph.",
            )
        return None if self.sources is None else self.sources.note(descriptor)

    def save(self, path: Path) -> None:
        """Write a numpy `.npz` file in one step; MONAI Label would take a `.pt` file for weights."""
        plain = {name: getattr(self, name) for name in _PLAIN} | {"layout": LAYOUT}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.sources is not None:
            plain["sources"] = [self.sources.names, self.sources.resembled_when_left_out]
            arrays |= {f"source_{name}": getattr(self.sources, name) for name in _SOURCE_ARRAYS}
        with replace_atomically(path) as temporary, temporary.open("wb") as file:
            stored = {name: values.astype(np.float32) for name, values in arrays.items()}
            np.savez_compressed(file, plain=json.dumps(plain), **stored)

    @classmethod
    def load(cls, bundle: Bundle) -> "Gate | None":
        """Return the gate of a bundle, None if it has none.

        Raises:
            CheckpointError: The gate is damaged, or was fitted for other weights or another preprocessing.
        """
        path = bundle.gate_path
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:  # a small file could inflate to more than the memory
                if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                    raise ValueError(f"it unpacks to more than {_MAX_BYTES >> 20} MiB")
            with np.load(path, allow_pickle=False) as content:
                plain = json.loads(str(content["plain"]))
                layout = tuple(plain.pop("layout"))
                plain["sources"] = _load_sources(content, *plain.pop("sources", ()))
                gate = cls(**{name: content[name].astype(np.float64) for name in _ARRAYS}, **plain)
        except Exception as error:  # numpy and zipfile raise many types for a damaged file
            message = f"{path} is damaged, or is not an input gate of this project ({error})."
            raise CheckpointError(f"{message} Use the gate of the same training run.") from error
        own = (LAYOUT, bundle.identity["weights_sha256"], bundle.preprocessing_digest)
        if (layout, gate.weights_sha256, gate.preprocessing_digest) != own:
            raise CheckpointError(
                f"{path} was fitted for other weights or another preprocessing than those of this bundle. "
                "Use the gate of the same training run, or fit it again (python benchmarks/gate.py --fit)."
            )
        return gate


def check_lungs(quality: LungQuality) -> None:
    """Refuse an image without lungs as NO_LUNGS; lungs that are cut off are no reason to refuse it."""
    if not quality.found:
        raise RefusedImage(RefusalReason.NO_LUNGS, f"{quality.note} Give a frontal chest radiograph.")


def _load_sources(
    content: Mapping[str, np.ndarray], names: Sequence[str] = (), left_out: Sequence[float] | None = None
) -> TrainingSources | None:
    if not names:
        return None
    arrays = {name: content[f"source_{name}"].astype(np.float64) for name in _SOURCE_ARRAYS}
    expected = (len(names), len(arrays["scale"]))
    known = all(isinstance(name, str) and len(name) <= _LONGEST_SOURCE for name in names)
    if not known or arrays["means"].shape != expected:
        raise ValueError("names and statistics of its sources do not fit together")
    shares = None if left_out is None else (float(left_out[0]), float(left_out[1]))
    return TrainingSources(names=tuple(names), resembled_when_left_out=shares, **arrays)
