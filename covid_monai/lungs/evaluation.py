"""Dice of lung masks against masks that people drew, by patient."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.metrics import DiceMetric
from numpy.typing import ArrayLike
from torch import Tensor

from covid_monai.bundle import Bundle
from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.core.number_format import format_count
from covid_monai.core.tables import write_table
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.shortcuts.saliency import mean_over_patients
from covid_monai.lungs.masks import read_mask


def mask_records(bundle: Bundle, datalist: Datalist, dataset_dir: str | Path | None = None) -> list[dict]:
    """Return the records of the test split that have a mask.

    Raises:
        ValueError: If there is no such record, or the bundle gives no masks.
        FileNotFoundError: If an image or a mask is missing.
    """
    if not bundle.is_segmentation:
        raise ValueError(f"{bundle.root} predicts classes. Evaluate it with its own evaluate.yaml.")
    records = [each for each in datalist.records("test", dataset_dir) if each.get("mask")]
    if not records:
        raise ValueError(
            f"{datalist.path}: no record of the test split has a `mask`. Make a datalist with `covid-monai "
            "data prepare lung-masks`."
        )
    return records


def load_mask(path: str | Path, *, size: int) -> Tensor:
    """Return a mask `[1, size, size]`, 1 where most of the pixel is lung."""
    return (read_mask(path, size=size) > 127).float()


@dataclass
class DiceReport:
    """Handler that writes `dice.csv` and `metrics.json` when the evaluator has seen all records.

    Args:
        folder: Folder of both files.
        records: Records of the evaluator's loader, in its order.
        provenance: Names of the model and of the data, which are written as they are.
    """

    folder: str | Path
    records: Sequence[dict]
    provenance: dict[str, Any]

    def attach(self, engine: Engine) -> None:
        """Add the handler to the evaluator; its `pred` are logits, its `label` masks of 0 and 1."""
        self._dice = DiceMetric(include_background=False, num_classes=2)
        engine.add_event_handler(Events.STARTED, self._dice.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _keep(self, engine: Any) -> None:
        output = engine.state.output
        predicted = torch.as_tensor(output["pred"]).argmax(dim=1, keepdim=True)
        self._dice(y_pred=predicted, y=torch.as_tensor(output["label"]).long())

    def _write(self) -> None:
        dice = torch.as_tensor(self._dice.get_buffer()).flatten().cpu().numpy()
        patients = [record["patient"] for record in self.records]
        rows = [
            (record["image"], patient, f"{value:.4f}")
            for record, patient, value in zip(self.records, patients, dice, strict=True)
        ]
        write_table(Path(self.folder) / "dice.csv", ("image", "patient", "dice"), rows)
        metrics = summarise_dice(dice, patients) | self.provenance
        write_text_atomically(Path(self.folder) / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def summarise_dice(dice: ArrayLike, patients: Sequence[str]) -> dict[str, Any]:
    """Return the mean Dice of the patients' means with its 95 % interval, the worst images, and a sentence.

    >>> summarise_dice([0.9, 0.98, 0.96], ["a", "b", "b"])["sentence"]
    'Dice by patient 0.935 (0.490 to 1.000), 3 images of 2 patients.'
    """
    values = np.asarray(dice, dtype=np.float64)
    found = mean_over_patients(values, np.asarray(patients))
    low, high = (None if (end := found[key]) is None else min(max(end, 0.0), 1.0) for key in ("low", "high"))
    count = len(set(patients))
    interval = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    images = f"{format_count(len(values), 'image')} of {format_count(count, 'patient')}"
    return {
        "dice_by_patient": {"value": found["value"], "low": low, "high": high},
        "images": len(values),
        "patients": count,
        "percentiles": {str(p): round(float(np.percentile(values, p)), 4) for p in (0, 5, 50)},
        "sentence": f"Dice by patient {found['value']:.3f}{interval}, {images}.",
    }
