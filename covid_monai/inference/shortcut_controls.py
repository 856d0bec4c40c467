"""Check whether a trained model needs the lungs: the test split scored without lungs, and only with borders.

The model was trained on whole images. A painted image is new to it, so a result at chance proves little. A
result far above chance proves that it reads the label from something else.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covid_monai.bundle import Bundle
from covid_monai.core.parallel import map_in_threads
from covid_monai.datasets.datalist import patient_of
from covid_monai.evaluation.metrics.bootstrapped_metrics import metrics_with_intervals
from covid_monai.evaluation.shortcuts.shortcut_probes import (
    any_shortcut,
    beyond_chance,
    is_shortcut,
    strongest_words,
)
from covid_monai.lungs import LungSegmenter
from covid_monai.transforms.hidden_box import INSIDE, hide_box

AS_IT_IS, LUNGS_HIDDEN, BORDER_ONLY = INPUTS = ("as it is", "lungs hidden", "border only")
_BATCH = 32  # images at a time, each in three versions
_THREADS = 2  # that read and preprocess


def shortcut_controls(
    bundle: Bundle,
    records: Sequence[dict[str, Any]],
    *,
    network: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Score images unchanged, with the lungs hidden, and with only the border visible.

    The lungs are hidden by a box around those that the shipped lung bundle finds. It is painted directly
    after loading, before a step of the preprocessing can spread its content. Where no lungs are found, only
    the border stays visible.

    Args:
        bundle: Bundle with the preprocessing.
        records: Records of the test split: `image` (absolute path), `label`, `patient`.
        network: Network in evaluation mode on `device`; by default the bundle's weights are loaded.
        device: Device of the network.

    Returns:
        Values for JSON: `sentence`, `shortcut` (True, False, or None if there are too few cases) and `rows`:
        for each of `INPUTS` its `auroc` (macro) and `per_class`, each `value`, `low`, `high`.

    Raises:
        ValueError: If there are no records, or the preprocessing does not begin with LoadImaged.
        FileNotFoundError: If the bundle has no weights, or there is no lung bundle.
    """
    if not records:
        raise ValueError("There are no images to score. Give a datalist with a test split.")
    network = bundle.load_network(device) if network is None else network
    batches = _batches(records, _view_maker(bundle, LungSegmenter(device=device)))
    probabilities = np.concatenate([_probabilities(network, batch, device) for batch in batches], axis=1)
    rows = [
        {"input": name, **_auroc(records, scores, bundle.class_names)}
        for name, scores in zip(INPUTS, probabilities, strict=True)
    ]
    shortcut = any_shortcut([is_shortcut(row["per_class"]) for row in rows[1:]])
    return {"sentence": _sentence(shortcut, rows), "shortcut": shortcut, "rows": rows}


def _view_maker(bundle: Bundle, segmenter: LungSegmenter) -> Callable[[str], torch.Tensor]:
    """Return the function from a path to its three network inputs, `[3, C, S, S]`."""
    load, rest = bundle.split_preprocessing()

    def views(path: str) -> torch.Tensor:
        loaded = load({"image": str(Path(path).absolute())})
        image = loaded["image"]
        lungs = segmenter.find_box(image.as_tensor()[0])
        images = (image, hide_box(image, lungs), hide_box(image, INSIDE))
        prepared = [rest({**loaded, "image": each})["image"] for each in images]
        return torch.stack([image.as_tensor() for image in prepared])

    return views


def _batches(
    records: Sequence[dict[str, Any]], views: Callable[[str], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Yield batches `[B, 3, C, S, S]`, one at a time in memory."""
    paths = [record["image"] for record in records]
    prepared = map_in_threads(
        views, paths, "scoring with the lungs hidden", total=len(paths), workers=_THREADS
    )
    while batch := list(islice(prepared, _BATCH)):
        yield torch.stack(batch)


@torch.inference_mode()
def _probabilities(
    network: nn.Module, batch: torch.Tensor, device: torch.device | str
) -> NDArray[np.float64]:
    """Return class probabilities, `[3, B, K]`."""
    logits = network(batch.flatten(0, 1).to(device))
    found = torch.softmax(logits.double(), dim=1).cpu().numpy()
    return found.reshape(*batch.shape[:2], -1).swapaxes(0, 1)


def _auroc(
    records: Sequence[dict[str, Any]], scores: NDArray[np.float64], class_names: Sequence[str]
) -> dict[str, Any]:
    labels = [record["label"] for record in records]
    patients = [patient_of(record) for record in records]
    found = metrics_with_intervals(labels, scores.argmax(axis=1), scores, patients, class_names)
    per_class = {name: found["per_class"][name]["auroc"] for name in class_names}
    return {
        "auroc": found["auroc"],
        "per_class": {name: auroc for name, auroc in per_class.items() if auroc["value"] is not None},
    }


def _sentence(shortcut: bool | None, rows: Sequence[dict[str, Any]]) -> str:
    if not all(row["per_class"] for row in rows):
        return "All images are of one class, so it is unknown whether the model needs the lungs."
    hidden, border = (strongest_words(row["per_class"]) for row in rows[1:])
    figures = f"AUROC {hidden} with the lungs hidden and {border} from the border only"
    if shortcut:
        return (
            f"The model distinguishes the classes without the lungs ({figures}). Do not believe the headline."
        )
    if limit := beyond_chance([row["per_class"] for row in rows[1:]], shortcut):
        return f"Without the lungs the model is better than chance, but {limit} ({figures})."
    if shortcut is None:
        return f"There are too few patients to say whether the model needs the lungs ({figures})."
    return f"Without the lungs the model is no better than chance ({figures})."
