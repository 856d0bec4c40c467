"""The end of a training: best weights scored once more, thresholds chosen, everything tracked."""

import logging
from typing import Any

import torch
from monai.engines import Evaluator
from sklearn.metrics import confusion_matrix
from torch import nn

from covid_monai.bundle import load_checkpoint
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.figures import confusion_figure, roc_figure
from covid_monai.evaluation.operating_point import choose_operating_point, decide
from covid_monai.training.run_folder import RunFolder
from covid_monai.training.scores import ClassificationScores

logger = logging.getLogger("covid_monai.training")


def finish_training(
    *,
    run_folder: RunFolder,
    network: nn.Module,
    evaluator: Evaluator,
    scores: ClassificationScores,
    datalist: Datalist,
    tracker: Any,
    rank: int = 0,
) -> None:
    """Choose the operating point on the validation split with the best weights, and close the run.

    The test split is not read here. The network is left with the best weights.

    Args:
        run_folder: Where the best weights are, and where `models/operating_point.json` goes.
        network: Without any parallel wrapper.
        evaluator: Runs over the validation split.
        scores: The evaluator's metric.
        datalist: Named in the operating point.
        tracker: `RunTracker`, or anything with its `finish`.
        rank: Only rank 0 writes.
    """
    bundle = run_folder.bundle
    load_checkpoint(network, bundle.checkpoint_path, bundle=bundle)
    evaluator.run()
    if rank != 0:
        return
    chosen_on = {
        "split": "validation",
        "patients": len({record["patient"] for record in datalist.splits["validation"]}),
        "datalist_digest": datalist.digest,
    }
    point = choose_operating_point(
        scores.labels, scores.probabilities, scores.class_names, chosen_on=chosen_on
    )
    point.save(bundle.operating_point_path)
    decisions = decide(scores.probabilities, point)
    tracker.finish(
        figures={
            "validation_confusion_matrix": confusion_figure(
                confusion_matrix(scores.labels, decisions, labels=range(len(scores.class_names))),
                scores.class_names,
                title="Validation split, thresholds chosen on it",
            ),
            "validation_roc": roc_figure(
                scores.labels, scores.probabilities, scores.class_names, title="ROC, validation split"
            ),
        },
        files={"models": bundle.checkpoint_path, "operating_point": bundle.operating_point_path},
        metrics={f"best/{name}": value for name, value in evaluator.state.metrics.items()},
    )
    epoch = torch.load(bundle.checkpoint_path, map_location="cpu", weights_only=True)["epoch"]
    logger.info(
        "Finished. Best epoch %d: validation AUROC %.3f. The run is a bundle; next: "
        "covid-monai evaluate --bundle %s --datalist %s --output %s/evaluation",
        epoch,
        evaluator.state.metrics["auroc"],
        bundle.root,
        datalist.path,
        bundle.root,
    )
