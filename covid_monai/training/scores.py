"""The metrics of the validation split after each epoch, as one Ignite metric."""

from collections.abc import Sequence

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather
from torch import Tensor

from covid_monai.evaluation.metrics.classification_metrics import compute_metrics


class ClassificationScores(Metric):
    """AUROC, balanced accuracy, sensitivity and specificity of all validation images, over all processes.

    After the epoch the engine's metrics hold `auroc` (macro), `balanced_accuracy`, and for each class
    `auroc_CLASS`, `sensitivity_CLASS` and `specificity_CLASS`. The decision is the most probable class. An
    undefined metric (of a class without images) is left out. `probabilities` and `labels` keep the values of
    the last epoch for figures and for the operating point.

    Args:
        class_names: Class names in the order of the logits.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        super().__init__(output_transform=lambda output: (output["pred"], output["label"]))

    def reset(self) -> None:
        """Forget the epoch before."""
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Keep logits `[N, K]` and labels `[N]` of one batch."""
        logits, labels = output
        self._logits.append(torch.as_tensor(logits).detach())
        self._labels.append(labels.detach())

    def compute(self) -> dict[str, float]:
        """Return the metrics of all images that `update` has kept."""
        if not self._logits:
            raise ValueError(
                "No validation image was scored, because the validation split is empty. Prepare the datalist "
                "with a larger --validation-fraction."
            )
        logits = evenly_divisible_all_gather(torch.cat(self._logits), concat=True)
        self.labels = evenly_divisible_all_gather(torch.cat(self._labels), concat=True).cpu().numpy()
        self.probabilities = torch.softmax(logits.double(), dim=1).cpu().numpy()
        metrics = compute_metrics(
            self.labels, self.probabilities.argmax(axis=1), self.probabilities, self.class_names
        )
        values = {metric: metrics[metric] for metric in ("auroc", "balanced_accuracy")}
        for metric in ("auroc", "sensitivity", "specificity"):
            values |= {f"{metric}_{name}": own[metric] for name, own in metrics["per_class"].items()}
        return {name: value for name, value in values.items() if value is not None}

    def completed(self, engine: Engine, _name: str) -> None:
        """Write each metric into the engine's metrics under its own name."""
        engine.state.metrics.update(self.compute())
