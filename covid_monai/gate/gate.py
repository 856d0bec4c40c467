"""The gate before the network: what is no upright frontal image like those trained on gets no score.

The readers have refused what the file's header or its colours tell (see `readers.acceptance`); here the
pixels are judged, by statistics of the training images that are stored beside the weights.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from covid_monai.bundle import Bundle
from covid_monai.bundle.checkpoint import CheckpointError
from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.gate.descriptor import LAYOUT, Floats, describe, thumbnail

POSES = (
    "upright",
    "turned to the left",
    "upside down",
    "turned to the right",
    "with black and white swapped",
)
_INVERTED = POSES.index("with black and white swapped")
# An image is refused only if another pose is nine times as probable as upright.
MIN_UPRIGHT_PROBABILITY = 0.1
_ARRAYS = ("center", "scale", "precision", "pose_weights", "pose_bias")
_PLAIN = ("distance_limit", "weights_sha256", "preprocessing_digest", "fitted_on")
# View Position (0018,5101), PS3.3 C.8.1.1.1 and C.8.7.1, with what consoles write in its place.
_OTHER_VIEW = re.compile(
    r"[LR]|[LR]?(L|LAT|LATERAL)|(LEFT|RIGHT)-LATERAL|[LR]L[DO]|[LR][AP]O|OBLIQUE|DECUBITUS"
)


@dataclass(frozen=True)
class Gate:
    """Statistics of a bundle's training images, and the limits beyond which an image gets no score.

    Args:
        center: `[D]`, mean of the descriptors (see `describe`).
        scale: `[D]`, their standard deviation.
        precision: `[D, D]`, inverse covariance of the standardised descriptors.
        distance_limit: Largest distance that is accepted; see `distance`.
        pose_weights: `[len(POSES), 16 * 16]`, multinomial logistic regression on thumbnails.
        pose_bias: `[len(POSES)]`.
        weights_sha256: Of the bundle's `model.pt`: the images are those that these weights have seen.
        preprocessing_digest: Of the bundle.
        fitted_on: `training_images`, `validation_images`, and the share of the latter that the limits refuse.
    """

    center: Floats
    scale: Floats
    precision: Floats
    distance_limit: float
    pose_weights: Floats
    pose_bias: Floats
    weights_sha256: str
    preprocessing_digest: str
    fitted_on: dict[str, float]

    def distance(self, descriptors: Floats) -> Floats:
        """Mahalanobis distance from the training images, about 1 for most of them: `[..., D]` to `[...]`."""
        standard = (descriptors - self.center) / self.scale
        squared = ((standard @ self.precision) * standard).sum(axis=-1)
        distance: Floats = np.sqrt(np.maximum(squared, 0) / len(self.center))
        return distance

    def pose_probabilities(self, descriptors: Floats) -> Floats:
        """Probability of each of `POSES`: `[..., D]` to `[..., len(POSES)]`."""
        grid = thumbnail(descriptors).reshape(*descriptors.shape[:-1], -1)
        probabilities: Floats = softmax(grid @ self.pose_weights.T + self.pose_bias, axis=-1)
        return probabilities

    def check(self, image: Tensor) -> None:
        """Refuse an image that is no upright image like those of the training.

        Args:
            image: `[1, S, S]`, preprocessed by the bundle.

        Raises:
            RefusedImage: NOT_UPRIGHT, INVERTED or UNLIKE_TRAINING.
        """
        descriptor = describe(image)
        distance, poses = float(self.distance(descriptor)), self.pose_probabilities(descriptor)
        upright = poses[0] >= MIN_UPRIGHT_PROBABILITY
        if not upright:
            # Of a photograph nobody wants to hear that it is upside down: turned back it must be an image.
            turned_back = describe(_turn_back(image, pose=int(poses.argmax())))
            if self.distance(turned_back) <= self.distance_limit:
                _refuse_pose(poses)
        if not upright or distance > self.distance_limit:
            raise RefusedImage(
                RefusalReason.UNLIKE_TRAINING,
                f"Unlike the images that the classifier was trained on (distance {distance:.2g}, at most "
                f"{self.distance_limit:.2g} is accepted); a frontal chest radiograph was expected.",
            )

    def save(self, path: Path) -> None:
        """Write as numpy's `.npz`, in one step; MONAI Label would take a `.pt` for weights of the network."""
        plain = {name: getattr(self, name) for name in _PLAIN} | {"layout": LAYOUT}
        arrays = {name: getattr(self, name).astype(np.float32) for name in _ARRAYS}
        with replace_atomically(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, plain=json.dumps(plain), **arrays)

    @classmethod
    def load(cls, bundle: Bundle) -> "Gate | None":
        """The gate of a bundle; None if the bundle has none.

        Raises:
            CheckpointError: If it is damaged, or was fitted for other weights or another preprocessing.
        """
        path = bundle.gate_path
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                plain = json.loads(str(content["plain"]))
                layout = tuple(plain.pop("layout"))
                gate = cls(**{name: content[name].astype(np.float64) for name in _ARRAYS}, **plain)
        except Exception as error:  # numpy and zipfile raise many types for a damaged file
            raise CheckpointError(
                f"{path} is no input gate of this project, or is damaged: {error}"
            ) from error
        own = (LAYOUT, bundle.identity["weights_sha256"], bundle.preprocessing_digest)
        if (layout, gate.weights_sha256, gate.preprocessing_digest) != own:
            raise CheckpointError(
                f"{path} was fitted for other weights or another preprocessing than this bundle's: use the "
                "gate of the same training run, or fit it again (python benchmarks/gate.py --fit)."
            )
        return gate


def check_view(meta: Mapping[str, Any]) -> None:
    """Refuse an image whose header says that it is no frontal view.

    Args:
        meta: Metadata of `read_radiograph`; `ViewPosition` is "" where the file does not say.

    Raises:
        RefusedImage: NOT_FRONTAL.

    >>> check_view({"ViewPosition": "PA"})
    """
    view = re.sub(r"[\W_]+", "-", str(meta.get("ViewPosition", "")).upper()).strip("-")
    if _OTHER_VIEW.fullmatch(view):
        raise RefusedImage(
            RefusalReason.NOT_FRONTAL, f"ViewPosition is {view}; a frontal view (PA or AP) was expected."
        )


def _turn_back(image: Tensor, *, pose: int) -> Tensor:
    return -image if pose == _INVERTED else torch.rot90(image, -pose, (1, 2))


def _refuse_pose(poses: Floats) -> None:
    pose = int(poses.argmax())
    found = f"The image looks {POSES[pose]} ({poses[pose]:.0%})"
    if pose == _INVERTED:
        raise RefusedImage(RefusalReason.INVERTED, f"{found}; bright bone on dark air was expected.")
    raise RefusedImage(RefusalReason.NOT_UPRIGHT, f"{found}; turn it upright.")
