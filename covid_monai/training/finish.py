"""The end of a training: best weights scored once more, thresholds chosen, everything tracked."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from monai.engines import Evaluator
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix
from torch import nn

from covid_monai.bundle import Bundle, load_checkpoint
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, choose_operating_point, decide
from covid_monai.evaluation.decisions.score_reference import fit_score_reference
from covid_monai.evaluation.report.plots import plot_confusion_matrix, plot_roc
from covid_monai.training.run_folder import RunFolder
from covid_monai.training.scores import ClassificationScores
from covid_monai.training.tracking import RunTracker

logger = logging.getLogger("covid_monai.training")


class InputGate(Protocol):
    """What `fit_gate` gives; prediction, which uses it, lies above training."""

    def save(self, path: Path) -> None:
        """Write it to the bundle."""


def finish_training(
    *,
    run_folder: RunFolder,
    network: nn.Module,
    evaluator: Evaluator,
    scores: ClassificationScores,
    datalist: Datalist,
    tracker: RunTracker,
    fit_gate: Callable[[Bundle], InputGate] | None = None,
    rank: int = 0,
) -> None:
    """Fit calibration, operating point and gate with the best weights, and close the run.

    The operating point is chosen on calibrated probabilities, both on the validation split.

    The test split is not read here. The network is left with the best weights.

    Args:
        run_folder: Where the best weights are, and where `calibration.json`, `operating_point.json`,
            `score_reference.json` and `gate.npz` go.
        network: Without any parallel wrapper.
        evaluator: Runs over the validation split.
        scores: The evaluator's metric.
        datalist: Named in what is fitted.
        tracker: Gets pictures, weights and final metrics; marked as failed if anything here fails.
        fit_gate: Fits the input gate of a bundle; None leaves the bundle without one.
        rank: Only rank 0 writes.
    """
    try:
        _score_best_weights(run_folder, network, evaluator)
        if rank == 0:
            _fit_decision(run_folder.bundle, scores, datalist)
            if fit_gate is not None:
                logger.info("Fitting the input gate on training images.")
                fit_gate(run_folder.bundle).save(run_folder.bundle.gate_path)
            _track(tracker, run_folder.bundle, scores, evaluator.state.metrics)
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


def _fit_decision(bundle: Bundle, scores: ClassificationScores, datalist: Datalist) -> None:
    """Write temperature, conformal thresholds, operating point and score reference: all from validation."""
    patients = _patients_in_order(datalist.splits["validation"], scores.labels)
    origin: dict[str, Any] = {"split": "validation", "datalist_digest": datalist.digest}
    calibration = fit_calibration(
        scores.labels, scores.probabilities, patients, scores.class_names, chosen_on=origin
    )
    calibrated = calibration.apply(scores.probabilities)
    origin |= {"patients": len(set(patients))}
    point = choose_operating_point(scores.labels, calibrated, scores.class_names, chosen_on=origin)
    reference = fit_score_reference(calibrated, scores.class_names, chosen_on=origin)
    calibration.save(bundle.calibration_path)
    reference.save(bundle.score_reference_path)
    point.save(bundle.operating_point_path)


def _patients_in_order(records: Sequence[dict], labels: NDArray[np.int64]) -> list[str]:
    """Patient of each image in the order of the scores, which several processes leave one after another."""
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    ordered = [record for rank in range(processes) for record in records[rank::processes]]
    if [record["label"] for record in ordered] != labels.tolist():
        raise ValueError("the evaluator's images are not the datalist's validation split in its order")
    return [record["patient"] for record in ordered]


def _track(
    tracker: RunTracker, bundle: Bundle, scores: ClassificationScores, metrics: dict[str, float]
) -> None:
    labels, names = scores.labels, scores.class_names
    calibrated = Calibration.load(bundle.calibration_path).apply(scores.probabilities)
    decided = decide(calibrated, OperatingPoint.load(bundle.operating_point_path))
    files = {
        "models": bundle.checkpoint_path,
        "operating_point": bundle.operating_point_path,
        "calibration": bundle.calibration_path,
        "gate": bundle.gate_path,
        "score_reference": bundle.score_reference_path,
    }
    tracker.finish(
        figures={
            "validation_confusion_matrix": plot_confusion_matrix(
                confusion_matrix(labels, decided, labels=range(len(names))),
                names,
                title="Validation split, thresholds chosen on it",
            ),
            "validation_roc": plot_roc(labels, calibrated, names, title="ROC, validation split"),
        },
        files={folder: path for folder, path in files.items() if path.is_file()},
        metrics={f"val_best/{name}": value for name, value in metrics.items()},
    )


def _say_what_next(run_folder: RunFolder, datalist: Datalist, auroc: float) -> None:
    root = run_folder.folder
    epoch = torch.load(run_folder.bundle.checkpoint_path, map_location="cpu", weights_only=True)["epoch"]
    logger.info("Finished. Best epoch %d: validation AUROC %.3f. The run is a bundle; next:", epoch, auroc)
    logger.info(
        "  covid-monai evaluate --bundle %s --datalist %s --output %s/evaluation", root, datalist.path, root
    )
