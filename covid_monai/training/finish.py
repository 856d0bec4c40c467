"""The end of a training: best weights scored once more, thresholds chosen, everything tracked."""

import logging

import torch
from monai.engines import Evaluator
from sklearn.metrics import confusion_matrix
from torch import nn

from covid_monai.bundle import load_checkpoint
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.figures import confusion_figure, roc_figure
from covid_monai.evaluation.operating_point import OperatingPoint, choose_operating_point, decide
from covid_monai.training.run_folder import RunFolder
from covid_monai.training.scores import ClassificationScores
from covid_monai.training.tracking import RunTracker

logger = logging.getLogger("covid_monai.training")


def finish_training(
    *,
    run_folder: RunFolder,
    network: nn.Module,
    evaluator: Evaluator,
    scores: ClassificationScores,
    datalist: Datalist,
    tracker: RunTracker,
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
        tracker: Gets pictures, weights and final metrics; marked as failed if anything here fails.
        rank: Only rank 0 writes.
    """
    try:
        _score_best_weights(run_folder, network, evaluator)
        if rank == 0:
            point = _choose_operating_point(run_folder, scores, datalist)
            _track(tracker, run_folder, scores, point, evaluator.state.metrics)
            _say_what_next(run_folder, datalist, evaluator.state.metrics["auroc"])
    except BaseException as error:
        tracker.abort(error)
        raise


def _score_best_weights(run_folder: RunFolder, network: nn.Module, evaluator: Evaluator) -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # rank 0 may still be writing the weights that all are about to read
    bundle = run_folder.bundle
    load_checkpoint(network, bundle.checkpoint_path, bundle=bundle)
    evaluator.run()


def _choose_operating_point(
    run_folder: RunFolder, scores: ClassificationScores, datalist: Datalist
) -> OperatingPoint:
    chosen_on = {
        "split": "validation",
        "patients": len({record["patient"] for record in datalist.splits["validation"]}),
        "datalist_digest": datalist.digest,
    }
    point = choose_operating_point(
        scores.labels, scores.probabilities, scores.class_names, chosen_on=chosen_on
    )
    point.save(run_folder.bundle.operating_point_path)
    return point


def _track(
    tracker: RunTracker,
    run_folder: RunFolder,
    scores: ClassificationScores,
    point: OperatingPoint,
    metrics: dict[str, float],
) -> None:
    labels, names, bundle = scores.labels, scores.class_names, run_folder.bundle
    confusion = confusion_matrix(labels, decide(scores.probabilities, point), labels=range(len(names)))
    tracker.finish(
        figures={
            "validation_confusion_matrix": confusion_figure(
                confusion, names, title="Validation split, thresholds chosen on it"
            ),
            "validation_roc": roc_figure(labels, scores.probabilities, names, title="ROC, validation split"),
        },
        files={"models": bundle.checkpoint_path, "operating_point": bundle.operating_point_path},
        metrics={f"val_best/{name}": value for name, value in metrics.items()},
    )


def _say_what_next(run_folder: RunFolder, datalist: Datalist, auroc: float) -> None:
    root = run_folder.folder
    epoch = torch.load(run_folder.bundle.checkpoint_path, map_location="cpu", weights_only=True)["epoch"]
    logger.info("Finished. Best epoch %d: validation AUROC %.3f. The run is a bundle; next:", epoch, auroc)
    logger.info(
        "  covid-monai evaluate --bundle %s --datalist %s --output %s/evaluation", root, datalist.path, root
    )
