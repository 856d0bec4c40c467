"""Heat maps of a scored test split: images for the gallery, and measurements of what the maps are worth."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covid_monai.core.progress import with_progress
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.prediction_table import PredictionTable, read_predictions
from covid_monai.evaluation.report.gallery import Case, choose_cases, image_uri, overlay_uri
from covid_monai.evaluation.report.report_metrics import choose_on_validation
from covid_monai.evaluation.shortcuts.saliency import (
    lung_share,
    similarity,
    summarise_lung_share,
    summarise_randomisation,
)
from covid_monai.inference.grad_cam import HeatmapGenerator, with_random_weights
from covid_monai.lungs import LungSegmenter, lung_quality

_RANDOM_NETWORKS = 3
_LUNG = 0.5  # probability above which a pixel is called lung


def evaluate_heatmaps(
    network: nn.Module,
    dataset: Sequence[Mapping[str, Any]],
    predictions_csv: str | Path,
    *,
    operating_point: OperatingPoint | None,
    images_per_class: int = 40,
    randomised_images: int = 12,
    seed: int = 0,
) -> dict[str, Any]:
    """Explain decisions on the test split with Grad-CAM, and measure the heat maps.

    Args:
        network: Network with the bundle's weights, on its device.
        dataset: Preprocessed images, `{"image": [C, H, W]}`, in the order of the predictions.
        predictions_csv: Table that the evaluation wrote.
        operating_point: Operating point given to `write_report`, so that the decisions are the same.
        images_per_class: Number of images to measure of each decided class, each of another patient.
        randomised_images: Number of images in the weight-randomisation check.
        seed: Seed for the choice of these images and for the random weights.

    Returns:
        `layer`: layer that the maps come from. `grid`: rows and columns of the maps. `gallery`: see
        `_gallery_entry`. `saliency`: from `summarise_lung_share`, with `without_lungs`: number of images
        that are left out because no lungs were found. `randomisation`: from `summarise_randomisation`.

    Raises:
        ValueError: If the network has no Grad-CAM layer, or the predictions have no test rows.
    """
    heatmap, device = HeatmapGenerator(network), next(network.parameters()).device
    images = _Images(dataset, read_predictions(Path(predictions_csv)), operating_point, device)
    sample = _sample(images, per_class=images_per_class, seed=seed)
    cases = choose_cases(images.test, images.decisions)
    segmenter = LungSegmenter(device=device)
    gallery = [
        _gallery_entry(images, heatmap, segmenter, case)
        for case in with_progress(cases, "heat maps: gallery")
    ]
    return {
        "layer": heatmap.layer,
        "grid": list(heatmap.grid(images.image(0))),
        "gallery": gallery,
        "saliency": _measure_shares(images, heatmap, segmenter, sample),
        "randomisation": _randomise(images, network, heatmap, sample[:randomised_images], seed=seed),
    }


class _Images:
    """The test rows with their decisions and images."""

    def __init__(
        self,
        dataset: Sequence[Mapping[str, Any]],
        predictions: PredictionTable,
        operating_point: OperatingPoint | None,
        device: torch.device,
    ) -> None:
        self._dataset, self.device = dataset, device
        self._rows = np.flatnonzero(predictions.splits == "test")
        self.test = predictions.split("test")
        point = operating_point or choose_on_validation(predictions.split("validation"))
        self.decisions = decide(self.test.probabilities, point)

    def image(self, index: int) -> torch.Tensor:
        """Return the preprocessed test image [1, C, H, W] on the network's device."""
        image = torch.as_tensor(self._dataset[int(self._rows[index])]["image"])
        return image[None].float().to(self.device)

    def with_heat(self, index: int, heatmap: HeatmapGenerator) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the preprocessed image [H, W] and the heat map [H, W] of its decided class."""
        image = self.image(index)
        return image[0, 0].cpu().numpy(), heatmap(image, int(self.decisions[index]))[0]


def _gallery_entry(
    images: _Images, heatmap: HeatmapGenerator, segmenter: LungSegmenter, case: Case
) -> dict[str, Any]:
    """Return names, probability and data URIs (`picture`, `heatmap`) of one image."""
    image, heat = images.with_heat(case.index, heatmap)
    names = images.test.class_names
    return {
        "image": case.image,
        "truth": names[case.truth],
        "decision": names[case.decision],
        "probability": case.probability,
        "right": case.right,
        "picture": image_uri(image),
        "heatmap": overlay_uri(image, heat, segmenter(image) > _LUNG),
    }


def _sample(images: _Images, *, per_class: int, seed: int) -> list[int]:
    """Choose rows of the test split, the decided classes in turn, each row of another patient."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images.test))
    _, first = np.unique(images.test.patients[order], return_index=True)
    rows = order[np.sort(first)]
    classes = [rows[images.decisions[rows] == k][:per_class] for k in range(len(images.test.class_names))]
    return [int(row) for turn in zip_longest(*classes) for row in turn if row is not None]


def _measure_shares(
    images: _Images, heatmap: HeatmapGenerator, segmenter: LungSegmenter, sample: Sequence[int]
) -> dict[str, Any]:
    shares, areas, measured = [], [], []
    for index in with_progress(sample, "heat maps: share in the lungs"):
        image, heat = images.with_heat(index, heatmap)
        mask = segmenter(image)
        if lung_quality(mask).found:
            shares.append(lung_share(heat, mask > _LUNG))
            areas.append(float((mask > _LUNG).mean()))
            measured.append(index)
    test = images.test
    decisions, patients = images.decisions[measured], test.patients[measured]
    left_out = len(sample) - len(measured)
    return summarise_lung_share(
        shares, areas, decisions, patients, class_names=test.class_names, without_lungs=left_out
    )


def _randomise(
    images: _Images, network: nn.Module, heatmap: HeatmapGenerator, sample: Sequence[int], *, seed: int
) -> dict[str, Any]:
    """Compare maps of the trained network with those of the same network with random weights."""
    similarities, patients = [], []
    fresh = (with_random_weights(network, seed=seed + draw) for draw in range(_RANDOM_NETWORKS))
    others = [HeatmapGenerator(each) for each in fresh]
    for index in with_progress(sample, "heat maps: random weights"):
        _, trained = images.with_heat(index, heatmap)
        for other in others:
            similarities.append(similarity(trained, images.with_heat(index, other)[1]))
            patients.append(images.test.patients[index])
    return summarise_randomisation(similarities, patients, draws=_RANDOM_NETWORKS)
